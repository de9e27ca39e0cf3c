package display

import (
	"image"
	"sync/atomic"

	"github.com/jezek/xgb/randr"
)

// Outputs is how many outputs of the X server can be in use.
const Outputs = 2

// Output is a part of the X server's one large screen that is seen as a screen of its own: a RandR output with its mode and place. One that is off has
// no size. It is safe for several goroutines but for its frames, which are for one.
type Output struct {
	// Damage gathers what changed on it, in its own coordinates.
	Damage *Region

	d       *Display
	rect    atomic.Pointer[image.Rectangle]
	changed chan struct{}
	ownMode randr.Mode // the mode that was made for it, or 0; d.mu guards it
}

func newOutput(d *Display) *Output {
	o := &Output{Damage: NewRegion(), d: d, changed: make(chan struct{}, 1)}
	o.rect.Store(&image.Rectangle{})
	return o
}

// Output is the output of this number, from 1 to Outputs.
func (d *Display) Output(number int) *Output { return d.outputs[number-1] }

// Rect is where it lies on the X server's screen.
func (o *Output) Rect() image.Rectangle { return *o.rect.Load() }

// Size is its size in pixels, zero while it is off.
func (o *Output) Size() image.Point { return o.Rect().Size() }

// SizeChanged receives when it may have another size or place.
func (o *Output) SizeChanged() <-chan struct{} { return o.changed }

// Done is closed when the connection to the X server has ended.
func (o *Output) Done() <-chan struct{} { return o.d.done }

// place notes where it lies from now on; all of it counts as damaged then.
func (o *Output) place(r image.Rectangle) {
	if o.Rect() == r {
		return
	}
	o.rect.Store(&r)
	o.Damage.Add(image.Rectangle{Max: r.Size()})
	poke(o.changed)
}

// damaged notes what of a damaged part of the X server's screen is its own.
func (o *Output) damaged(area image.Rectangle) {
	r := o.Rect()
	o.Damage.Add(area.Intersect(r).Sub(r.Min))
}
