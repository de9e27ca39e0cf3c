package main

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a size, written as 512MiB, 2GiB or a plain number of bytes.
type Bytes int64

var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// UnmarshalText implements encoding.TextUnmarshaler, for YAML and flags.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if total := n * float64(u.size); err != nil || !(total >= 0 && total <= 1<<60) { // NaN is neither
			break
		}
		*b = Bytes(n * float64(u.size))
		return nil
	}
	return fmt.Errorf("size %q: want a number with KiB, MiB, GiB or TiB, such as 2GiB", s)
}

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b Bytes) String() string {
	for _, u := range units {
		if int64(b) >= u.size && int64(b)%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(b)/u.size, u.name)
		}
	}
	return "0"
}

// PortRange is a range of ports, written as 50000-50999.
type PortRange struct{ First, Last uint16 }

// UnmarshalText implements encoding.TextUnmarshaler, for YAML and flags.
func (p *PortRange) UnmarshalText(text []byte) error {
	low, high, ok := strings.Cut(string(text), "-")
	if !ok {
		high = low
	}
	first, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	if err1 != nil || err2 != nil || first < 1 || last < first {
		return fmt.Errorf("ports %q: want first-last, such as 50000-50999", text)
	}
	p.First, p.Last = uint16(first), uint16(last)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p PortRange) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p PortRange) String() string { return fmt.Sprintf("%d-%d", p.First, p.Last) }

// Count is how many ports the range has.
func (p PortRange) Count() int { return int(p.Last) - int(p.First) + 1 }

// Crossing says which way something may cross between an artist and their session, written as both, in, out or off: in is into the session.
type Crossing struct{ In, Out bool }

var crossings = map[string]Crossing{"both": {In: true, Out: true}, "in": {In: true}, "out": {Out: true}, "off": {}}

// UnmarshalText implements encoding.TextUnmarshaler, for YAML and flags.
func (c *Crossing) UnmarshalText(text []byte) error {
	way, ok := crossings[string(text)]
	if !ok {
		return fmt.Errorf("%q: want both, in, out or off", text)
	}
	*c = way
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (c Crossing) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c Crossing) String() string {
	for word, way := range crossings {
		if way == c {
			return word
		}
	}
	return ""
}
