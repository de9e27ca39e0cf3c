package cluster

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What a record may hold. A record beyond it is refused as a whole: it is a fault or a lie.
const (
	maxText    = 200 // bytes of Capacity.Full
	maxImage   = 255 // bytes of one image reference
	maxLabel   = 63  // bytes of the name of a class, kind or profile
	maxModel   = 96  // bytes of the name of a model of card
	maxKinds   = 64  // entries of one list
	maxSlots   = 100_000
	maxCPUs    = 65_536
	maxMemory  = 1 << 50 // bytes: a pebibyte
	maxVersion = 64
)

// Room is how many sessions of a class a node can hold and holds.
type Room struct {
	Class       string
	Total, Used int
	Encoders    int // of the free ones, those whose card can encode a stream more
}

// Free is how many sessions more the class has room for.
func (r Room) Free() int { return max(0, r.Total-r.Used) }

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

// GPU is how many cards of a model a node has.
type GPU struct {
	Model            string
	Count, Unhealthy int
	Encoder          bool // the model has an encoder engine
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
	GPUs     []GPU
	Load     Load
	Version  string    // of the node's program; filled in
	At       time.Time // by the node's clock, millisecond resolution
}

func (c *Capacity) check() error {
	switch {
	case !namePattern.MatchString(c.Name):
		return fmt.Errorf("name %q is not a node's name", c.Name)
	case c.Seq == 0:
		return errors.New("it has no sequence number")
	case max(len(c.Images), len(c.Classes), len(c.Warm), len(c.Slices), len(c.GPUs)) > maxKinds:
		return fmt.Errorf("a list of it has more than %d entries", maxKinds)
	}
	for _, image := range c.Images {
		if err := checkText("image", image, maxImage); err != nil {
			return err
		}
	}
	return errors.Join(checkCount("sessions", c.Total, c.Used), c.checkKinds(), c.Load.check(), checkText("reason", c.Full, maxText),
		checkText("version", c.Version, maxVersion))
}

func (c *Capacity) checkKinds() error {
	for _, r := range c.Classes {
		if err := errors.Join(checkText("class", r.Class, maxLabel), checkCount("sessions of class "+r.Class, r.Total, r.Used)); err != nil {
			return err
		}
		if r.Encoders < 0 || r.Encoders > r.Free() {
			return fmt.Errorf("sessions of class %s: %d with an encoder is out of range, %d are free", r.Class, r.Encoders, r.Free())
		}
	}
	for _, w := range c.Warm {
		err := errors.Join(checkText("image", w.Image, maxImage), checkText("class", w.Class, maxLabel), checkText("kind", w.Kind, maxLabel),
			checkCount("warm sessions", w.Count, 0))
		if err != nil {
			return err
		}
	}
	for _, s := range c.Slices {
		if err := errors.Join(checkText("profile", s.Profile, maxLabel), checkCount("slices of profile "+s.Profile, s.Total, s.Used)); err != nil {
			return err
		}
	}
	for _, g := range c.GPUs {
		if err := errors.Join(checkText("model of card", g.Model, maxModel), checkCount("cards", g.Count, 0)); err != nil {
			return err
		}
		if g.Unhealthy < 0 || g.Unhealthy > g.Count {
			return fmt.Errorf("cards: %d of %d unhealthy is out of range", g.Unhealthy, g.Count)
		}
	}
	return nil
}

// checkCount lets a node hold more than it may: its limit can have been lowered.
func checkCount(what string, total, used int) error {
	if total < 0 || total > maxSlots || used < 0 || used > maxSlots {
		return fmt.Errorf("%s: %d of %d used is out of range", what, used, total)
	}
	return nil
}

func (l Load) check() error {
	switch {
	case l.CPUs < 0 || l.CPUs > maxCPUs:
		return fmt.Errorf("%d CPUs is out of range", l.CPUs)
	case math.IsNaN(float64(l.CPU)) || l.CPU < 0 || l.CPU > 1:
		return fmt.Errorf("CPU load %v is out of range", l.CPU)
	case l.MemoryTotal > maxMemory || l.MemoryFree > l.MemoryTotal:
		return fmt.Errorf("%d of %d bytes of memory free is out of range", l.MemoryFree, l.MemoryTotal)
	}
	return nil
}

// sameRoom tells whether two records differ in nothing that a reader far away would act on: load is left out.
func sameRoom(a, b *Capacity) bool {
	return a.Total == b.Total && a.Used == b.Used && a.Draining == b.Draining && a.Full == b.Full && a.Version == b.Version &&
		slices.Equal(a.Images, b.Images) && slices.Equal(a.Classes, b.Classes) && slices.Equal(a.Warm, b.Warm) &&
		slices.Equal(a.Slices, b.Slices) && slices.Equal(a.GPUs, b.GPUs)
}

// fit makes rec fit one packet and returns how many entries it had to leave out: images first, whose lack costs the
// node no more than a question, then models of cards, which people alone read, and last what placement goes by.
func fit(rec Capacity) (fitted Capacity, left int, err error) {
	rec.Full = clip(rec.Full, maxText)
	left = cut(&rec.Images, maxKinds) + cut(&rec.GPUs, maxKinds) + cut(&rec.Warm, maxKinds) + cut(&rec.Slices, maxKinds) + cut(&rec.Classes, maxKinds)
	for {
		if _, err = encodeCapacity(&rec); !errors.Is(err, errTooLarge) {
			return rec, left, err
		}
		switch {
		case len(rec.Images) > 0:
			left += cut(&rec.Images, len(rec.Images)-1)
		case len(rec.GPUs) > 0:
			left += cut(&rec.GPUs, len(rec.GPUs)-1)
		case len(rec.Warm) > 0:
			left += cut(&rec.Warm, len(rec.Warm)-1)
		case len(rec.Slices) > 0:
			left += cut(&rec.Slices, len(rec.Slices)-1)
		case len(rec.Classes) > 0:
			left += cut(&rec.Classes, len(rec.Classes)-1)
		default:
			return rec, left, err
		}
	}
}

// cut shortens a list to limit entries and returns how many it left out.
func cut[T any](list *[]T, limit int) int {
	left := max(0, len(*list)-limit)
	*list = (*list)[:len(*list)-left]
	return left
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
