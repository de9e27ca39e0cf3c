package input

import (
	"context"
	"fmt"
	"image"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"easel/images/gimp/pen/pentest"
	"easel/integration/xclient"
	"easel/pkg/display"
)

// viewer is one who has a hand in the session, or had.
type viewer struct {
	hand    *Hand
	may     atomic.Bool
	drop    chan struct{}
	gone    chan struct{}
	leave   context.CancelFunc
	said    uint32 // reliable messages
	sampled uint32
	random  *rand.Rand
}

// someKeys are what a viewer's keyboards may press: modifiers, letters of which X has none, and keys that only a screen's keyboard has.
var someKeys = []struct {
	sym  uint32
	code uint16
}{{0xffe3, 29}, {0xffe1, 42}, {0xffe9, 56}, {0xfe03, 100}, {'a', 30}, {'A', 30}, {'z', 44}, {0x1000416, 39}, {0x10003b1, 30}, {0xff0d, 28}, {0xff1b, 0}, {'q', 0}, {0xffeb, 125}}

// act has the viewer do something that a browser might, in any order: a hand is never sure that a key that went down comes up.
func (v *viewer) act(ctx context.Context) {
	r := v.random
	sample := func() []Sample {
		v.sampled++
		return []Sample{{X: r.Int32N(1600 * 256), Y: r.Int32N(1200 * 256), Pressure: uint16(r.Uint32())}}
	}
	m := Message{Device: uint8(r.UintN(4)), RSeq: v.said + 1, First: v.sampled + 1}
	switch n := r.IntN(20); {
	case n < 6:
		k := someKeys[r.IntN(len(someKeys))]
		m.Kind, m.Down, m.Sym, m.Code = kindKey, r.IntN(3) > 0, k.sym, k.code
	case n < 10:
		m.Kind, m.Down, m.Button, m.Samples = kindButton, r.IntN(3) > 0, []uint8{1, 2, 3, 8}[r.IntN(4)], sample()
	case n < 14:
		m.Kind, m.Barrier, m.RSeq, m.Samples = kindPointer, v.said, 0, sample()
	case n < 16:
		m.Kind, m.Device, m.Down = kindProximity, 1+m.Device%2, r.IntN(2) > 0
	case n < 18:
		m.Kind, m.DY, m.Again = kindWheel, 400, uint8(r.UintN(maxTurns))
	case n == 18:
		m.Kind, m.Text = kindText, "aé日"
	default:
		m.Kind = kindRelease
	}
	v.said = max(v.said, m.RSeq)
	v.hand.Push(ctx, m)
}

// done waits until all that the viewer did has been taken.
func (v *viewer) done(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); len(v.hand.queue) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d messages of a viewer wait still", len(v.hand.queue))
		}
	}
	v.hand.Settle(t.Context(), v.gone) // also what was last taken out has been applied
}

// desk is an X server with all that puts hands into it, and a client that looks at what it holds down.
type desk struct {
	keys   *display.Keyboard
	driver *Driver
	x      *xclient.Screen
	log    *slog.Logger
}

func openDesk(t testing.TB) *desk {
	t.Helper()
	server := pentest.Start(t)
	log := slog.New(slog.DiscardHandler)
	d, err := display.Open(t.Context(), display.Config{Dial: server.Dial, Cookie: server.Cookie, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	keys, err := d.NewKeyboard()
	if err != nil {
		t.Fatal(err)
	}
	x, err := xclient.Open(t.Context(), server.Socket, server.XAuthority)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	driver := NewDriver(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unixpacket", server.Pen)
	}, log)
	t.Cleanup(driver.Close)
	return &desk{keys, driver, x, log}
}

// come has a viewer come, whose hand counts when it is given to it.
func (d *desk) come(t *testing.T, random *rand.Rand) *viewer {
	ctx, cancel := context.WithCancel(t.Context())
	v := &viewer{drop: make(chan struct{}, 1), gone: make(chan struct{}), leave: cancel, random: random}
	v.hand = New(Owner{
		Keyboard: func() Keyboard { return d.keys }, Place: func() image.Rectangle { return image.Rect(0, 0, pentest.Width, pentest.Height) },
		May: v.may.Load, Tell: func([]byte) {},
	}, d.driver, d.log)
	go func() { defer close(v.gone); v.hand.Run(ctx, v.drop) }()
	return v
}

// Whatever two hands do, and whatever becomes of them, nothing is held down in X in the end: as often as one is told to let go, loses the hand to the
// other, is out of touch, or leaves; and as often as the pen driver has lost its connection.
func FuzzNothingIsHeldDownInTheEnd(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	d := openDesk(f)
	f.Fuzz(func(t *testing.T, seed uint64) {
		const rounds, most = 4, 60
		random := rand.New(rand.NewPCG(seed, 1))
		viewers := []*viewer{d.come(t, random), d.come(t, random)}
		defer func() {
			for _, v := range viewers {
				v.leave()
				<-v.gone
			}
		}()
		has := 0
		give := func(to int) {
			viewers[has].may.Store(false)
			viewers[has].hand.Settle(t.Context(), viewers[has].gone)
			has = to
			viewers[has].may.Store(true)
			viewers[has].hand.Settle(t.Context(), viewers[has].gone)
		}
		for round := range rounds {
			give(random.IntN(2))
			for range random.IntN(most) {
				who := has
				if random.IntN(8) == 0 {
					who = random.IntN(2) // who has not the hand may say what it wants
				}
				viewers[who].act(t.Context())
				switch random.IntN(40) {
				case 0:
					give(random.IntN(2))
				case 1:
					d.driver.Close()
				}
			}
			v := viewers[has]
			var end string
			switch random.IntN(4) {
			case 0:
				end = "is told to let go"
				v.said++
				v.hand.Push(t.Context(), Message{Kind: kindRelease, RSeq: v.said})
			case 1:
				end = "is out of touch"
				v.drop <- struct{}{}
			case 2:
				end = "has the hand no more"
				v.may.Store(false)
				v.hand.Settle(t.Context(), v.gone)
			case 3:
				end = "has left"
				v.leave()
				<-v.gone
				viewers[has] = d.come(t, random)
			}
			for _, v := range viewers {
				v.done(t)
			}
			d.bare(t, fmt.Sprintf("seed %d, round %d: who had the hand %s", seed, round, end))
		}
	})
}

// bare waits until no key and no button is down in X.
func (d *desk) bare(t *testing.T, when string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		keys, err := d.x.HeldKeys()
		if err != nil {
			t.Fatal(err)
		}
		devices, err := d.x.Devices()
		if err != nil {
			t.Fatal(err)
		}
		down := len(keys)
		for _, d := range devices {
			down += len(d.Held)
		}
		if down == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s, and the keys %v are down, and of the devices %v", when, keys, devices)
		}
	}
}
