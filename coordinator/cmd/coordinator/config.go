package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"easel/coordinator/placement"
	"easel/coordinator/webhook"
	"easel/pkg/cluster"
	"easel/pkg/identity"
	"easel/pkg/listen"
	"easel/pkg/strictyaml"
	"easel/pkg/telemetry"
)

// defaultConfig is read when no --config is given and it exists.
const defaultConfig = "/etc/easel/coordinator.yaml"

// Config is coordinator.yaml. Every field but those of placement and webhooks is also a flag: cluster.bind is --cluster-bind.
type Config struct {
	Name      string `yaml:"name"`
	Listen    string `yaml:"listen"`
	PublicURL string `yaml:"public_url"`
	TLS       struct {
		Cert string `yaml:"cert"`
		Key  string `yaml:"key"`
	} `yaml:"tls"`
	StateDir string `yaml:"state_dir"`
	RunDir   string `yaml:"run_dir"`
	API      struct {
		Listen string `yaml:"listen"`
		URL    string `yaml:"url"`
	} `yaml:"api"`
	Cluster struct {
		Bind string   `yaml:"bind"`
		Join []string `yaml:"join"`
	} `yaml:"cluster"`
	Place struct {
		Region      string `yaml:"region"`
		Zone        string `yaml:"zone"`
		Coordinates string `yaml:"coordinates"`
	} `yaml:"place"`
	GeoIP     string           `yaml:"geoip"`
	Placement placement.Config `yaml:"placement"`
	Webhooks  []webhook.Hook   `yaml:"webhooks"`
	Log       struct {
		Level  string `yaml:"level"`
		Format string `yaml:"format"`
	} `yaml:"log"`
}

// defaults is the configuration of a coordinator that says nothing about itself.
func defaults() Config {
	var c Config
	c.Name = hostName()
	c.Listen = "127.0.0.1:8080"
	c.StateDir, c.RunDir = "/var/lib/easel/coordinator", "/run/easel/coordinator"
	c.Cluster.Bind = "127.0.0.1:7947"
	c.Cluster.Join = []string{"127.0.0.1:7946"}
	c.Placement = placement.Defaults()
	c.API.Listen = "127.0.0.1:8444"
	c.Log.Level, c.Log.Format = "info", "text"
	return c
}

var badInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "coordinator"
	}
	name = badInName.ReplaceAllString(name, "-")
	name = strings.Trim(name[:min(len(name), 64)], "-._")
	if name == "" {
		return "coordinator"
	}
	return name
}

// flags offers every field of c as a flag; the returned function applies those that were given to another
// Config, so that they win over the file.
func (c *Config) flags(set *flag.FlagSet) (apply func(to *Config)) {
	fields := func(c *Config) map[string]*string {
		return map[string]*string{
			"name": &c.Name, "listen": &c.Listen, "public-url": &c.PublicURL, "tls-cert": &c.TLS.Cert, "tls-key": &c.TLS.Key,
			"state-dir": &c.StateDir, "run-dir": &c.RunDir, "cluster-bind": &c.Cluster.Bind,
			"api-listen": &c.API.Listen, "api-url": &c.API.URL,
			"place-region": &c.Place.Region, "place-zone": &c.Place.Zone, "place-coordinates": &c.Place.Coordinates,
			"geoip": &c.GeoIP, "log-level": &c.Log.Level, "log-format": &c.Log.Format,
		}
	}
	for name, at := range fields(c) {
		set.StringVar(at, name, *at, "as "+fieldName(name)+" in the configuration")
	}
	join := strings.Join(c.Cluster.Join, ",")
	set.StringVar(&join, "cluster-join", join, "as cluster.join in the configuration, separated by commas")
	return func(to *Config) {
		target := fields(to)
		set.Visit(func(f *flag.Flag) {
			if at, ok := target[f.Name]; ok {
				*at = f.Value.String()
			}
			if f.Name == "cluster-join" {
				to.Cluster.Join = strings.FieldsFunc(join, func(r rune) bool { return r == ',' })
			}
		})
	}
}

func fieldName(flag string) string {
	for _, group := range []string{"tls", "api", "cluster", "place", "log"} {
		if rest, ok := strings.CutPrefix(flag, group+"-"); ok {
			return group + "." + strings.ReplaceAll(rest, "-", "_")
		}
	}
	return strings.ReplaceAll(flag, "-", "_")
}

