package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// What Config.Strategy may be.
const (
	Spread = "spread" // the emptiest nodes first: every session has most of a machine
	Pack   = "pack"   // the fullest first: machines come free, for an autoscaler to take away
)

// What Config.Encoder and Request.Encoder may be: how the picture of a session with a GPU is to be encoded.
const (
	Hardware = "hardware" // by the card: a place whose encoder would be the CPU is refused
	Any      = "any"      // by the CPU where the card cannot
)

// ClassNone is the class of sessions without a GPU, and that of who names none.
const ClassNone = "none"

// Config is how nodes are chosen; the fields of `placement:` in coordinator.yaml.
type Config struct {
	Strategy string   `yaml:"strategy"`
	Encoder  string   `yaml:"encoder"` // of sessions with a GPU whose request does not say
	Weights  Weights  `yaml:"weights"`
	Policies []Policy `yaml:"policies"`
}

// Weights are how much each score counts; every score is from 0 to 1. Distance loses 1 over farthest, so with
// its weight of 10 a point is worth 25 ms of round trip.
type Weights struct {
	Distance float64 `yaml:"distance"`
	Home     float64 `yaml:"home"`
	Warm     float64 `yaml:"warm"`
	Load     float64 `yaml:"load"`
	Room     float64 `yaml:"room"`
	Fit      float64 `yaml:"fit"`
	Even     float64 `yaml:"even"`
}

// Policy limits where some people's sessions may be. The first that names somebody, by name or by role,
// is theirs; one that names nobody is everybody's. An empty list of regions or classes allows all.
type Policy struct {
	Users   []string `yaml:"users"`
	Roles   []string `yaml:"roles"`
	Regions []string `yaml:"regions"`
	Classes []string `yaml:"classes"`
}

// Defaults is the configuration of who says nothing about placement. A home is worth any distance within a
// continent, because without it an artist's files are elsewhere. A warm session saves some seconds once,
// a near node some milliseconds in every stroke: 25 ms outweigh it. The last slots beside a free GPU are left alone
// by who needs none, unless the next place is 75 ms farther or fuller by as much as load and room can say.
func Defaults() Config {
	return Config{Strategy: Spread, Encoder: Hardware, Weights: Weights{Distance: 10, Home: 10, Warm: 1, Load: 2, Room: 1, Fit: 3, Even: 0.1}}
}

// Check says what cannot be.
func (c Config) Check() error {
	var errs []error
	if c.Strategy != Spread && c.Strategy != Pack {
		errs = append(errs, fmt.Errorf("strategy: %q: use %s or %s", c.Strategy, Spread, Pack))
	}
	if c.Encoder != Hardware && c.Encoder != Any {
		errs = append(errs, fmt.Errorf("encoder: %q: use %s or %s", c.Encoder, Hardware, Any))
	}
	for _, s := range scores {
		if w := s.weight(&c.Weights); !(w >= 0 && w <= 1000) {
			errs = append(errs, fmt.Errorf("weights.%s: %v: use 0 to 1000", s.name, w))
		}
	}
	for i, p := range c.Policies {
		if len(p.Regions) == 0 && len(p.Classes) == 0 {
			errs = append(errs, fmt.Errorf("policies[%d]: it limits nothing; give it regions or classes", i))
		}
	}
	return errors.Join(errs...)
}

// Allows tells whether a user may have sessions of a class.
func (p *Policy) Allows(class string) bool {
	return p == nil || len(p.Classes) == 0 || slices.Contains(p.Classes, cmp.Or(class, ClassNone))
}

// encoderOf is how the picture of a request's session is to be encoded; "" for one without a GPU.
func (c *Config) encoderOf(class, encoder string) string {
	if cmp.Or(class, ClassNone) == ClassNone {
		return ""
	}
	return cmp.Or(encoder, c.Encoder)
}

// policyOf returns the policy of a user, nil for none.
func (c *Config) policyOf(user, role string) *Policy {
	for i := range c.Policies {
		p := &c.Policies[i]
		if slices.Contains(p.Users, user) || slices.Contains(p.Roles, role) || len(p.Users) == 0 && len(p.Roles) == 0 {
			return p
		}
	}
	return nil
}
