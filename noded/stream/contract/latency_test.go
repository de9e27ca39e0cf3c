package contract

import (
	"math"
	"slices"
	"testing"
)

func TestHistogramCountsByItsBounds(t *testing.T) {
	h := NewHistogram()
	for _, ms := range []float64{0, 0.25, 0.26, 16, 5000, -1} {
		h.Observe(ms)
	}
	want := []uint64{3, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1}
	if !slices.Equal(h.N, want) || math.Abs(h.MS-5015.51) > 1e-9 {
		t.Fatalf("%v, %v ms in all", h.N, h.MS)
	}
	h.Add(h)
	if h.N[0] != 6 || h.N[13] != 2 {
		t.Fatalf("twice that is %v", h.N)
	}
}

func TestLatencyThatCannotBeIsRefused(t *testing.T) {
	good := NewLatency()
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	if err := (Latency{}).Check(); err != nil { // of a streamer from before an upgrade
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(l Latency) Latency{
		"a stage too few":      func(l Latency) Latency { return l[1:] },
		"a count too few":      func(l Latency) Latency { l[3].N = l[3].N[1:]; return l },
		"a count out of sense": func(l Latency) Latency { l[3].N[2] = 1 << 60; return l },
		"no number":            func(l Latency) Latency { l[3].MS = math.NaN(); return l },
		"less than nothing":    func(l Latency) Latency { l[3].MS = -1; return l },
		"endless":              func(l Latency) Latency { l[3].MS = math.Inf(1); return l },
	} {
		if err := spoil(NewLatency()).Check(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestLatencySinceAnEarlierTelling(t *testing.T) {
	before, now := NewLatency(), NewLatency()
	before[StageEncode].Observe(3)
	now[StageEncode].Observe(3)
	now[StageEncode].Observe(5)
	d, ok := now.Since(before)
	if !ok || d[StageEncode].N[5] != 1 || d[StageEncode].N[4] != 0 || d[StageEncode].MS != 5 {
		t.Fatalf("%v, %v", d[StageEncode], ok)
	}
	if _, ok := before.Since(now); ok {
		t.Error("a streamer that began anew was taken for the one before")
	}
	if _, ok := now.Since(nil); ok {
		t.Error("something was counted from nothing")
	}
}
