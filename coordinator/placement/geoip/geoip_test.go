package geoip

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// write makes a database of cities in a file, in one piece as an updater does.
func write(t testing.TB, path string, cities map[string]mmdbtype.Map) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-City", RecordSize: 24, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, record := range cities {
		_, ipnet, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(ipnet, record); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func location(latitude, longitude float64) mmdbtype.Map {
	return mmdbtype.Map{"location": mmdbtype.Map{"latitude": mmdbtype.Float64(latitude), "longitude": mmdbtype.Float64(longitude)}}
}

func TestLocate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "city.mmdb")
	write(t, path, map[string]mmdbtype.Map{
		"198.51.100.0/24": location(48.9, 2.3), "2001:db8::/32": location(-33.9, 151.2), "0.0.0.0/8": location(0, 0),
		"203.0.113.0/24": {"country": mmdbtype.Map{"iso_code": mmdbtype.String("FR")}},
	})
	d, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for address, want := range map[string][2]float32{
		"198.51.100.7": {48.9, 2.3}, "::ffff:198.51.100.7": {48.9, 2.3}, "2001:db8:5::1": {-33.9, 151.2}, "2001:db8::1%eth0": {-33.9, 151.2},
	} {
		if p, ok := d.Locate(address); !ok || p.Latitude != want[0] || p.Longitude != want[1] {
			t.Errorf("%s is at %v, %v; found %v", address, p.Latitude, p.Longitude, ok)
		}
	}
	for _, address := range []string{"", "x", "10.0.0.1", "203.0.113.9", "127.0.0.1", "fe80::1%lo"} {
		if p, ok := d.Locate(address); ok {
			t.Errorf("%q is at %v", address, p)
		}
	}
}

func TestReplacedFileIsTakenUpAndADamagedOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "city.mmdb")
	write(t, path, map[string]mmdbtype.Map{"198.51.100.0/24": location(10, 10)})
	d, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	later := time.Now()
	look := func() float32 {
		later = later.Add(2 * checkEvery)
		d.renew(later)
		p, _ := d.Locate("198.51.100.7")
		return p.Latitude
	}
	write(t, path, map[string]mmdbtype.Map{"198.51.100.0/24": location(20, 20)})
	if got := look(); got != 20 {
		t.Errorf("after the update: %v", got)
	}
	if err := os.WriteFile(path+".new", []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != 20 {
		t.Errorf("a damaged file: %v", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != 20 {
		t.Errorf("no file: %v", got)
	}
}

func TestNoDatabase(t *testing.T) {
	d, err := Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Locate("198.51.100.7"); ok || d.Close() != nil {
		t.Error("something is found without a database")
	}
	path := filepath.Join(t.TempDir(), "city.mmdb")
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".none"} {
		if _, err := Open(p, nil); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", p, err)
		}
	}
}
