package stream

import (
	"context"
	"fmt"
	"image"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"easel/pkg/display"
)

// watchfulTypist notes what it is asked for, and how many records the pen driver had by then.
type watchfulTypist struct {
	pen *penSocket
	did []string
}

func (w *watchfulTypist) note(what string) {
	w.did = append(w.did, fmt.Sprintf("%s after %d", what, len(w.pen.records)))
}
func (w *watchfulTypist) Press(display.Key) error { w.note("press"); return nil }
func (w *watchfulTypist) Release(display.Key)     { w.note("release") }
func (w *watchfulTypist) Text(string) error       { w.note("text"); return nil }
func (w *watchfulTypist) Settle() error           { w.note("settle"); return nil }

// Ctrl, a turn of the wheel and Ctrl up again within a millisecond must not become a turn of the wheel without Ctrl: pointer and keys go to the X
// server by ways of their own, and neither waits for the other by itself.
func TestPointerAndKeysKeepTheirOrder(t *testing.T) {
	dir := t.TempDir()
	keys := &watchfulTypist{pen: listenPen(t, dir)}
	driver := &penDriver{log: slog.New(slog.DiscardHandler), dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unixpacket", filepath.Join(dir, "pen.sock"))
	}}
	t.Cleanup(driver.close)
	h := newHand(func() typist { return keys }, func() image.Rectangle { return image.Rect(0, 0, 800, 600) }, &pen{driver: driver}, func([]byte) {}, slog.New(slog.DiscardHandler))
	h.mine = true
	control := func(down bool) message { return message{Kind: kindKey, Down: down, Sym: 0xffe3, Code: 29} }
	wheel := message{Kind: kindWheel, DY: 120}
	for _, m := range []message{wheel, control(true), wheel, wheel, control(false), control(true), wheel} {
		h.apply(m)
	}
	h.letGo()
	want := []string{"press after 2", "settle after 2", "release after 6", "press after 6", "settle after 6", "release after 8"}
	if !slices.Equal(keys.did, want) {
		t.Errorf("it went\n%q, want\n%q", keys.did, want)
	}
}

// A driver that never answers, as a hostile container's, holds a key up for a moment only.
func TestDriverThatIsSilentHoldsNoKeyUpForLong(t *testing.T) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	go func() {
		for b := make([]byte, 4096); ; {
			if _, err := theirs.Read(b); err != nil {
				return
			}
		}
	}()
	driver := &penDriver{log: slog.New(slog.DiscardHandler), dial: func(context.Context) (net.Conn, error) { return ours, nil }}
	p := &pen{driver: driver}
	began := time.Now()
	for range 3 {
		p.add(record{Kind: penMotion})
		p.settle()
		p.settle() // nothing since
	}
	if d := time.Since(began); d < 2*penSettle || d > 30*time.Second {
		t.Errorf("three keys after a motion took %v, want about three times %v", d, penSettle)
	}
}
