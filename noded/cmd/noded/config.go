package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"easel/noded/gateway"
	"easel/noded/pool"
	"easel/noded/session"
	"easel/noded/stream/contract"
	"easel/pkg/cluster"
	"easel/pkg/identity"
	"easel/pkg/listen"
	"easel/pkg/strictyaml"
	"easel/pkg/telemetry"
)

// defaultConfig is read when no --config is given and it exists.
const defaultConfig = "/etc/easel/noded.yaml"

// Config is noded.yaml. Every field is also a flag: sessions.max is --sessions-max.
type Config struct {
	Name      string `yaml:"name"`
	Listen    string `yaml:"listen"`
	PublicURL string `yaml:"public_url"`
	PortalURL string `yaml:"portal_url"`
	TLS       struct {
		Cert string `yaml:"cert"`
		Key  string `yaml:"key"`
	} `yaml:"tls"`
	StateDir   string `yaml:"state_dir"`
	RunDir     string `yaml:"run_dir"`
	Cgroup     string `yaml:"cgroup"`
	Containerd struct {
		Address   string `yaml:"address"`
		Namespace string `yaml:"namespace"`
	} `yaml:"containerd"`
	Image    string `yaml:"image"`
	Streamer string `yaml:"streamer"`
	API      struct {
		Listen string `yaml:"listen"`
		URL    string `yaml:"url"`
	} `yaml:"api"`
	Cluster struct {
		Bind string   `yaml:"bind"`
		Join []string `yaml:"join"`
	} `yaml:"cluster"`
	Media struct {
		Addresses []string  `yaml:"addresses"`
		Ports     PortRange `yaml:"ports"`
	} `yaml:"media"`
	Relay struct {
		Listen             []string  `yaml:"listen"`
		TLSListen          []string  `yaml:"tls_listen"`
		Public             string    `yaml:"public"`
		Ports              PortRange `yaml:"ports"`
		Allocations        int       `yaml:"allocations"`
		SessionAllocations int       `yaml:"session_allocations"`
		Bandwidth          Bytes     `yaml:"bandwidth"`
		SessionBandwidth   Bytes     `yaml:"session_bandwidth"`
	} `yaml:"relay"`
	Sessions struct {
		Max          int           `yaml:"max"`
		Memory       Bytes         `yaml:"memory"`
		CPUs         float64       `yaml:"cpus"`
		PIDs         int64         `yaml:"pids"`
		DiskRead     Bytes         `yaml:"disk_read"`
		DiskWrite    Bytes         `yaml:"disk_write"`
		Pin          bool          `yaml:"pin"`
		HomeSize     Bytes         `yaml:"home_size"`
		Grace        time.Duration `yaml:"grace"`
		StartTimeout time.Duration `yaml:"start_timeout"`
		UIDBase      uint32        `yaml:"uid_base"`
		Clipboard    string        `yaml:"clipboard"`
		Audio        string        `yaml:"audio"`
		Guests       int           `yaml:"guests"`
		Files        Crossing      `yaml:"files"`
		UploadSize   Bytes         `yaml:"upload_size"`
	} `yaml:"sessions"`
	Pool struct {
		Ready   int           `yaml:"ready"`
		Desktop int           `yaml:"desktop"`
		MaxAge  time.Duration `yaml:"max_age"`
		CPU     float64       `yaml:"cpu"`
	} `yaml:"pool"`
	GPU struct {
		Library    string `yaml:"library"`
		Layout     string `yaml:"layout"`
		DriverRoot string `yaml:"driver_root"`
	} `yaml:"gpu"`
	Place struct {
		Region      string `yaml:"region"`
		Zone        string `yaml:"zone"`
		Coordinates string `yaml:"coordinates"`
	} `yaml:"place"`
	Log struct {
		Level  string `yaml:"level"`
		Format string `yaml:"format"`
	} `yaml:"log"`
}

