package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// paints has an application draw at each motion of the pointer.
func (s *session) paints(ctx context.Context, draw func(n int)) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; {
			select {
			case <-ctx.Done():
				return
			case r := <-s.pen.Records:
				if r.Kind == inputtest.Motion {
					n++
					draw(n)
				}
			}
		}
	}()
	return done
}

// TestEveryStageFromTheHandToThePictureIsKnown moves the mouse in real Chromium over an application that paints at once, a large picture (by video) or a brush's dab
// (by tiles), and has the page and the node say where the time went.
func TestEveryStageFromTheHandToThePictureIsKnown(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	pictures := [][]byte{noise(600, 400, 1), noise(600, 400, 2)}
	t.Run("by video", func(t *testing.T) {
		everyStage(t, s, func(n int) { a.put(t, a.screen(), image.Rect(100, 100, 700, 500), pictures[n%2]) })
	})
	t.Run("by tiles", func(t *testing.T) {
		everyStage(t, s, func(n int) {
			x := 800 + n*7%300
			a.fill(t, image.Rect(x, 300, x+24, 324), uint32(n*1234567))
		})
	})
}

// TestEveryStageOfAGuestsHandIsKnown: pictures that follow what a guest does, who has the hand, are told to the guest.
func TestEveryStageOfAGuestsHandIsKnown(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	inputOpen(t, s, owner.viewer)
	ctx := watchAs(t, s, guest(1, contract.RoleTakePart), "size=1280x720")
	s.await(t, "two people", func() bool { return len(owner.people(t).People) == 2 })
	owner.say(t, `{"t":"hand","to":"link.g1"}`)
	awaitHand(t, s, owner.viewer, "link.g1")
	everyStageOf(t, s, ctx, func(n int) {
		x := 800 + n*7%300
		a.fill(t, image.Rect(x, 300, x+24, 324), uint32(n*1234567))
	})
}

func everyStage(t *testing.T, s *session, draw func(n int)) {
	t.Helper()
	everyStageOf(t, s, watch(t, s, "size=1280x720"), draw)
}

func everyStageOf(t *testing.T, s *session, ctx context.Context, draw func(n int)) {
	t.Helper()
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1280") })
	becomesExact(t, ctx)
	life, stop := context.WithCancel(t.Context())
	painting := s.paints(life, draw)
	defer func() { stop(); <-painting }()

	before := s.health(t, 0).Latency
	counted := func(stage int) (n uint64) {
		for i, c := range s.health(t, 0).Latency[stage].N {
			n += c - before[stage].N[i]
		}
		return n
	}
	const enough = 8 // durations of each stage
	type stage struct{ P50, P99 float64 }
	var all map[string]stage
	names, n := contract.StageNames(), 0
	s.await(t, "every stage in the page's figures, and in the node's", func() bool {
		n++
		ev := input.DispatchMouseEventParams{Type: "mouseMoved", X: float64(400 + n%30*10), Y: 400}
		if _, err := chromedp.Call(ctx, input.DispatchMouseEvent, ev); err != nil {
			t.Fatal(err)
		}
		time.Sleep(80 * time.Millisecond) // each is to have a picture of its own
		all = evaluate[map[string]stage](t, ctx, "window.easel.stats().stages")
		for i, name := range names {
			if _, ok := all[name]; !ok || counted(i) < enough {
				return false
			}
		}
		return true
	})
	if _, ok := all["age"]; !ok {
		t.Error("the page does not know how old its pictures are: no abs-capture-time")
	}
	var order []string
	if err := json.Unmarshal([]byte(evaluate[string](t, ctx, "JSON.stringify(Object.keys(window.easel.stats().stages))")), &order); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, name := range names {
		if order[i] != name {
			t.Fatalf("the stages come as %v", order)
		}
		if i != contract.StageInput {
			sum += all[name].P50
		}
		if all[name].P50 < -2 {
			t.Errorf("stage %s takes %v ms: the clocks disagree", name, all[name].P50)
		}
	}
	whole := all["input"].P50
	t.Logf("%.2f ms from the hand to the picture, its stages %.2f: %s", whole, sum, fmt.Sprint(all))
	// Each is a median of its own: exactly, they add up only for one input (pkg/viewer/src/stats/latency.test.ts).
	if whole <= 0 || sum < whole/4 || sum > whole*3/2 {
		t.Errorf("the medians of the stages sum up to %.1f ms, that of the whole is %.1f", sum, whole)
	}
}
