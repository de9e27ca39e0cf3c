// Package display speaks X11 with a session's X server, which may be hostile: damage and frames through shared memory,
// the cursor, the screen's size, and keys. Every length is checked, every wait has a deadline.
package display

import (
	"context"
	"fmt"
	"image"
	"sync"
	"sync/atomic"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/damage"
	"github.com/jezek/xgb/randr"
	"github.com/jezek/xgb/shm"
	"github.com/jezek/xgb/xfixes"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
)

// Bounds of a screen, in pixels a side; what lies outside them is refused.
const (
	MinSide = 64
	MaxSide = 8192
	// MaxPixels bounds the area: each pixel takes memory several times over.
	MaxPixels = 8192 * 4320
)

// Display is a connection to one X server's first screen. Frames are for one goroutine each; the rest is safe for several.
type Display struct {
	connection
	outputs     [Outputs]*Output
	cursorWake  chan struct{}
	screenWake  chan struct{}
	keymapStale atomic.Bool
	mu          sync.Mutex // one arrangement at a time
	settings    xsettings
}

// Open connects to an X server and asks for damage and cursor changes.
func Open(ctx context.Context, c Config) (*Display, error) {
	d := &Display{cursorWake: make(chan struct{}, 1), screenWake: make(chan struct{}, 1), settings: xsettings{config: c}}
	g, err := d.dial(ctx, c)
	if err != nil {
		return nil, err
	}
	for i := range d.outputs {
		d.outputs[i] = newOutput(d)
	}
	go d.events()
	if err := d.prepare(g); err != nil {
		d.abandon(g)
		return nil, err
	}
	return d, nil
}

func (d *Display) prepare(g *guard) error {
	err := d.call("read the screen's set-up", func() error {
		screen, err := d.screen()
		if err != nil {
			return err
		}
		if depth := screen.RootDepth; depth != 24 {
			return fmt.Errorf("the screen's depth is %d, want 24", depth)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, begin := range map[string]func(*xgb.Conn) error{
		"MIT-SHM": shm.Init, "DAMAGE": damage.Init, "XTEST": xtest.Init, "XFIXES": xfixes.Init, "RANDR": randr.Init,
	} {
		if err := d.call("use the X extension "+name, func() error { return begin(d.xc) }); err != nil {
			return err
		}
	}
	g.open.Store(true)
	if err := d.call("ask for damage and cursor events", d.subscribe); err != nil {
		return err
	}
	return d.Refresh()
}

func (d *Display) subscribe() error {
	if _, err := damage.QueryVersion(d.xc, 1, 1).Reply(); err != nil {
		return err
	}
	if _, err := xfixes.QueryVersion(d.xc, 5, 0).Reply(); err != nil {
		return err
	}
	if _, err := randr.QueryVersion(d.xc, 1, 3).Reply(); err != nil {
		return err
	}
	id, err := damage.NewDamageId(d.xc)
	if err != nil {
		return err
	}
	if err := damage.CreateChecked(d.xc, id, xproto.Drawable(d.root), damage.ReportLevelRawRectangles).Check(); err != nil {
		return err
	}
	if err := xfixes.SelectCursorInputChecked(d.xc, d.root, xfixes.CursorNotifyMaskDisplayCursor).Check(); err != nil {
		return err
	}
	// The browser draws the cursor; without this a software cursor would be in the picture too.
	if err := xfixes.HideCursorChecked(d.xc, d.root).Check(); err != nil {
		return err
	}
	return randr.SelectInputChecked(d.xc, d.root, randr.NotifyMaskScreenChange).Check()
}

// events sorts what the server tells, until the connection ends.
func (d *Display) events() {
	defer close(d.done)
	for {
		ev, xerr := d.xc.WaitForEvent()
		if ev == nil && xerr == nil {
			return
		}
		switch ev := ev.(type) {
		case damage.NotifyEvent:
			a := ev.Area
			for _, o := range d.outputs {
				o.damaged(image.Rect(int(a.X), int(a.Y), int(a.X)+int(a.Width), int(a.Y)+int(a.Height)))
			}
		case xfixes.CursorNotifyEvent:
			poke(d.cursorWake)
		case randr.ScreenChangeNotifyEvent:
			poke(d.screenWake)
		case xproto.MappingNotifyEvent:
			d.keymapStale.Store(true)
		}
	}
}

// Close ends the connection, and that of the settings, which what they say outlives.
func (d *Display) Close() {
	d.settings.mu.Lock()
	d.settings.close()
	d.settings.mu.Unlock()
	d.connection.Close()
}

// CursorChanged receives when the cursor may look different.
func (d *Display) CursorChanged() <-chan struct{} { return d.cursorWake }

// ScreenChanged receives when outputs may have another size or place: Refresh then finds out.
func (d *Display) ScreenChanged() <-chan struct{} { return d.screenWake }

func validSize(w, h int) bool {
	return w >= MinSide && h >= MinSide && w <= MaxSide && h <= MaxSide && w*h <= MaxPixels
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
