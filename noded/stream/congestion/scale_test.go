package congestion

import (
	"fmt"
	"image"
	"math"
	"testing"
	"time"
)

// scrolling is a picture that moves as a whole: what its frames take at the coarsest quantiser, where fewer pixels have more detail each.
type scrolling struct {
	scaler Scaler
	now    time.Time
	bytes  float64 // of the whole size
	steps  int
}

func newScrolling(bytes float64) *scrolling {
	return &scrolling{now: time.Unix(1000, 0), bytes: bytes}
}

// play has it move for a while at a rate, which each frame uses up, and gives how many frames there were.
func (p *scrolling) play(lasts time.Duration, kbps int) (frames int) {
	for end := p.now.Add(lasts); p.now.Before(end); frames++ {
		before := p.scaler.Scale()
		at := p.scaler.Look(Sight{Kbps: kbps, Share: 1, Sharpens: true}, p.now)
		if at != before {
			p.steps++
		}
		least := p.bytes * math.Pow(at.Ratio(), 1.6)
		fair := float64(kbps) * 1000 / 8 / 30 // a frame that the encoder fits the rate
		bytes, qp := least, float64(CoarsestQP)
		if least < fair {
			bytes, qp = fair, max(CoarsestQP-6*math.Log2(fair/least), 20)
			bytes = least * math.Exp2((CoarsestQP-qp)/6)
		}
		p.scaler.Frame(int(bytes), int(qp), 1)
		p.now = p.now.Add(max(OnWay(bytes, kbps), time.Second/60))
	}
	return frames
}

func TestVideoIsAsLargeAsTheRateCarries(t *testing.T) {
	for _, c := range []struct {
		kbps     int
		bytes    float64
		min, max Scale
	}{
		{20000, 50_000, Whole, Whole},
		{8000, 50_000, Whole, ThreeQuarters},
		{4000, 50_000, ThreeQuarters, ThreeQuarters},
		{2000, 50_000, Half, Third},
		{300, 50_000, Third, Third},
		{2000, 12_000, Whole, Whole},
	} {
		t.Run(fmt.Sprintf("%d kbps, %.0f bytes", c.kbps, c.bytes), func(t *testing.T) {
			p := newScrolling(c.bytes)
			p.play(time.Minute, c.kbps)
			p.steps = 0
			const minutes = 5
			frames := p.play(minutes*time.Minute, c.kbps)
			if s := p.scaler.Scale(); s < c.min || s > c.max {
				t.Errorf("the scale is %d, want %d to %d", s, c.min, c.max)
			}
			if p.steps > 2*minutes {
				t.Errorf("%d steps in %d minutes of the same", p.steps, minutes)
			}
			if fps := float64(frames) / 60 / minutes; fps < leastFPS-1 && p.scaler.Scale() != scales-1 {
				t.Errorf("%.1f frames a second", fps)
			}
		})
	}
}

func TestVideoGrowsAgainWhereThereIsRoom(t *testing.T) {
	p := newScrolling(50_000)
	p.play(5*time.Second, 2000)
	if p.scaler.Scale() < Half {
		t.Fatalf("at 2 Mbit/s the scale is %d", p.scaler.Scale())
	}
	p.play(roomTime-time.Second, 20_000)
	p.play(3*time.Second, 2000)
	if p.scaler.Scale() < Half {
		t.Errorf("a second of room had the video grow to scale %d", p.scaler.Scale())
	}
	p.play(8*time.Second, 20_000)
	if p.scaler.Scale() != Whole {
		t.Errorf("with room for 8 s the scale is %d", p.scaler.Scale())
	}
}

// Nothing is coded while the screen is still, but the way may have become wide.
func TestVideoGrowsInStillness(t *testing.T) {
	p := newScrolling(50_000)
	p.play(5*time.Second, 2000)
	still := p.now
	for range 10 {
		due := p.scaler.Due(still, true)
		if due.IsZero() {
			break
		}
		if due.After(p.now) {
			p.now = due
		}
		p.scaler.Look(Sight{Kbps: 20_000, Still: still, Sharpens: true}, p.now)
	}
	if p.scaler.Scale() != Whole || !p.scaler.Due(still, true).IsZero() {
		t.Errorf("after %v of stillness the scale is %d", p.now.Sub(still), p.scaler.Scale())
	}
}

// Growing that proves wrong is tried ever more rarely.
func TestVideoDoesNotSwing(t *testing.T) {
	p := newScrolling(50_000)
	p.play(5*time.Second, 2000)
	p.steps = 0
	for range 60 { // a rate that swings
		p.play(5*time.Second, 12_000)
		p.play(5*time.Second, 1500)
	}
	if p.steps > 50 {
		t.Errorf("%d steps in ten minutes", p.steps)
	}
}

func TestSmallChangesAndFineFramesAreNoReason(t *testing.T) {
	var s Scaler
	now := time.Unix(1000, 0)
	for range 20 {
		s.Frame(60_000, CoarsestQP, leastShare/2)
		s.Frame(60_000, 26, 1) // the encoder had room for it, and would find more
		now = now.Add(100 * time.Millisecond)
		if got := s.Look(Sight{Kbps: 2000, Share: 1}, now); got != Whole {
			t.Fatalf("the scale is %d", got)
		}
	}
}

// Where nothing but video sharpens a still picture, it is whole then, stays so for a brush, and is small again for what moves.
func TestStillVideoIsWholeWhereNothingElseSharpens(t *testing.T) {
	p := newScrolling(50_000)
	p.play(5*time.Second, 2000)
	moving, still := p.scaler.Scale(), p.now
	if due := p.scaler.Due(still, false); !due.Equal(still.Add(sharpAfter)) {
		t.Errorf("it is due %v after the last change", due.Sub(still))
	}
	look := func(at Sight, after time.Duration) Scale {
		at.Kbps = 2000
		return p.scaler.Look(at, still.Add(after))
	}
	if got := look(Sight{Still: still}, sharpAfter-1); got != moving {
		t.Errorf("too early the scale is %d", got)
	}
	if got := look(Sight{Still: still}, sharpAfter); got != Whole {
		t.Errorf("a still picture's scale is %d", got)
	}
	if got := look(Sight{Share: 0.01}, time.Second); got != Whole {
		t.Errorf("with a brush the scale is %d", got)
	}
	if got := look(Sight{Share: 0.9}, 2*time.Second); got != moving {
		t.Errorf("when it moves again the scale is %d, was %d", got, moving)
	}
	if got := look(Sight{Still: still, Sharpens: true}, 3*time.Second); got != moving {
		t.Errorf("under tiles the scale is %d, want %d", got, moving)
	}
}

func TestScaledSizesAreAnEncodersOwn(t *testing.T) {
	for s := range scales {
		for _, size := range []image.Point{{1920, 1080}, {322, 320}, {8192, 4320}, {160, 1000}} {
			got := s.Of(size)
			if got.X%2 != 0 || got.Y%2 != 0 || got.X < 160 || got.Y < 160 || got.X > size.X || got.Y > size.Y {
				t.Errorf("scale %d of %v is %v", s, size, got)
			}
			if s == Whole && got != size {
				t.Errorf("the whole of %v is %v", size, got)
			}
		}
	}
}
