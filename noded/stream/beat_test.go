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
	told := beatTold{Wait: 3, Period: float64(displayBeat) / float64(time.Millisecond), Spread: 0.2, Missed: missedMany}
	without := 0
	for phase := time.Duration(0); phase < displayBeat; phase += 100 * time.Microsecond {
		b := newBeat(told, from, from)
		lost, longest := slotted(b, from.Add(phase), 300, 200*time.Microsecond)
		if lost > 1 {
			t.Errorf("drawn %v after the first beat: %d of 300 frames were never seen", phase, lost)
		}
		if most := displayBeat * 35 / 100; longest > most { // late, stay and safe
			t.Errorf("a frame was captured %v late, %v at most", longest, most)
		}
		few := *b
		few.missed = missedMany - 1
		lost, longest = slotted(&few, from.Add(phase), 300, 200*time.Microsecond)
		if without = max(without, lost); longest > 0 {
			t.Errorf("a frame was captured %v late where hardly any were missed", longest)
		}
	}
	if without < 30 {
		t.Errorf("%d of 300 frames were lost where nothing was done: this test tests nothing", without)
	}
}

func TestOnlyWhatMovesWaitsForTheDisplay(t *testing.T) {
	now := time.Now()
	b := newBeat(beatTold{Period: 16, Spread: 0.2, Missed: missedMany}, now, now)
	near := b.at.Add(15_800 * time.Microsecond) // too late for its beat
	safe := time.Duration(16 * safeFrom * float64(time.Millisecond))
	before := func(d time.Duration) time.Time { return near.Add(-d) }
	cases := map[string]struct {
		m    moving
		b    *beat
		told time.Time
		at   time.Time
		want time.Duration
	}{
		"a picture that moves":                 {moving{frames: beatRun, last: before(20 * time.Millisecond)}, b, now, near, 200*time.Microsecond + safe},
		"one that has just begun to":           {moving{frames: beatRun - 1, last: before(20 * time.Millisecond)}, b, now, near, 0},
		"a change after a rest":                {moving{frames: 100, last: before(beatGap + time.Millisecond)}, b, now, near, 0},
		"beats that nobody told of":            {moving{frames: 100, last: before(20 * time.Millisecond)}, nil, now, near, 0},
		"beats that were told of too long ago": {moving{frames: 100, last: before(20 * time.Millisecond)}, b, now.Add(-beatGood), near, 0},
		"a viewer to which frames come anyhow": {moving{frames: 100, last: before(20 * time.Millisecond)}, &beat{b.at, now, b.period, false, missedMany}, now, near, 0},
		"one in the middle of a beat":          {moving{frames: 100, last: before(20 * time.Millisecond)}, b, now, before(8 * time.Millisecond), 0},
		"one somewhat sooner":                  {moving{frames: 100, last: before(20 * time.Millisecond)}, b, now, before(time.Millisecond), 0},
		"that, after one that was kept": {
			moving{frames: 100, last: before(20 * time.Millisecond), heard: b, steps: 9, kept: true}, b, now, before(time.Millisecond), 1200*time.Microsecond + safe,
		},
	}
	for name, c := range cases {
		if c.b != nil {
			c.b.told = c.told
		}
		if got := c.m.inStep(c.b, c.at).Sub(c.at).Round(time.Microsecond); got != c.want {
			t.Errorf("%s: %v late, want %v", name, got, c.want)
		}
	}
}

func TestAStepIsGivenUpWhereFramesHaveTheirBeatsAnyhow(t *testing.T) {
	now := time.Now()
	b := newBeat(beatTold{Period: 16, Spread: 0.2, Missed: missedMany}, now, now)
	m := moving{frames: beatRun, last: now}
	late := b.at.Add(15_900 * time.Microsecond)
	middle := b.at.Add(8 * time.Millisecond)
	if got := m.inStep(b, late); got == late {
		t.Fatal("no step is kept where frames are missed")
	}
	for range stepEnd {
		m.inStep(b, middle)
	}
	if got := m.inStep(b, late); got != late {
		t.Errorf("a step is kept after %d frames that needed none", stepEnd)
	}
	if got := m.inStep(newBeat(beatTold{Period: 16, Spread: 0.2, Missed: missedMany}, now, now), late); got == late {
		t.Error("no step is kept when frames are missed again")
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
		`{"t":"beat","rtp":1,"wait":1,"period":16,"spread":0,"missed":-1}`,
		`{"t":"beat","rtp":1,"wait":1,"period":16,"spread":0,"missed":256}`,
	} {
		if m, err := parseControl([]byte(bad)); err == nil {
			t.Errorf("%s: taken as %+v", bad, m)
		}
	}
	m, err := parseControl([]byte(`{"t":"beat","rtp":7,"wait":1.5,"period":16.7,"spread":0.25,"missed":3}`))
	if err != nil || m.RTP != 7 || m.beatTold != (beatTold{1.5, 16.7, 0.25, 3}) {
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