// load reads the configuration: defaults, then the file, then what flags set. The result is complete.
func load(path string, override func(*Config)) (Config, error) {
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
	} else {
		path = "the defaults and flags"
	}
	override(&c)
	c.complete()
	var err error
	if c.Webhooks, err = webhook.Complete(c.Webhooks); err != nil {
		return c, fmt.Errorf("configuration of %s: %w", path, err)
	}
	if err := c.validate(); err != nil {
		return c, fmt.Errorf("configuration of %s: %w", path, err)
	}
	return c, nil
}

// complete fills in what follows from other fields.
func (c *Config) complete() {
	if c.PublicURL == "" {
		c.PublicURL = c.scheme() + "://" + c.Listen
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	if c.API.URL == "" {
		c.API.URL = "https://" + c.API.Listen
	}
}

func (c *Config) scheme() string {
	if c.TLS.Cert != "" {
		return "https"
	}
	return "http"
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// validate names every field that cannot be as it is.
func (c *Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !namePattern.MatchString(c.Name) {
		bad("name", "%q: want 1 to 64 letters, digits, '.', '_' and '-'", c.Name)
	}
	c.validateListen(bad)
	c.validateAPI(bad)
	if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		bad("public_url", "%q: want scheme, host and port alone, such as https://easel.example.org", c.PublicURL)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("tls", "cert and key must both be set, or neither")
	}
	for field, path := range map[string]string{"state_dir": c.StateDir, "run_dir": c.RunDir} {
		if !filepath.IsAbs(path) {
			bad(field, "%q: want an absolute path", path)
		}
	}
	// A socket's address holds 107 characters.
	if len(c.adminSocket()) > 107 {
		bad("run_dir", "longer than %d characters: the socket in it would not fit a socket's address", 107-len("/coordinator.sock"))
	}
	for _, addr := range append([]string{c.Cluster.Bind}, c.Cluster.Join...) {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad("cluster", "%q: want address:port", addr)
		}
	}
	if _, err := cluster.ParsePlace(c.Place.Region, c.Place.Zone, c.Place.Coordinates); err != nil {
		bad("place", "%v", err)
	}
	if c.GeoIP != "" && !filepath.IsAbs(c.GeoIP) {
		bad("geoip", "%q: want an absolute path", c.GeoIP)
	}
	if err := c.Placement.Check(); err != nil {
		bad("placement", "%v", err)
	}
	if _, err := telemetry.Logger(nil, c.Log.Level, c.Log.Format); err != nil {
		bad("log", "%v", err)
	}
	return errors.Join(errs...)
}

func (c *Config) validateListen(bad func(field, format string, args ...any)) {
	addr, err := listen.ParseAddress(c.Listen, "127.0.0.1:8080", c.TLS.Cert != "")
	switch {
	case err != nil:
		bad("listen", "%v", err)
	case addr.IsUnspecified() && strings.HasSuffix(c.PublicURL, "://"+c.Listen):
		bad("public_url", "must be set, as listen names no single address: the URL at which browsers reach the portal")
	}
}

// place is where the coordinator stands.
func (c *Config) place() cluster.Place {
	p, _ := cluster.ParsePlace(c.Place.Region, c.Place.Zone, c.Place.Coordinates) // validate has looked at the error
	return p
}

func (c *Config) validateAPI(bad func(field, format string, args ...any)) {
	addr, err := listen.ParseAddress(c.API.Listen, "127.0.0.1:8444", true)
	if err != nil {
		bad("api.listen", "%v", err)
	} else if addr.IsUnspecified() && c.API.URL == "https://"+c.API.Listen {
		bad("api.url", "must be set, as api.listen names no single address: the URL at which members reach this coordinator")
	}
	if err := identity.CheckAddress(c.API.URL); err != nil {
		bad("api.url", "%v", err)
	}
}

func (c *Config) identityDir() string { return filepath.Join(c.StateDir, "identity") }
func (c *Config) adminSocket() string { return filepath.Join(c.RunDir, "coordinator.sock") }
func (c *Config) database() string    { return filepath.Join(c.StateDir, "coordinator.db") }
func (c *Config) signingKey() string  { return filepath.Join(c.StateDir, "signing.key") }
