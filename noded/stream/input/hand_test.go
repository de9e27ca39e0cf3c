package input

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

	"easel/noded/stream/input/inputtest"
	"easel/pkg/display"
)

// watchfulKeyboard notes what it is asked for, and how many records the pen driver had by then.
type watchfulKeyboard struct {
	pen *inputtest.Driver
	did []string
}

func (w *watchfulKeyboard) note(what string) {
	w.did = append(w.did, fmt.Sprintf("%s after %d", what, len(w.pen.Records)))
}
func (w *watchfulKeyboard) Press(display.Key) error { w.note("press"); return nil }
func (w *watchfulKeyboard) Release(display.Key)     { w.note("release") }
func (w *watchfulKeyboard) Text(string) error       { w.note("text"); return nil }
func (w *watchfulKeyboard) Settle() error           { w.note("settle"); return nil }

// Ctrl, a turn of the wheel and Ctrl up again within a millisecond must not become a turn of the wheel without Ctrl: pointer and keys go to the X
// server by ways of their own, and neither waits for the other by itself.
func TestPointerAndKeysKeepTheirOrder(t *testing.T) {
	dir := t.TempDir()
	keys := &watchfulKeyboard{pen: inputtest.Listen(t, dir)}
	driver := NewDriver(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unixpacket", filepath.Join(dir, "pen.sock"))
	}, slog.New(slog.DiscardHandler))
	t.Cleanup(driver.Close)
	h := New(Owner{
		Keyboard: func() Keyboard { return keys }, Place: func() image.Rectangle { return image.Rect(0, 0, 800, 600) },
		May: func() bool { return true }, Tell: func([]byte) {},
	}, driver, slog.New(slog.DiscardHandler))
	h.mine = true
	control := func(down bool) Message { return Message{Kind: kindKey, Down: down, Sym: 0xffe3, Code: 29} }
	wheel := Message{Kind: kindWheel, DY: 120 * 256}
	for _, m := range []Message{wheel, control(true), wheel, wheel, control(false), control(true), wheel} {
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
	driver := NewDriver(func(context.Context) (net.Conn, error) { return ours, nil }, slog.New(slog.DiscardHandler))
	p := &pen{driver: driver}
	began := time.Now()
	for range 3 {
		p.add(record{Kind: recordMotion})
		p.settle()
		p.settle() // nothing since
	}
	if d := time.Since(began); d < 2*settleTime || d > 30*time.Second {
		t.Errorf("three keys after a motion took %v, want about three times %v", d, settleTime)
	}
}
