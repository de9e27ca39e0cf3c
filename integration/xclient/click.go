package xclient

import (
	"context"
	"fmt"
	"image"
	"image/color"

	"github.com/jezek/xgb/xproto"
)

// Palette is what a target's sample points change through, in turn: far apart, so that no codec confuses two.
var Palette = []color.RGBA{
	{255, 255, 255, 255}, {200, 0, 0, 255}, {0, 160, 0, 255}, {0, 0, 200, 255}, {230, 200, 0, 255}, {0, 0, 0, 255},
}

// Target is an area of the screen that changes with each button press.
type Target struct {
	Area image.Rectangle // screen pixels
	// Photo makes each change a new noisy photograph instead of one flat colour; only patches around the sample points
	// have the colour then.
	Photo bool
}

// patch is the size of a coloured patch in a photograph, in pixels.
const patch = 48

// Points are where a picture shows the target's colour: near its corners and in its middle.
func (t Target) Points() []image.Point {
	in := t.Area.Inset(patch / 2)
	return []image.Point{
		in.Min,
		{X: in.Max.X - 1, Y: in.Min.Y},
		{X: in.Min.X, Y: in.Max.Y - 1},
		in.Max.Sub(image.Pt(1, 1)),
		in.Min.Add(in.Size().Div(2)),
	}
}

// Press is a button press that the X server delivered.
type Press struct {
	At     image.Point // screen pixels
	Button int         // X numbering
}

// Click covers the screen and, at each button press, shows the next colour of Palette in the target (the first press
// gives Palette[1]) until ctx ends. ready is called when the window is up and shows Palette[0]; pressed, when not nil,
// after each change.
func (s *Screen) Click(ctx context.Context, t Target, ready func(), pressed func(n int, p Press)) error {
	w, err := s.coverAll(xproto.EventMaskButtonPress)
	if err != nil {
		return fmt.Errorf("click target: %w", err)
	}
	defer w.close()
	change, err := w.changer(t)
	if err != nil {
		return fmt.Errorf("click target: %w", err)
	}
	change(0)
	if err := w.sync(); err != nil {
		return err
	}
	ready()
	n := 0
	return s.events(ctx, func(ev any) error {
		e, ok := ev.(xproto.ButtonPressEvent)
		if !ok {
			return nil
		}
		n++
		change(n)
		if pressed != nil {
			pressed(n, Press{At: image.Pt(int(e.RootX), int(e.RootY)), Button: int(e.Detail)})
		}
		return nil
	})
}

// changer returns what shows state n of a target.
func (w *window) changer(t Target) (func(n int), error) {
	r := t.Area
	if !t.Photo {
		rect := xproto.Rectangle{X: int16(r.Min.X), Y: int16(r.Min.Y), Width: uint16(r.Dx()), Height: uint16(r.Dy())}
		return func(n int) { w.fill(xproto.Drawable(w.id), w.gc, Palette[n%len(Palette)], rect) }, nil
	}
	var photos []xproto.Pixmap
	for i, c := range Palette {
		p, err := w.pixmap(r.Dx(), r.Dy(), Photograph(r.Dx(), r.Dy(), uint64(i)))
		if err != nil {
			return nil, err
		}
		for _, q := range t.Points() {
			q = q.Sub(r.Min)
			w.fill(xproto.Drawable(p), w.gc, c, xproto.Rectangle{
				X: int16(q.X - patch/2), Y: int16(q.Y - patch/2), Width: patch, Height: patch,
			})
		}
		photos = append(photos, p)
	}
	return func(n int) {
		xproto.CopyArea(w.conn, xproto.Drawable(photos[n%len(photos)]), xproto.Drawable(w.id), w.gc, 0, 0,
			int16(r.Min.X), int16(r.Min.Y), uint16(r.Dx()), uint16(r.Dy()))
	}, nil
}
