package integration

import (
	"fmt"
	"image"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
)

// thickness counts the dark pixels of a column of the picture.
func thickness(img *image.RGBA, x int) int {
	n := 0
	for y := img.Rect.Min.Y; y < img.Rect.Max.Y; y++ {
		c := img.RGBAAt(x, y)
		if int(c.R)+int(c.G)+int(c.B) < 3*160 {
			n++
		}
	}
	return n
}

// newImage has a session with a new image in GIMP, one remote pixel to a pixel of the page, and says where its canvas lies.
func (w *world) newImage(t *testing.T) (*browser.Page, *xclient.Screen, image.Rectangle) {
	t.Helper()
	s := w.session(t)
	p := w.unscaled(t, s.ID, 1600, 900, "")
	x := w.x(t, s.ID)
	canvas, err := artist.NewImage(p, x)
	if err != nil {
		t.Fatal(err)
	}
	return p, x, canvas
}

// An artist's pressure is the product: a stroke pressed harder and harder gets thicker and thicker, on the X screen and in
// the browser's own pixels.
func TestPaintPressureTaper(t *testing.T) {
	p, x, canvas := get(t).newImage(t)
	// The paintbrush, with its size at 40 pixels or so whatever the profile says: P chooses it.
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	y := (canvas.Min.Y + canvas.Max.Y) / 2
	from, to := canvas.Min.X+canvas.Dx()/6, canvas.Max.X-canvas.Dx()/6
	const n = 60
	var samples []browser.PenSample
	for i := range n {
		samples = append(samples, browser.PenSample{
			X: float64(from) + float64(to-from)*float64(i)/(n-1), Y: float64(y), Pressure: 0.02 + 0.98*float64(i)/(n-1), TiltX: 10, TiltY: -5,
		})
	}
	if err := p.Stroke(samples, func() { time.Sleep(12 * time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	// The pen leaves, so that neither cursor nor brush outline lies over the stroke.
	if err := p.Move(float64(canvas.Min.X-10), float64(canvas.Min.Y-10)); err != nil {
		t.Fatal(err)
	}
	band := image.Rect(from, y-60, to, y+60).Intersect(canvas)
	for _, side := range []struct {
		name string
		look func() (*image.RGBA, error)
	}{
		{"the X screen", func() (*image.RGBA, error) { return x.Grab(band) }},
		{"the browser", func() (*image.RGBA, error) { return p.Pixels(band) }},
	} {
		eventually(t, 30*time.Second, "the stroke tapers on "+side.name, func() error {
			img, err := side.look()
			if err != nil {
				return err
			}
			return tapers(img)
		})
	}
}

// tapers checks that the stroke grows from left to right: thin at first, at least twice as thick in the end, and never much
// thinner than before.
func tapers(img *image.RGBA) error {
	r := img.Rect
	var at []int
	for i := range 8 {
		at = append(at, thickness(img, r.Min.X+r.Dx()/10+i*r.Dx()*8/10/7))
	}
	first, last := at[1], at[7]
	if last < 4 || first*2 > last {
		return fmt.Errorf("thickness along the stroke is %v", at)
	}
	for i := 1; i < len(at); i++ {
		if at[i] < at[i-1]-2 {
			return fmt.Errorf("thickness falls along the stroke: %v", at)
		}
	}
	return nil
}

func hasSize(p *browser.Page, width, height int) error {
	got, err := p.Screen()
	if err != nil {
		return err
	}
	if got != image.Pt(width, height) {
		return fmt.Errorf("it is %v, want %dx%d", got, width, height)
	}
	return nil
}
