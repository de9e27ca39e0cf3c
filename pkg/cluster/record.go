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
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

const (
	maxRecord  = 1200 // bytes of one capacity record: with encryption and label it stays below 1400
	maxState   = 8 << 20
	maxRecords = 10000
	maxText    = 200 // bytes of Capacity.Full
	maxImage   = 255 // bytes of one image reference
	maxPlace   = 63  // bytes of a region's or zone's name
	maxURL     = 255
	maxSlots   = 100000
	// maxAhead bounds how far a sequence number, which starts from the sender's clock, may be ahead of
	// ours: it limits how long a forged record can stand in the way of the true ones.
	maxAhead = 24 * time.Hour
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

// Room is how many sessions of a class a node can hold and holds.
type Room struct {
	Class       string
	Total, Used int
}

// Warm is how many sessions of a kind a node has ready to be claimed.
type Warm struct {
	Image string // "" means the node's default
	Class string
	Kind  string // "ready" or "desktop"
	Count int
}

// Slice is how many GPU slices of a profile a node has.
type Slice struct {
	Profile     string
	Total, Used int
}

// Load is what the node's host has and how busy it is.
type Load struct {
	CPUs        int     // that the host has
	CPU         float32 // part of all of them that was busy of late, 0 to 1
	MemoryTotal uint64  // bytes
	MemoryFree  uint64  // bytes that new work could take
}

// Capacity is how much room a node has.
type Capacity struct {
	Name     string
	Seq      uint64 // grows with every record of one node; starts from the clock in milliseconds
	Total    int    // sessions that the node can hold
	Used     int    // sessions that it holds
	Draining bool   // it takes no new session
	Full     string // why it takes none, "" when it does
	Images   []string
	Classes  []Room
	Warm     []Warm
	Slices   []Slice
	Load     Load
	At       time.Time // by the node's clock, millisecond resolution
}

type wireCapacity struct {
	Name     string   `json:"n"`
	Seq      uint64   `json:"seq"`
	Total    int      `json:"total"`
	Used     int      `json:"used"`
	Draining bool     `json:"draining"`
	Full     string   `json:"full"`
	Images   []string `json:"images"`
	At       int64    `json:"at"` // milliseconds since the Unix epoch
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

// fit makes rec fit one packet and returns how many images it had to leave out.
func fit(rec Capacity) (Capacity, int, error) {
	rec.Full = clip(rec.Full, maxText)
	for left := 0; ; left++ {
		_, err := encodeCapacity(rec)
		if !errors.Is(err, errTooLarge) || len(rec.Images) == 0 {
			return rec, left, err
		}
		rec.Images = rec.Images[:len(rec.Images)-1]
	}
}

// clip shortens s to at most limit bytes of printable text, at the edge of a character.
func clip(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	s = s[:limit-len("…")]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

var errTooLarge = errors.New("the record does not fit one packet")

func encodeCapacity(rec Capacity) ([]byte, error) {
	if err := rec.check(); err != nil {
		return nil, err
	}
	buf, err := json.Marshal(wireCapacity{
		Name: rec.Name, Seq: rec.Seq, Total: rec.Total, Used: rec.Used, Draining: rec.Draining,
		Full: rec.Full, Images: rec.Images, At: rec.At.UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	if len(buf) > maxRecord {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", errTooLarge, len(buf), maxRecord)
	}
	return buf, nil
}

// decodeCapacity reads one record; like decodeMeta it ignores fields that it does not know.
func decodeCapacity(buf []byte, now time.Time) (Capacity, error) {
	if len(buf) > maxRecord {
		return Capacity{}, fmt.Errorf("decode capacity record: %d bytes, the limit is %d", len(buf), maxRecord)
	}
	var w wireCapacity
	if err := decodeJSON(buf, &w); err != nil {
		return Capacity{}, fmt.Errorf("decode capacity record: %w", err)
	}
	rec := Capacity{
		Name: w.Name, Seq: w.Seq, Total: w.Total, Used: w.Used, Draining: w.Draining,
		Full: w.Full, Images: w.Images, At: time.UnixMilli(w.At),
	}
	if err := rec.check(); err != nil {
		return Capacity{}, fmt.Errorf("decode capacity record: %w", err)
	}
	if rec.Seq > uint64(now.Add(maxAhead).UnixMilli()) {
		return Capacity{}, fmt.Errorf("decode capacity record of %q: number %d is more than %v ahead of our clock", rec.Name, rec.Seq, maxAhead)
	}
	return rec, nil
}

func (c Capacity) check() error {
	switch {
	case !namePattern.MatchString(c.Name):
		return fmt.Errorf("name %q is not a node's name", c.Name)
	case c.Seq == 0:
		return errors.New("it has no sequence number")
	case c.Total < 0 || c.Total > maxSlots || c.Used < 0 || c.Used > maxSlots:
		return fmt.Errorf("%d of %d used is out of range", c.Used, c.Total)
	}
	for _, image := range c.Images {
		if err := checkText("image", image, maxImage); err != nil {
			return err
		}
	}
	return checkText("reason", c.Full, maxText)
}

func encodeState(records [][]byte) []byte {
	return append(append([]byte("["), bytes.Join(records, []byte(","))...), ']')
}

// decodeState drops single records that are malformed, so that one bad node hides no other.
func decodeState(buf []byte, now time.Time) ([]Capacity, error) {
	if len(buf) == 0 {
		return nil, nil
	}
	if len(buf) > maxState {
		return nil, fmt.Errorf("decode capacity state: %d bytes, the limit is %d", len(buf), maxState)
	}
	var raw []json.RawMessage
	if err := decodeJSON(buf, &raw); err != nil {
		return nil, fmt.Errorf("decode capacity state: %w", err)
	}
	if len(raw) > maxRecords {
		return nil, fmt.Errorf("decode capacity state: %d records, the limit is %d", len(raw), maxRecords)
	}
	records := make([]Capacity, 0, len(raw))
	for _, one := range raw {
		if rec, err := decodeCapacity(one, now); err == nil {
			records = append(records, rec)
		}
	}
	return records, nil
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