// defaults is the configuration of a node that says nothing about itself.
func defaults() Config {
	var c Config
	c.Name = hostName()
	c.Listen = "127.0.0.1:8443"
	c.StateDir, c.RunDir = "/var/lib/easel/noded", "/run/easel/noded"
	c.Cgroup = "/easel"
	c.Containerd.Address, c.Containerd.Namespace = "/run/easel/containerd/containerd.sock", "easel"
	c.Image = "easel.local/gimp:trixie"
	c.Streamer = beside("streamer")
	c.API.Listen = "127.0.0.1:8445"
	c.Cluster.Bind, c.Cluster.Join = "127.0.0.1:7946", []string{"127.0.0.1:7947"}
	c.Media.Addresses = []string{"127.0.0.1"}
	c.Media.Ports = PortRange{50000, 50999}
	c.Relay.Listen = []string{"127.0.0.1:3478"}
	c.Relay.Ports = PortRange{51000, 52999}
	c.Relay.Allocations, c.Relay.SessionAllocations = 2000, 32
	c.Relay.Bandwidth, c.Relay.SessionBandwidth = 256<<20, 32<<20
	c.Sessions.Max, c.Sessions.Memory, c.Sessions.CPUs, c.Sessions.PIDs = 8, 2<<30, 2, 512
	c.Sessions.DiskRead, c.Sessions.DiskWrite = 256<<20, 256<<20 // a home on an ordinary SSD leaves room for others
	c.Sessions.HomeSize = 4 << 30
	c.Sessions.Grace, c.Sessions.StartTimeout = 15*time.Minute, time.Minute
	c.Sessions.UIDBase = 10_000_000
	c.Sessions.Clipboard, c.Sessions.Audio, c.Sessions.Guests = contract.ClipboardBoth, contract.AudioOn, 8
	c.Sessions.Files, c.Sessions.UploadSize = Crossing{In: true, Out: true}, 4<<30
	c.Pool.Ready, c.Pool.Desktop, c.Pool.MaxAge, c.Pool.CPU = 1, 1, 4*time.Hour, 0.7
	c.GPU.Layout, c.GPU.DriverRoot = "/etc/easel/gpu.yaml", "/"
	c.Log.Level, c.Log.Format = "info", "text"
	return c
}

var badInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "node"
	}
	if name = strings.Trim(badInName.ReplaceAllString(name, "-"), "-._"); name == "" {
		return "node"
	}
	return name[:min(len(name), 64)]
}

// beside is the path of a program that was installed with this one.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return "/usr/lib/easel/" + name
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	return filepath.Join(filepath.Dir(self), name)
}

// load reads the configuration: defaults, then the file, then what flags set. The result is complete.
func load(path string, override func(*Config) error) (Config, error) {
	c := defaults()
	if path == "" {
		if _, err := os.Stat(defaultConfig); err == nil {
			path = defaultConfig
		}
	}
	if path != "" {
		if err := strictyaml.Load(path, &c); err != nil {
			return c, err
		}
	}
	if err := override(&c); err != nil {
		return c, err
	}
	if c.PublicURL == "" {
		c.PublicURL = c.scheme() + "://" + c.Listen
	}
	if c.Relay.Public == "" {
		c.Relay.Public = relayHost(c.PublicURL)
	}
	if c.API.URL == "" {
		c.API.URL = "https://" + c.API.Listen
	}
	if err := c.validate(); err != nil {
		if path == "" {
			path = "the flags"
		}
		return c, fmt.Errorf("configuration of %s: %w", path, err)
	}
	return c, nil
}

func (c *Config) scheme() string {
	if c.TLS.Cert != "" {
		return "https"
	}
	return "http"
}

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)
	cgroupPattern = regexp.MustCompile(`^(/[A-Za-z0-9][A-Za-z0-9._-]*)+$`)
)

