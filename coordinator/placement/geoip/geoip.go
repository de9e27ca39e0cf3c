// Package geoip tells where an address on the Internet is, by a MaxMind database such as GeoLite2-City, which
// the operator keeps up to date.
package geoip

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"easel/pkg/cluster"
)

// checkEvery is how often a lookup looks for a newer file.
const checkEvery = time.Minute

// Database is an open database. Its methods are safe for concurrent use; of a nil one they find nothing.
type Database struct {
	path string
	log  *slog.Logger

	mu      sync.RWMutex // lookups hold it for reading: the file is mapped
	reader  *maxminddb.Reader
	file    fs.FileInfo
	checked time.Time
}

// Open opens the database in the file path, and again when the file is replaced. A path "" gives a nil Database.
func Open(path string, log *slog.Logger) (*Database, error) {
	if path == "" {
		return nil, nil
	}
	d := &Database{path: path, log: log}
	if err := d.open(time.Now()); err != nil {
		return nil, err
	}
	return d, nil
}

// open takes the file as it is now; d.mu is held, or nobody else has d.
func (d *Database) open(now time.Time) error {
	d.checked = now
	file, err := os.Stat(d.path)
	if err != nil {
		return fmt.Errorf("open the GeoIP database: %w", err)
	}
	reader, err := maxminddb.Open(d.path)
	if err != nil {
		return fmt.Errorf("open the GeoIP database %s: %w; geoip wants a MaxMind database of cities, such as GeoLite2-City.mmdb", d.path, err)
	}
	if d.reader != nil {
		_ = d.reader.Close() // it was only read
	}
	d.reader, d.file = reader, file
	return nil
}

// Close lets go of the file.
func (d *Database) Close() error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reader.Close()
}

// city is what we read of a record.
type city struct {
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
}

// Locate returns where an address is; found is false for addresses of private networks, for what is not in
// the database, and for what is no address.
func (d *Database) Locate(address string) (place cluster.Place, found bool) {
	ip, err := netip.ParseAddr(address)
	if d == nil || err != nil {
		return cluster.Place{}, false
	}
	d.renew(time.Now())
	d.mu.RLock()
	defer d.mu.RUnlock()
	var c city
	result := d.reader.Lookup(ip.Unmap().WithZone(""))
	if !result.Found() || result.Decode(&c) != nil || c.Location.Latitude == nil || c.Location.Longitude == nil {
		return cluster.Place{}, false
	}
	return cluster.Place{Latitude: float32(*c.Location.Latitude), Longitude: float32(*c.Location.Longitude)}, true
}

// renew opens the file again when it was replaced; one that cannot be opened leaves the old in use.
func (d *Database) renew(now time.Time) {
	d.mu.RLock()
	due := now.Sub(d.checked) >= checkEvery
	d.mu.RUnlock()
	if !due {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.checked) < checkEvery {
		return
	}
	d.checked = now
	file, err := os.Stat(d.path)
	if err == nil && os.SameFile(file, d.file) && file.ModTime().Equal(d.file.ModTime()) {
		return
	}
	if err == nil {
		err = d.open(now)
	}
	if err != nil {
		d.log.Warn("the GeoIP database of before stays in use", "error", err)
	}
}
