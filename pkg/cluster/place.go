package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// ParsePlace makes a Place of what an operator writes: coordinates are "latitude, longitude" in degrees, or "".
func ParsePlace(region, zone, coordinates string) (Place, error) {
	p := Place{Region: region, Zone: zone}
	if zone != "" && region == "" {
		return Place{}, fmt.Errorf("zone %q: it is a part of a region; set region too", zone)
	}
	if coordinates != "" {
		latitude, longitude, _ := strings.Cut(coordinates, ",")
		lat, err1 := strconv.ParseFloat(strings.TrimSpace(latitude), 32)
		lon, err2 := strconv.ParseFloat(strings.TrimSpace(longitude), 32)
		if err1 != nil || err2 != nil {
			return Place{}, fmt.Errorf("coordinates %q: write latitude and longitude in degrees, such as \"48.9, 2.3\"", coordinates)
		}
		p.Latitude, p.Longitude = float32(lat), float32(lon)
	}
	return p, p.check()
}