// validate names every field that cannot be as it is.
func (c *Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !namePattern.MatchString(c.Name) {
		bad("name", "%q: want 1 to 64 letters, digits, '.', '_' and '-'", c.Name)
	}
	c.validateNetwork(bad)
	for field, path := range map[string]string{
		"state_dir": c.StateDir, "run_dir": c.RunDir, "containerd.address": c.Containerd.Address, "streamer": c.Streamer,
		"gpu.layout": c.GPU.Layout, "gpu.driver_root": c.GPU.DriverRoot,
	} {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			bad(field, "%q: want an absolute path", path)
		}
	}
	if lib := c.GPU.Library; lib != "" && (!filepath.IsAbs(lib) || filepath.Clean(lib) != lib) {
		bad("gpu.library", "%q: want an absolute path, or nothing for the loader's own search", lib)
	}
	// A socket's address holds 107 characters: RUN/s/ID/worker/streamer.sock must fit.
	if room := 107 - len("/s/sxxxxxxxxxxxxxxxx/worker/streamer.sock"); len(c.RunDir) > room {
		bad("run_dir", "longer than %d characters: the sockets below it would not fit a socket's address", room)
	}
	if !cgroupPattern.MatchString(c.Cgroup) {
		bad("cgroup", "%q: want a path below the cgroup root, such as /easel", c.Cgroup)
	}
	if c.Containerd.Namespace == "" {
		bad("containerd.namespace", "must not be empty")
	}
	if c.Image == "" {
		bad("image", "must name the session image, such as easel.local/gimp:trixie")
	}
	c.validateRelay(bad)
	if _, err := cluster.ParsePlace(c.Place.Region, c.Place.Zone, c.Place.Coordinates); err != nil {
		bad("place", "%v", err)
	}
	c.validateSessions(bad)
	c.validatePool(bad)
	if _, err := telemetry.Logger(nil, c.Log.Level, c.Log.Format); err != nil {
		bad("log", "%v", err)
	}
	return errors.Join(errs...)
}

func (c *Config) validateNetwork(bad func(field, format string, args ...any)) {
	addr, err := listen.ParseAddress(c.Listen, "127.0.0.1:8443", c.TLS.Cert != "")
	switch {
	case err != nil:
		bad("listen", "%v", err)
	case addr.IsUnspecified() && strings.HasSuffix(c.PublicURL, "://"+c.Listen):
		bad("public_url", "must be set, as listen names no single address: the URL at which browsers reach this node")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("tls", "cert and key must both be set, or neither")
	}
	for field, text := range map[string]string{"public_url": c.PublicURL, "portal_url": c.PortalURL} {
		u, err := url.Parse(text)
		if text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "") {
			bad(field, "%q: want scheme, host and port alone, such as https://node1.example.org", text)
		}
	}
	if len(c.Media.Addresses) == 0 {
		bad("media.addresses", "must name at least one of this host's addresses, to which browsers send")
	}
	for _, a := range c.Media.Addresses {
		if ip, err := netip.ParseAddr(a); err != nil || ip.IsUnspecified() {
			bad("media.addresses", "%q: want one of this host's IP addresses", a)
		}
	}
	c.validateAPI(bad)
}

func (c *Config) validateAPI(bad func(field, format string, args ...any)) {
	addr, err := listen.ParseAddress(c.API.Listen, "127.0.0.1:8445", true)
	if err != nil {
		bad("api.listen", "%v", err)
	} else if addr.IsUnspecified() && c.API.URL == "https://"+c.API.Listen {
		bad("api.url", "must be set, as api.listen names no single address: the URL at which coordinators reach this node")
	}
	if err := identity.CheckAddress(c.API.URL); err != nil {
		bad("api.url", "%v", err)
	}
}

func (c *Config) validateSessions(bad func(field, format string, args ...any)) {
	s := c.Sessions
	if s.Max < 0 || s.Max > 1000 {
		bad("sessions.max", "%d: want 0 to 1000", s.Max)
	}
	if ports := c.Media.Ports.Count(); ports < s.Max {
		bad("media.ports", "%d ports are fewer than sessions.max (%d): each session takes one", ports, s.Max)
	}
	if s.Memory < 256<<20 {
		bad("sessions.memory", "%s: GIMP needs at least 256MiB", s.Memory)
	}
	if s.CPUs < 0.1 || s.CPUs > 1024 {
		bad("sessions.cpus", "%g: want 0.1 to 1024", s.CPUs)
	}
	if s.PIDs < 64 {
		bad("sessions.pids", "%d: GIMP and its plug-ins need at least 64", s.PIDs)
	}
	for field, rate := range map[string]Bytes{"sessions.disk_read": s.DiskRead, "sessions.disk_write": s.DiskWrite} {
		if rate != 0 && rate < 1<<20 {
			bad(field, "%s: want 1MiB (a second) at least, or 0 for no limit", rate)
		}
	}
	if s.HomeSize < 64<<20 {
		bad("sessions.home_size", "%s: want at least 64MiB", s.HomeSize)
	}
	if s.UploadSize < 1<<20 {
		bad("sessions.upload_size", "%s: want at least 1MiB; sessions.files says whether files come in at all", s.UploadSize)
	}
	for field, d := range map[string]time.Duration{"sessions.grace": s.Grace, "sessions.start_timeout": s.StartTimeout} {
		if d < time.Second || d > 30*24*time.Hour {
			bad(field, "%s: want 1s to 720h", d)
		}
	}
	if s.Guests < 0 || s.Guests > contract.MaxGuests {
		bad("sessions.guests", "%d: want 0, for none, to %d", s.Guests, contract.MaxGuests)
	}
	if err := (contract.Policy{Clipboard: s.Clipboard}).Validate(); err != nil || s.Clipboard == "" {
		bad("sessions.clipboard", "%q: want both, in, out or off", s.Clipboard)
	}
	if err := (contract.Policy{Audio: s.Audio}).Validate(); err != nil || s.Audio == "" {
		bad("sessions.audio", "%q: want on or off", s.Audio)
	}
	if s.UIDBase < 65536 || uint64(s.UIDBase)+uint64(max(1, s.Max))*65536 > 1<<32 {
		bad("sessions.uid_base", "%d: want at least 65536, with 65536 uids for each of %d sessions above it", s.UIDBase, s.Max)
	}
}

