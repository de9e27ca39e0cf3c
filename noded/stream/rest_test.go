package stream

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
)

// TestPageAtRestMakesNoFrames: a frame that nobody needs delays the picture by up to a beat. The browser's own watch over a video's visibility makes
// one in 2.4 s; a caret in the field that keys go to, seen or not, makes two a second.
func TestPageAtRestMakesNoFrames(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	ctx := watch(t, s, "size=640x480")
	becomesExact(t, ctx)
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	evaluate[bool](t, ctx, "document.querySelector('#keys').focus(); document.activeElement.id === 'keys'")
	const seconds = 4
	frames := watchFrames(t, ctx)
	n := frames(seconds * time.Second)
	for deadline := time.Now().Add(time.Minute); n >= seconds; n = frames(seconds * time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute of rest, the page still makes %d frames in %d s", n, seconds)
		}
	}
	evaluate[bool](t, ctx, "document.querySelector('#keys').setSelectionRange(1, 1); true")
	if n := frames(seconds * time.Second); n <= seconds {
		t.Errorf("with a caret, the page makes %d frames in %d s: is it still these that are counted?", n, seconds)
	}
}

// watchFrames counts the frames that Chromium has the page make in a while, by its trace.
func watchFrames(t *testing.T, ctx context.Context) func(time.Duration) int {
	t.Helper()
	var frames atomic.Int64
	complete := make(chan struct{}, 1)
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *tracing.EventDataCollected:
			for _, v := range e.Value {
				if strings.Contains(string(v), `"WebFrameWidgetImpl::BeginMainFrame"`) {
					frames.Add(1)
				}
			}
		case *tracing.EventTracingComplete:
			complete <- struct{}{}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(d time.Duration) int {
		t.Helper()
		frames.Store(0)
		_, err := chromedp.Call(ctx, tracing.Start, tracing.StartParams{TraceConfig: &tracing.TraceConfig{IncludedCategories: []string{"blink"}}})
		if err == nil {
			time.Sleep(d)
			_, err = chromedp.Call(ctx, tracing.End, cdp.Empty{})
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-complete:
		case <-time.After(30 * time.Second):
			t.Fatal("the browser's trace does not end")
		}
		return int(frames.Load())
	}
}
