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

// heldKeyboard notes which keys are pressed and released.
type heldKeyboard struct{ did chan string }

func (k *heldKeyboard) Press(key display.Key) error {
	k.did <- fmt.Sprintf("+%#x", key.Sym)
	return nil
}
func (k *heldKeyboard) Release(key display.Key) { k.did <- fmt.Sprintf("-%#x", key.Sym) }
func (k *heldKeyboard) Text(string) error       { return nil }
func (k *heldKeyboard) Settle() error           { return nil }

// connection is one of a page's connections, whose hand runs.
type connection struct {
	hand  *Hand
	drop  chan struct{}
	ended chan struct{}
	leave context.CancelFunc
}

// table is what stands behind the hands of a page.
type table struct {
	pen    *inputtest.Driver
	driver *Driver
	keys   *heldKeyboard
}

func newTable(t *testing.T) *table {
	dir := t.TempDir()
	b := &table{pen: inputtest.Listen(t, dir), keys: &heldKeyboard{make(chan string, 64)}}
	b.driver = NewDriver(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unixpacket", filepath.Join(dir, "pen.sock"))
	}, slog.New(slog.DiscardHandler))
	t.Cleanup(b.driver.Close)
	return b
}

func (b *table) connect(t *testing.T) *connection {
	ctx, cancel := context.WithCancel(t.Context())
	c := &connection{drop: make(chan struct{}), ended: make(chan struct{}), leave: cancel}
	c.hand = New(Owner{
		Keyboard: func() Keyboard { return b.keys }, Place: func() image.Rectangle { return image.Rect(0, 0, 800, 600) },
		May: func() bool { return true }, Tell: func([]byte) {},
	}, b.driver, slog.New(slog.DiscardHandler))
	go func() { defer close(c.ended); c.hand.Run(ctx, c.drop) }()
	t.Cleanup(func() { cancel(); <-c.ended })
	return c
}

// push hands messages on, one after the other.
func (c *connection) push(t *testing.T, all ...Message) {
	t.Helper()
	for _, m := range all {
		c.hand.Push(t.Context(), m)
	}
}

// resume has the connection go on where another one came to, if that is not nil, and else where the page says.
func (c *connection) resume(t *testing.T, before *connection, from Progress) (at Progress, known bool) {
	t.Helper()
	type answer struct {
		at    Progress
		known bool
	}
	got := make(chan answer, 1)
	c.hand.Resume(Resuming{
		From:   from,
		Answer: func(at Progress, known bool) { got <- answer{at, known} },
		Before: func() (Progress, bool) {
			if before == nil {
				return Progress{}, false
			}
			<-before.ended
			return before.hand.Progress(), true
		},
	})
	select {
	case a := <-got:
		return a.at, a.known
	case <-time.After(30 * time.Second):
		t.Fatal("the hand did not answer in 30 s")
		return Progress{}, false
	}
}

// strokes reads what the pen driver is asked for until something comes whose place is end, and returns it: the places that were passed with a button
// down, a 0 for each time that one was pressed.
func (b *table) strokes(t *testing.T, end int32) (xs []int32) {
	t.Helper()
	for down := false; ; {
		r := b.pen.Next(t)
		switch {
		case r.Kind == inputtest.Press:
			down, xs = true, append(xs, 0)
		case r.Kind == inputtest.Release:
			down = false
		case r.Kind == inputtest.Motion && down:
			xs = append(xs, r.X)
		}
		if r.X == end && r.Kind == inputtest.Motion {
			return xs
		}
	}
}

// A page whose connection breaks in the middle of a stroke says again what was not taken, and may say more of it: each sample is painted once.
func TestStrokeGoesOnByTheNextConnection(t *testing.T) {
	b := newTable(t)
	first := b.connect(t)
	first.push(t, press(1, 1, 10), run(1, 2, 5), Message{Kind: kindKey, RSeq: 2, Down: true, Sym: 0xffe1, Code: 42})
	if got := b.strokes(t, 5); !slices.Equal(got, []int32{0, 2, 3, 4, 5}) {
		t.Fatalf("before it broke, %v was painted", got)
	}
	<-b.keys.did // Shift
	first.leave()
	next := b.connect(t)
	at, known := next.resume(t, first, Progress{Sample: 999, RSeq: 99})
	if !known || at.Sample != 5 || at.RSeq != 2 {
		t.Fatalf("it goes on at %+v, known %v: want sample 5 and message 2", at, known)
	}
	again := run(0, 3, 8)
	again.Kind, again.RSeq = kindStroke, 2
	next.push(t, again, lift(3, 9, 9), motion(3, 10, 1000))
	if got := b.strokes(t, 1000); !slices.Equal(got, []int32{0, 6, 7, 8, 9}) {
		t.Errorf("after it broke, %v was painted, want it pressed once and samples 6 to 9", got)
	}
	var keys []string
	for range 2 {
		keys = append(keys, <-b.keys.did)
	}
	if !slices.Equal(keys, []string{"-0xffe1", "+0xffe1"}) {
		t.Errorf("Shift went %v, want it up with the connection and down for the stroke", keys)
	}
}

