package artist

import (
	"errors"
	"fmt"
	"image"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// Control presses a key with Control held.
func Control(p *browser.Page, k browser.Key) error {
	ctrl := browser.Key{Key: "Control", Code: "ControlLeft", Windows: 17}
	down := ctrl
	down.Modifiers = browser.Ctrl
	k.Modifiers = browser.Ctrl
	return errors.Join(p.KeyDown(down), p.KeyDown(k), p.KeyUp(k), p.KeyUp(ctrl))
}

// ControlShift presses the key of a capital letter with Control and Shift held.
func ControlShift(p *browser.Page, k browser.Key) error {
	const both = browser.Ctrl | browser.Shift
	ctrl := browser.Key{Key: "Control", Code: "ControlLeft", Windows: 17}
	shift := browser.Key{Key: "Shift", Code: "ShiftLeft", Windows: 16}
	with := func(k browser.Key, modifiers int64) browser.Key { k.Modifiers = modifiers; return k }
	return errors.Join(p.KeyDown(with(ctrl, browser.Ctrl)), p.KeyDown(with(shift, both)), p.KeyDown(with(k, both)), p.KeyUp(with(k, both)),
		p.KeyUp(with(shift, browser.Ctrl)), p.KeyUp(ctrl))
}

// NewImage makes GIMP show an empty white image (Control-N, then the dialog's defaults) and returns where on the remote
// screen it lies.
func NewImage(p *browser.Page, x *xclient.Screen) (image.Rectangle, error) {
	if err := p.Move(900, 500); err != nil {
		return image.Rectangle{}, err
	}
	// A window that is mapped is not drawn yet, and GIMP takes no keys before it is.
	if err := Settled(x, nil, 30*time.Second); err != nil {
		return image.Rectangle{}, fmt.Errorf("GIMP's window: %w", err)
	}
	before, err := Screenshot(x)
	if err != nil {
		return image.Rectangle{}, err
	}
	if err := Control(p, browser.Key{Key: "n", Code: "KeyN", Windows: 78}); err != nil {
		return image.Rectangle{}, err
	}
	if err := Settled(x, before, 10*time.Second); err != nil {
		return image.Rectangle{}, fmt.Errorf("dialog of a new image: %w", err)
	}
	if err := p.Type(browser.Key{Key: "Enter", Code: "Enter", Windows: 13}); err != nil {
		return image.Rectangle{}, err
	}
	return Canvas(x, func(r image.Rectangle) bool { return r.Dx() >= 300 && r.Dy() >= 200 })
}

// Canvas waits until GIMP shows an empty white image that fits, and returns where on the remote screen it lies, once it lies still: GIMP moves it a little
// when the scroll bars beside it come.
func Canvas(x *xclient.Screen, fits func(image.Rectangle) bool) (image.Rectangle, error) {
	const (
		look = 100 * time.Millisecond
		rest = 4 // looks
	)
	var canvas image.Rectangle
	same := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(look) {
		img, err := Screenshot(x)
		if err != nil {
			return image.Rectangle{}, err
		}
		white := whiteArea(img)
		if same++; white != canvas || !fits(white) {
			canvas, same = white, 0
		}
		if same == rest {
			return canvas, nil
		}
	}
	return image.Rectangle{}, fmt.Errorf("GIMP shows no new image at rest: the largest white area is %v", canvas)
}

// Settled waits until the screen differs from a picture, from an empty screen if that is nil, and then rests for a while.
func Settled(x *xclient.Screen, from *image.RGBA, limit time.Duration) error {
	const (
		rest  = 700 * time.Millisecond
		small = 2000 // pixels: a blinking cursor or a tool tip is no change
	)
	last, err := Screenshot(x)
	if err != nil {
		return err
	}
	if from == nil {
		from = image.NewRGBA(last.Rect)
	}
	since, why := time.Now(), ""
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		now, err := Screenshot(x)
		if err != nil {
			return err
		}
		if n := different(from, now); n <= small {
			since, why = time.Now(), fmt.Sprintf("it differs in %d pixels from what it was", n)
		} else if n := different(last, now); n > small {
			since, why = time.Now(), fmt.Sprintf("%d pixels changed just now", n)
		}
		last = now
		if time.Since(since) > rest {
			return nil
		}
	}
	return fmt.Errorf("the screen did not change and come to rest in %s: %s", limit, why)
}

// different counts the pixels in which two pictures differ.
func different(a, b *image.RGBA) int {
	if a.Rect != b.Rect {
		return a.Rect.Dx() * a.Rect.Dy()
	}
	n := 0
	for i := 0; i < len(a.Pix); i += 4 {
		if a.Pix[i] != b.Pix[i] || a.Pix[i+1] != b.Pix[i+1] || a.Pix[i+2] != b.Pix[i+2] {
			n++
		}
	}
	return n
}

// Screenshot reads the whole X screen.
func Screenshot(x *xclient.Screen) (*image.RGBA, error) {
	size, err := x.Size()
	if err != nil {
		return nil, err
	}
	return x.Grab(image.Rectangle{Max: size})
}

func isWhite(img *image.RGBA, x, y int) bool {
	c := img.RGBAAt(x, y)
	return c.R > 250 && c.G > 250 && c.B > 250
}

// whiteArea is the white rectangle around the longest white run of pixels.
func whiteArea(img *image.RGBA) image.Rectangle {
	b := img.Bounds()
	best := image.Rectangle{}
	for y := b.Min.Y; y < b.Max.Y; y += 8 {
		for x := b.Min.X; x < b.Max.X; x++ {
			from := x
			for x < b.Max.X && isWhite(img, x, y) {
				x++
			}
			if x-from > best.Dx() {
				best = image.Rect(from, y, x, y+1)
			}
		}
	}
	if best.Empty() {
		return best
	}
	mid := (best.Min.X + best.Max.X) / 2
	for best.Min.Y > b.Min.Y && isWhite(img, mid, best.Min.Y-1) {
		best.Min.Y--
	}
	for best.Max.Y < b.Max.Y && isWhite(img, mid, best.Max.Y) {
		best.Max.Y++
	}
	return best
}
