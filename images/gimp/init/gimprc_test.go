package main

import (
	"strings"
	"testing"
)

func TestGIMPGetsItsShareOfTheSession(t *testing.T) {
	for _, c := range []struct{ memory, cpus, want string }{
		{"", "", ""},
		{"2147483648", "2", "(tile-cache-size 1048576k)\n(undo-size 262144k)\n(num-processors 2)\n"},
		{"", "1.5", "(num-processors 2)\n"},
		{"", "0.25", "(num-processors 1)\n"},
	} {
		if got, err := systemGimprc(c.memory, c.cpus); err != nil || got != c.want {
			t.Errorf("%q, %q: %q, %v; want %q", c.memory, c.cpus, got, err, c.want)
		}
	}
	for _, c := range []struct{ memory, cpus, names string }{
		{"2G", "", "EASEL_MEMORY"}, {"-1", "", "EASEL_MEMORY"}, {"", "0", "EASEL_CPUS"}, {"", "NaN", "EASEL_CPUS"}, {"", "two", "EASEL_CPUS"}, {"", "+Inf", "EASEL_CPUS"},
	} {
		if got, err := systemGimprc(c.memory, c.cpus); err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%q, %q: %q, %v; want an error that names %s", c.memory, c.cpus, got, err, c.names)
		}
	}
}