// A streamer that was started anew knows no page: it goes on where the page says, and the button that the page holds goes down.
func TestStrokeGoesOnWhereAnUnknownPageSays(t *testing.T) {
	b := newTable(t)
	c := b.connect(t)
	at, known := c.resume(t, nil, Progress{Sample: 70, RSeq: 7, Buttons: [4]uint16{devicePen: 1 << 1}, Keys: []display.Key{{Sym: 'b', Code: 48}}})
	if known || at.Sample != 70 || at.RSeq != 7 {
		t.Fatalf("it goes on at %+v, known %v", at, known)
	}
	c.push(t, run(7, 71, 73), lift(8, 74, 74), motion(8, 75, 1000))
	if got := b.strokes(t, 1000); !slices.Equal(got, []int32{0, 71, 72, 73, 74}) {
		t.Errorf("%v was painted", got)
	}
	select {
	case k := <-b.keys.did:
		t.Errorf("a key that is no modifier was pressed again: %s", k)
	default:
	}
}

// A viewer that is out of touch for a while holds nothing down, and paints on when it is back.
func TestStrokeGoesOnWhenTheViewerIsBack(t *testing.T) {
	b := newTable(t)
	c := b.connect(t)
	c.push(t, press(1, 1, 10), run(1, 2, 3))
	b.strokes(t, 3)
	c.drop <- struct{}{}
	for b.pen.Next(t).Kind != inputtest.Release {
	}
	c.push(t, run(1, 4, 6), lift(2, 7, 7), motion(2, 8, 1000))
	if got := b.strokes(t, 1000); !slices.Equal(got, []int32{0, 4, 5, 6, 7}) {
		t.Errorf("%v was painted when it was back", got)
	}
}

// The time in which a viewer is out of touch is no time to say again what is missing of a stroke.
func TestTimeOutOfTouchIsNoTimeToWaitFor(t *testing.T) {
	h, now := &Hand{}, time.Unix(1000, 0)
	var got []int
	h.seq.take(press(1, 1, 1), now, into(&got))
	h.seq.take(run(1, 4, 5), now, into(&got))
	h.away = true
	if at := h.due(); !at.IsZero() {
		t.Errorf("there is something to do at %v, out of touch", at)
	}
	now = now.Add(5 * maxHeldTime)
	h.back(now)
	h.seq.take(run(1, 6, 6), now, into(&got))
	h.seq.take(run(1, 2, 3), now.Add(maxHeldTime/2), into(&got))
	if want := []int{1, -1, 2, 3, 4, 5, 6}; !slices.Equal(got, want) || h.seq.skipped != 0 {
		t.Errorf("it handed on %v, and %d were skipped; want %v", got, h.seq.skipped, want)
	}
}

// Where only the end of a stroke is missing, nothing is left to paint: no dot.
func TestStrokeThatWasWholeLeavesNoDot(t *testing.T) {
	b := newTable(t)
	c := b.connect(t)
	c.push(t, press(1, 1, 10), run(1, 2, 3))
	b.strokes(t, 3)
	c.drop <- struct{}{}
	c.push(t, lift(2, 4, 3), motion(2, 5, 1000))
	if got := b.strokes(t, 1000); len(got) > 0 {
		t.Errorf("%v was painted", got)
	}
}

// What the viewer let go while it was out of touch stays up.
func TestWhatWasLetGoMeanwhileStaysUp(t *testing.T) {
	b := newTable(t)
	c := b.connect(t)
	c.push(t, press(1, 1, 10), Message{Kind: kindKey, RSeq: 2, Down: true, Sym: 0xffe3, Code: 29}, motion(2, 2, 2))
	b.strokes(t, 2)
	c.drop <- struct{}{}
	c.push(t, Message{Kind: kindRelease, RSeq: 3}, motion(3, 3, 1000))
	if got := b.strokes(t, 1000); len(got) > 0 {
		t.Errorf("%v was painted", got)
	}
	if got := []string{<-b.keys.did, <-b.keys.did}; !slices.Equal(got, []string{"+0xffe3", "-0xffe3"}) {
		t.Errorf("Ctrl went %v", got)
	}
	select {
	case k := <-b.keys.did:
		t.Errorf("and then %s", k)
	default:
	}
}

// What is pressed as it is made waits for nothing, whatever went before: a pen's first motion after its press would come late.
func TestPressThatIsNotAnewWaitsForNothing(t *testing.T) {
	b := newTable(t)
	c := b.connect(t)
	c.leave()
	<-c.ended
	h, press := c.hand, Message{Kind: kindButton, Button: 1, Down: true, Samples: []Sample{{X: 1}}}
	h.mine, h.lapsed = true, true
	h.takeUp(press)
	h.button(press)
	h.seq.note(press)
	pressed := h.pressed
	h.takeUp(Message{Kind: kindPointer, Samples: []Sample{{X: 2}}})
	if pressed.IsZero() || h.pressed != pressed {
		t.Errorf("the press of %v was waited for (%v)", pressed, h.pressed)
	}
}