func (c *Config) validatePool(bad func(field, format string, args ...any)) {
	for field, n := range map[string]int{"pool.ready": c.Pool.Ready, "pool.desktop": c.Pool.Desktop} {
		if n < 0 || n > 1000 {
			bad(field, "%d: want 0 to 1000", n)
		}
	}
	if c.Pool.MaxAge < time.Minute || c.Pool.MaxAge > 30*24*time.Hour {
		bad("pool.max_age", "%s: want 1m to 720h", c.Pool.MaxAge)
	}
	if !(c.Pool.CPU > 0 && c.Pool.CPU <= 1) { // NaN is neither
		bad("pool.cpu", "%g: want a part of the host's processors, above 0 to 1", c.Pool.CPU)
	}
}

// warm is what the node keeps of warm sessions as long as no coordinator says otherwise.
func (c *Config) warm() []pool.Wish {
	return []pool.Wish{{Kind: session.WarmReady, Want: c.Pool.Ready}, {Kind: session.WarmDesktop, Want: c.Pool.Desktop}}
}

// policy is what may cross a session's edge.
func (c *Config) policy() contract.Policy {
	return contract.Policy{Clipboard: c.Sessions.Clipboard, Audio: c.Sessions.Audio, Guests: c.Sessions.Guests, Files: c.Sessions.Files.String()}
}

func (c *Config) admission() session.Admission {
	return session.Admission{
		Max: c.Sessions.Max,
		Limits: session.Limits{
			Memory: int64(c.Sessions.Memory), CPUs: c.Sessions.CPUs, PIDs: c.Sessions.PIDs,
			DiskRead: uint64(c.Sessions.DiskRead), DiskWrite: uint64(c.Sessions.DiskWrite),
		},
		Pin:       c.Sessions.Pin,
		UIDBase:   c.Sessions.UIDBase,
		PortFirst: c.Media.Ports.First, PortLast: c.Media.Ports.Last,
		DiskFloor: diskFloor,
	}
}

// files is which way files may cross.
func (c *Config) files() gateway.Files {
	return gateway.Files{In: c.Sessions.Files.In, Out: c.Sessions.Files.Out, Most: int64(c.Sessions.UploadSize)}
}

// diskFloor is what stays free in the state directory, in bytes: bbolt and homes must be able to write.
const diskFloor = 512 << 20

// place is where the node stands.
func (c *Config) place() cluster.Place {
	p, _ := cluster.ParsePlace(c.Place.Region, c.Place.Zone, c.Place.Coordinates) // validate has looked at the error
	return p
}

func (c *Config) identityDir() string { return filepath.Join(c.StateDir, "identity") }
func (c *Config) adminSocket() string { return filepath.Join(c.RunDir, "noded.sock") }

// driver is the folder of the graphics driver's libraries, "" where the loader finds them.
func (c *Config) driver() string {
	if c.GPU.Library == "" {
		return ""
	}
	return filepath.Dir(c.GPU.Library)
}
