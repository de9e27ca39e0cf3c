package browser

import (
	"encoding/json"
	"fmt"
	"image"
	"unicode/utf16"

	"github.com/chromedp/cdproto/input"
)

// Button is a mouse button as the DevTools protocol names it.
type Button = input.MouseButton

// The buttons.
const (
	Left   Button = "left"
	Middle Button = "middle"
	Right  Button = "right"
)

var buttonBit = map[Button]int64{Left: 1, Right: 2, Middle: 4}

// Move moves the mouse to a place in CSS pixels.
func (p *Page) Move(x, y float64) error {
	return p.mouse(input.DispatchMouseEventParams{Type: "mouseMoved", X: x, Y: y})
}

// Press presses a mouse button.
func (p *Page) Press(x, y float64, b Button) error {
	return p.mouse(input.DispatchMouseEventParams{Type: "mousePressed", X: x, Y: y, Button: b, Buttons: buttonBit[b], ClickCount: 1})
}

// Release lets a mouse button go.
func (p *Page) Release(x, y float64, b Button) error {
	return p.mouse(input.DispatchMouseEventParams{Type: "mouseReleased", X: x, Y: y, Button: b, ClickCount: 1})
}

// Click moves there, presses and releases.
func (p *Page) Click(x, y float64, b Button) error {
	for _, f := range []func() error{
		func() error { return p.Move(x, y) },
		func() error { return p.Press(x, y, b) },
		func() error { return p.Release(x, y, b) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// Drag moves with the left button held, with a move between each pair of points.
func (p *Page) Drag(points ...image.Point) error {
	for i, q := range points {
		ev := input.DispatchMouseEventParams{Type: "mouseMoved", X: float64(q.X), Y: float64(q.Y), Button: Left, Buttons: 1}
		if i == 0 {
			if err := p.Move(ev.X, ev.Y); err != nil {
				return err
			}
			ev.Type, ev.ClickCount = "mousePressed", 1
		}
		if err := p.mouse(ev); err != nil {
			return err
		}
	}
	last := points[len(points)-1]
	return p.Release(float64(last.X), float64(last.Y), Left)
}

// PenSample is one state of a pen.
type PenSample struct {
	X, Y         float64 // CSS pixels
	Pressure     float64 // 0…1
	TiltX, TiltY float64 // degrees
	Twist        int64   // degrees
}

// Stroke draws with the pen: hover to the first sample, down, through all samples, up at the last. pause is called between
// samples, so that the caller sets the pace.
func (p *Page) Stroke(samples []PenSample, pause func()) error {
	if len(samples) < 2 {
		return fmt.Errorf("stroke of %d samples; a stroke has at least two", len(samples))
	}
	if err := p.Hover(samples[0]); err != nil {
		return err
	}
	pause()
	if err := p.pen("mousePressed", samples[0], Left, true); err != nil {
		return err
	}
	for _, s := range samples[1:] {
		pause()
		if err := p.pen("mouseMoved", s, Left, true); err != nil {
			return err
		}
	}
	pause()
	return p.pen("mouseReleased", samples[len(samples)-1], Left, false)
}

// Hover moves the pen above the page.
func (p *Page) Hover(s PenSample) error {
	s.Pressure = 0
	return p.pen("mouseMoved", s, "", false)
}

// Barrel touches down with a button of the pen's barrel held, moves through the samples, and lifts.
func (p *Page) Barrel(b Button, samples ...PenSample) error {
	if err := p.Hover(samples[0]); err != nil {
		return err
	}
	if err := p.pen("mousePressed", samples[0], b, true); err != nil {
		return err
	}
	for _, s := range samples[1:] {
		if err := p.pen("mouseMoved", s, b, true); err != nil {
			return err
		}
	}
	return p.pen("mouseReleased", samples[len(samples)-1], b, false)
}

// Erase draws with the pen's other end, for which the protocol has no button.
func (p *Page) Erase(samples []PenSample) error { return p.tell(samples, 5, 32) }

// Scribble draws with the pen's tip as quickly as a pen tells of itself: eight samples an event.
func (p *Page) Scribble(samples []PenSample) error { return p.tell(samples, 0, 1) }

// tell has a script tell the page of a pen's stroke, by the events that a browser would.
func (p *Page) tell(samples []PenSample, button, buttons int) error {
	all, err := json.Marshal(samples)
	if err != nil {
		return fmt.Errorf("stroke by a script: %w", err)
	}
	return p.Do(fmt.Sprintf(`(async () => {
  const samples = %s, button = %d, buttons = %d, target = document.getElementById('screen');
  const make = (type, s, init) => new PointerEvent(type, {
    bubbles: true, cancelable: true, pointerId: 9, pointerType: 'pen', isPrimary: true, button: -1, buttons,
    clientX: s.X, clientY: s.Y, pressure: s.Pressure, tiltX: s.TiltX, tiltY: s.TiltY, twist: s.Twist, ...init});
  const up = { buttons: 0, pressure: 0 }, last = samples.at(-1);
  target.dispatchEvent(make('pointermove', samples[0], up));
  target.dispatchEvent(make('pointerdown', samples[0], { button }));
  for (let i = 1; i < samples.length; i += 8) {
    const coalescedEvents = samples.slice(i, i + 8).map((s) => make('pointermove', s, {}));
    target.dispatchEvent(make('pointermove', samples[Math.min(i + 7, samples.length - 1)], { coalescedEvents }));
    await new Promise((r) => setTimeout(r, 8));
  }
  target.dispatchEvent(make('pointerup', last, { ...up, button }));
  target.dispatchEvent(make('pointerleave', last, up));
})()`, all, button, buttons))
}

func (p *Page) pen(kind input.DispatchMouseEventType, s PenSample, b Button, down bool) error {
	ev := input.DispatchMouseEventParams{
		Type: kind, X: s.X, Y: s.Y, PointerType: input.DispatchMouseEventPointerTypePen, Button: b,
		Force: s.Pressure, TiltX: s.TiltX, TiltY: s.TiltY, Twist: s.Twist,
	}
	if down {
		ev.Buttons = buttonBit[b]
	}
	if kind != "mouseMoved" {
		ev.ClickCount = 1
	}
	return p.mouse(ev)
}

func (p *Page) mouse(ev input.DispatchMouseEventParams) error {
	if err := call(p, input.DispatchMouseEvent, ev); err != nil {
		return fmt.Errorf("%s at %g,%g: %w", ev.Type, ev.X, ev.Y, err)
	}
	return nil
}

// Modifiers of a key event.
const (
	Alt   = 1
	Ctrl  = 2
	Meta  = 4
	Shift = 8
)

// Key is a key of some keyboard layout.
type Key struct {
	Key       string // KeyboardEvent.key: "é", "Enter"
	Code      string // KeyboardEvent.code: "KeyE"
	Windows   int64  // Windows virtual key code, 0 if it does not matter
	Modifiers int64
}

// KeyDown presses a key.
func (p *Page) KeyDown(k Key) error { return p.key("rawKeyDown", k) }

// KeyUp lets a key go.
func (p *Page) KeyUp(k Key) error { return p.key("keyUp", k) }

// Type presses and releases keys one after the other.
func (p *Page) Type(keys ...Key) error {
	for _, k := range keys {
		if err := p.KeyDown(k); err != nil {
			return err
		}
		if err := p.KeyUp(k); err != nil {
			return err
		}
	}
	return nil
}

func (p *Page) key(kind input.DispatchKeyEventType, k Key) error {
	ev := input.DispatchKeyEventParams{Type: kind, Key: k.Key, Code: k.Code, WindowsVirtualKeyCode: k.Windows, Modifiers: k.Modifiers}
	if err := call(p, input.DispatchKeyEvent, ev); err != nil {
		return fmt.Errorf("%s %s: %w", kind, k.Key, err)
	}
	return nil
}

// Insert gives text that comes from no key, as an input method does.
func (p *Page) Insert(text string) error {
	if err := call(p, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		return fmt.Errorf("insert text: %w", err)
	}
	return nil
}

// Compose has an input method show what it composes at present; nothing takes it back.
func (p *Page) Compose(text string) error {
	at := int64(len(utf16.Encode([]rune(text))))
	if err := call(p, input.ImeSetComposition, input.ImeSetCompositionParams{Text: text, SelectionStart: at, SelectionEnd: at}); err != nil {
		return fmt.Errorf("compose %q: %w", text, err)
	}
	return nil
}
