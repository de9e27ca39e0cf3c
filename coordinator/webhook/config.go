// Package webhook tells an autoscaler when the cluster has too little room, or too much. It decides nothing about
// machines: it says what it sees and why, signed, and the receiver acts.
package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"time"
)

// Hook is one receiver and when it is called.
type Hook struct {
	URL        string `yaml:"url" json:"url"`
	SecretFile string `yaml:"secret_file" json:"secret_file"`
	Class      string `yaml:"class" json:"class,omitempty"` // "" counts sessions of every class
	ScaleUp    Up     `yaml:"scale_up" json:"scale_up"`
	ScaleDown  Down   `yaml:"scale_down" json:"scale_down"`
	// Repeat is how often a call is made again while its cause lasts.
	Repeat time.Duration `yaml:"repeat" json:"repeat"`
}

// Up calls for more room: fewer sessions than FreeBelow are free, for so long.
type Up struct {
	FreeBelow int           `yaml:"free_below" json:"free_below"` // 0: never
	For       time.Duration `yaml:"for" json:"for"`
}

// Down says that there is room to spare: more sessions than FreeAbove are free, for so long.
type Down struct {
	FreeAbove int           `yaml:"free_above" json:"free_above"` // 0: never
	For       time.Duration `yaml:"for" json:"for"`
}

// Defaults of what a hook leaves out.
const (
	defaultUpFor   = 15 * time.Second
	defaultDownFor = 10 * time.Minute
	defaultRepeat  = 5 * time.Minute
	maxHooks       = 16
	maxFree        = 1_000_000
)

// Complete returns the hooks with their defaults, or says all that is wrong with them.
func Complete(hooks []Hook) ([]Hook, error) {
	if len(hooks) == 0 {
		return nil, nil
	}
	if len(hooks) > maxHooks {
		return nil, fmt.Errorf("%d webhooks: want at most %d", len(hooks), maxHooks)
	}
	complete := make([]Hook, len(hooks))
	seen := map[string]bool{}
	var errs []error
	for i, h := range hooks {
		h.ScaleUp.For = orDefault(h.ScaleUp.For, defaultUpFor)
		h.ScaleDown.For = orDefault(h.ScaleDown.For, defaultDownFor)
		h.Repeat = orDefault(h.Repeat, defaultRepeat)
		if err := h.check(); err != nil {
			errs = append(errs, fmt.Errorf("webhooks[%d]: %w", i, err))
		}
		if key := h.key(); seen[key] {
			errs = append(errs, fmt.Errorf("webhooks[%d]: url %q with class %q is there twice", i, h.URL, h.Class))
		} else {
			seen[key] = true
		}
		complete[i] = h
	}
	return complete, errors.Join(errs...)
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (h Hook) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := checkURL(h.URL); err != nil {
		errs = append(errs, err)
	}
	if !filepath.IsAbs(h.SecretFile) {
		bad("secret_file %q: want the absolute path of a file with the secret that signs the calls", h.SecretFile)
	}
	up, down := h.ScaleUp.FreeBelow, h.ScaleDown.FreeAbove
	switch {
	case up < 0 || up > maxFree || down < 0 || down > maxFree:
		bad("free_below and free_above: want 0 to %d", maxFree)
	case up == 0 && down == 0:
		bad("neither scale_up.free_below nor scale_down.free_above is set: it would never be called")
	case up > 0 && down > 0 && down <= up:
		bad("scale_down.free_above (%d) must be more than scale_up.free_below (%d), or the two would chase each other", down, up)
	}
	for name, d := range map[string]time.Duration{"scale_up.for": h.ScaleUp.For, "scale_down.for": h.ScaleDown.For} {
		if d < 0 || d > 24*time.Hour {
			bad("%s %s: want at most 24h", name, d)
		}
	}
	if h.Repeat < 10*time.Second || h.Repeat > 24*time.Hour {
		bad("repeat %s: want 10s to 24h", h.Repeat)
	}
	return errors.Join(errs...)
}

// checkURL takes HTTPS, and plain HTTP on this host alone.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("url %q: want an address such as https://scaler.example.org/easel", text)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("url %q: plain HTTP is for this host alone (127.0.0.1); use https", text)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// key names a hook in logs, metrics and the state.
func (h Hook) key() string { return h.URL + " " + h.Class }
