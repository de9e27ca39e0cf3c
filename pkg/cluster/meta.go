package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

const (
	maxPlace = 63 // bytes of a region's or zone's name
	maxURL   = 255
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// Meta is what every member knows of another, at most 512 bytes in all.
type Meta struct {
	Role    string `json:"r"`
	Name    string `json:"n"`
	URL     string `json:"u,omitempty"` // of a node: where browsers reach it, such as https://gpu1.example.org
	API     string `json:"a,omitempty"` // of a node: base URL for coordinators; "" means URL
	Version string `json:"v,omitempty"`
	Place   Place  `json:"p,omitzero"`
	Relay   string `json:"t,omitempty"` // of a node: host:port of its TURN server, "" when it has none
	Trust   uint64 `json:"k,omitempty"` // version of the trust that the member has applied
}

// Place is where a member stands. Zone is a part of Region; coordinates are degrees, both zero when not known.
type Place struct {
	Region    string  `json:"r,omitempty"`
	Zone      string  `json:"z,omitempty"`
	Latitude  float32 `json:"y,omitempty"`
	Longitude float32 `json:"x,omitempty"`
}

func encodeMeta(m Meta) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	buf, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(buf) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("name, addresses and version take %d bytes together, the limit is %d; shorten the URLs", len(buf), memberlist.MetaMaxSize)
	}
	return buf, nil
}

// decodeMeta ignores fields that it does not know, so that a newer member may say more.
func decodeMeta(buf []byte) (Meta, error) {
	var m Meta
	if len(buf) > memberlist.MetaMaxSize {
		return Meta{}, errors.New("its description is too long")
	}
	if err := decodeJSON(buf, &m); err != nil {
		return Meta{}, fmt.Errorf("its description is not what this version expects: %w", err)
	}
	if err := m.check(); err != nil {
		return Meta{}, err
	}
	return m, nil
}

func (m Meta) check() error {
	if m.Role != RoleNode && m.Role != RoleCoordinator {
		return fmt.Errorf("role %q: use %q or %q", m.Role, RoleNode, RoleCoordinator)
	}
	if !namePattern.MatchString(m.Name) {
		return fmt.Errorf("name %q: use 1 to 64 letters, digits, dots, dashes and underscores, beginning and ending with a letter or digit", m.Name)
	}
	for _, u := range []string{m.URL, m.API} {
		if err := checkURL(u); err != nil {
			return err
		}
	}
	if m.Role == RoleNode && m.URL == "" {
		return errors.New("a node needs the URL at which browsers reach it")
	}
	if err := m.Place.check(); err != nil {
		return err
	}
	if err := checkRelay(m.Relay); err != nil {
		return err
	}
	return checkText("version", m.Version, 64)
}

func (p Place) check() error {
	// Written so that NaN is out of range too.
	if !(p.Latitude >= -90 && p.Latitude <= 90) || !(p.Longitude >= -180 && p.Longitude <= 180) {
		return fmt.Errorf("latitude %v, longitude %v: use degrees from -90 to 90 and from -180 to 180", p.Latitude, p.Longitude)
	}
	for what, s := range map[string]string{"region": p.Region, "zone": p.Zone} {
		if err := checkText(what, s, maxPlace); err != nil {
			return err
		}
	}
	return nil
}

// checkRelay accepts host:port, or nothing.
func checkRelay(s string) error {
	if s == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@?# ") {
		return fmt.Errorf("relay %q: use host:port", s)
	}
	return checkText("relay", s, maxURL)
}

// checkURL accepts an absolute http or https URL with nothing in it but a host, and perhaps a path:
// coordinators send browsers and tokens there.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return fmt.Errorf("URL %q: use http://host:port or https://host:port", s)
	}
	return nil
}

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s has %d bytes, the limit is %d", what, len(s), limit)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%s %q holds characters that cannot be printed", what, s)
	}
	return nil
}

func decodeJSON(buf []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(buf))
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}
