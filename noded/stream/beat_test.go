package stream

import (
	"context"
	"image"
	"math/rand/v2"
	"testing"
	"time"
)

const displayBeat = 16_667 * time.Microsecond

// slotted plays frames that an application draws at some time of the display's beat, with a little jitter, each captured when inStep lets it, and
// counts those that have no beat of their own.
func slotted(b *beat, from time.Time, n int, jitter time.Duration) (lost int, longest time.Duration) {
	rng := rand.New(rand.NewPCG(1, uint64(from.UnixNano())))
	var m moving
	last := int64(-1)
	for i := range n {
		at := from.Add(time.Duration(i) * displayBeat).Add(time.Duration(rng.Int64N(int64(2*jitter))) - jitter)
		b.told = at
		begun := latest(m.inStep(b, at), m.last.Add(time.Millisecond))
		longest = max(longest, begun.Sub(at))
		m.frame(begun)
		// It is shown by the first beat after it is ready, which takes it a little more or less than most.
		ready := begun.Add(time.Duration(rng.Int64N(int64(600*time.Microsecond))) - 300*time.Microsecond)
		slot := int64(ready.Sub(b.at.Add(-1000*displayBeat)) / displayBeat)
		if slot == last && i > beatRun {
			lost++
		}
		last = slot
	}
	return lost, longest
}

func TestEachFrameHasABeatOfItsOwn(t *testing.T) {
	from := time.Now()
	told := beatTold{Wait: 3, Period: float64(displayBeat) / float64(time.Millisecond), Spread: 0.2}
	without := 0
	for phase := time.Duration(0); phase < displayBeat; phase += 100 * time.Microsecond {
		b := newBeat(told, from, from)
		lost, longest := slotted(b, from.Add(phase), 300, 200*time.Microsecond)
		if lost > 1 {
			t.Errorf("drawn %v after the first beat: %d of 300 frames were never seen", phase, lost)
		}
		if longest > beatShift {
			t.Errorf("a frame was captured %v late, %v at most", longest, beatShift)
		}
		b.steady = false
		lost, _ = slotted(b, from.Add(phase), 300, 200*time.Microsecond)
		without = max(without, lost)
	}
	if without < 30 {
		t.Errorf("%d of 300 frames were lost where nothing was done: this test tests nothing", without)
	}
}

func TestOnlyWhatMovesWaitsForTheDisplay(t *testing.T) {
	now := time.Now()
	b := newBeat(beatTold{Period: 16, Spread: 0.2}, now, now)
	near := b.at.Add(16*time.Millisecond - b.guard/2) // too late for its beat
	run := func(frames int, last time.Time) *moving { return &moving{frames, last} }
	cases := map[string]struct {
		m    *moving
		b    *beat
		told time.Time
		want time.Duration
	}{
		"a picture that moves":                  {run(beatRun, near.Add(-20*time.Millisecond)), b, now, b.guard * 3 / 2},
		"one that has just begun to":            {run(beatRun-1, near.Add(-20*time.Millisecond)), b, now, 0},
		"a change after a rest":                 {run(100, near.Add(-beatGap-time.Millisecond)), b, now, 0},
		"beats that nobody told of":             {run(100, near.Add(-20*time.Millisecond)), nil, now, 0},
		"beats that were told of too long ago":  {run(100, near.Add(-20*time.Millisecond)), b, now.Add(-beatGood), 0},
		"a viewer to which frames come anyhow":  {run(100, near.Add(-20*time.Millisecond)), &beat{b.at, now, b.period, b.guard, false}, now, 0},
		"another frame just before, in between": {run(100, near.Add(-time.Millisecond)), b, now, b.guard * 3 / 2},
	}
	for name, c := range cases {
		if c.b != nil {
			c.b.told = c.told
		}
		if got := c.m.inStep(c.b, near).Sub(near); got != c.want {
			t.Errorf("%s: %v late, want %v", name, got, c.want)
		}
	}
	// In the middle of a beat, one that comes right after another is not kept for the next: that would be long.
	middle := b.at.Add(8 * time.Millisecond)
	b.told = now
	if got := run(100, middle.Add(-2*time.Millisecond)).inStep(b, middle); got != middle {
		t.Errorf("a frame in the middle of a beat is kept for %v", got.Sub(middle))
	}
}

func TestBeatsThatNoDisplayHasAreRefused(t *testing.T) {
	for _, bad := range []string{
		`{"t":"beat"}`,
		`{"t":"beat","rtp":1,"wait":1,"period":3,"spread":0}`,
		`{"t":"beat","rtp":1,"wait":1,"period":51,"spread":0}`,
		`{"t":"beat","rtp":1,"wait":17,"period":16,"spread":0}`,
		`{"t":"beat","rtp":1,"wait":-1,"period":16,"spread":0}`,
		`{"t":"beat","rtp":1,"wait":1,"period":16,"spread":-1}`,
		`{"t":"beat","rtp":1,"wait":1,"period":16,"spread":17}`,
		`{"t":"beat","rtp":1,"wait":1,"period":1e99,"spread":0}`,
	} {
		if m, err := parseControl([]byte(bad)); err == nil {
			t.Errorf("%s: taken as %+v", bad, m)
		}
	}
	m, err := parseControl([]byte(`{"t":"beat","rtp":7,"wait":1.5,"period":16.7,"spread":0.25}`))
	if err != nil || m.RTP != 7 || m.beatTold != (beatTold{1.5, 16.7, 0.25}) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestChromiumTellsItsBeats has real Chromium watch a picture that moves.
func TestChromiumTellsItsBeats(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=1280x720")
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1280") })
	pictures := [][]byte{noise(600, 400, 1), noise(600, 400, 2)}
	life, stop := context.WithCancel(t.Context())
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		tick := time.NewTicker(time.Second / 30)
		defer tick.Stop()
		for n := 0; life.Err() == nil; n++ {
			a.put(t, a.screen(), image.Rect(100, 100, 700, 500), pictures[n%2])
			<-tick.C
		}
	}()
	defer func() { stop(); <-moved }()
	s.await(t, "Chromium's beats", func() bool {
		var told Stats
		s.get(t, "/stats", &told)
		return told.Beat >= minBeatMS
	})
}
