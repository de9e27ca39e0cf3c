// Package contract holds what noded and a session's streamer say to each other, so that noded can
// speak it without linking the stream worker itself. ARCHITECTURE.md describes the whole API.
package contract

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// MaxConfig and MaxHealth bound, in bytes, the two documents that cross between the processes.
const (
	MaxConfig = 64 << 10
	MaxHealth = 64 << 10
)

// Bounds of the remote screen, in pixels a side.
const (
	MinSide = 320
	MaxSide = 8192
)

// MaxGuests bounds how many may watch a session beside its owner.
const MaxGuests = 64

// ErrNoConfig means that stdin ended before a configuration came: the noded that started this process is gone.
var ErrNoConfig = errors.New("no configuration on stdin")

// Size is a screen size in pixels.
type Size struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

// Config is the one document that noded writes to a new streamer's stdin.
type Config struct {
	// Session is the session's ID; it appears in the logs.
	Session string `json:"session"`
	// Socket is where the streamer's HTTP API listens.
	Socket string `json:"socket"`
	// XSocket is the X server's unix socket; XCookie its MIT-MAGIC-COOKIE-1 in hexadecimal.
	XSocket string `json:"x_socket"`
	XCookie string `json:"x_cookie"`
	// EdgeDir holds the sockets that the container opens.
	EdgeDir string `json:"edge_dir"`
	// EdgeUID, when not 0, is the only user whose sockets in EdgeDir and XSocket are trusted to be the session's.
	EdgeUID uint32 `json:"edge_uid,omitempty"`
	// UDPAddrs and UDPPort are where media goes in and out; port 0 takes any free one.
	UDPAddrs []string `json:"udp_addrs"`
	UDPPort  int      `json:"udp_port"`
	// RelayPorts are the first and last port, at one of UDPAddrs, of the node's relay: a viewer that comes from there is relayed.
	RelayPorts []uint16 `json:"relay_ports,omitempty"`
	// Initial is the remote screen's size before a viewer asks for its own; zero leaves it as it is.
	Initial Size `json:"initial"`
	// Encoder is what makes the picture, if it can: else the streamer says so and goes on with x264.
	Encoder Encoder `json:"encoder,omitzero"`
	// Failed are encoders that failed the node's proof.
	Failed   []FailedEncoder `json:"failed,omitempty"`
	LogLevel string          `json:"log_level"`
	// Policy is what may cross at first.
	Policy Policy `json:"policy,omitzero"`
}

// ReadConfig reads one Config and checks it. It returns ErrNoConfig at end of file.
func ReadConfig(r io.Reader) (Config, error) {
	var c Config
	b, err := io.ReadAll(io.LimitReader(r, MaxConfig+1))
	if err != nil {
		return c, fmt.Errorf("read the streamer's configuration: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return c, ErrNoConfig
	}
	if len(b) > MaxConfig {
		return c, fmt.Errorf("read the streamer's configuration: longer than %d bytes", MaxConfig)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("read the streamer's configuration: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("read the streamer's configuration: something follows the JSON document")
	}
	return c, c.Validate()
}

// Validate says what is wrong with the configuration, all of it at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("streamer configuration: %s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Session == "" || len(c.Session) > 64 {
		bad("session", "must be 1 to 64 characters")
	}
	for field, p := range map[string]string{"socket": c.Socket, "x_socket": c.XSocket, "edge_dir": c.EdgeDir} {
		if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
			bad(field, "%q is not an absolute path", p)
		}
	}
	if b, err := hex.DecodeString(c.XCookie); err != nil || len(b) != 16 {
		bad("x_cookie", "must be 32 hexadecimal digits")
	}
	if len(c.UDPAddrs) == 0 || len(c.UDPAddrs) > 16 {
		bad("udp_addrs", "needs 1 to 16 addresses")
	}
	for _, a := range c.UDPAddrs {
		if _, err := netip.ParseAddr(a); err != nil {
			bad("udp_addrs", "%q is not an IP address", a)
		}
	}
	if c.UDPPort < 0 || c.UDPPort > 65535 {
		bad("udp_port", "%d is not a port", c.UDPPort)
	}
	if n := len(c.RelayPorts); n != 0 && (n != 2 || c.RelayPorts[0] > c.RelayPorts[1]) {
		bad("relay_ports", "%d must be the first and the last port", c.RelayPorts)
	}
	if err := c.Encoder.Validate(); err != nil {
		bad("encoder", "%v", err)
	}
	if err := validateFailed(c.Failed); err != nil {
		bad("failed", "%v", err)
	}
	if err := c.Policy.Validate(); err != nil {
		bad("policy", "%v", err)
	}
	if c.Initial != (Size{}) && !c.Initial.Valid() {
		bad("initial", "%dx%d is outside %d to %d", c.Initial.Width, c.Initial.Height, MinSide, MaxSide)
	}
	return errors.Join(errs...)
}

// Relayed reports whether an address is one of the node's relay.
func (c Config) Relayed(address string, port int) bool {
	return len(c.RelayPorts) == 2 && slices.Contains(c.UDPAddrs, address) && port >= int(c.RelayPorts[0]) && port <= int(c.RelayPorts[1])
}

// Valid reports whether a screen may have this size.
func (s Size) Valid() bool {
	return s.Width >= MinSide && s.Width <= MaxSide && s.Height >= MinSide && s.Height <= MaxSide
}

// Cookie returns the X cookie's bytes.
func (c Config) Cookie() []byte {
	b, _ := hex.DecodeString(c.XCookie)
	return b
}
