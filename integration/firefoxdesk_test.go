package integration

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/pkg/display/xorgtest"
)

// An artist whose desk has Debian's Firefox drags an image from the file manager onto the picture, which opens in GIMP; pastes another one from the desk
// into it; and has what was copied in GIMP on the desk: by a real X server's drag and drop and clipboard, with no preference that gives leave.
func TestFirefoxDropsAndPastesIntoGIMP(t *testing.T) {
	w := get(t)
	s := w.session(t)
	desk := xorgtest.Start(t)
	f, err := browser.StartFirefoxOn(t.Context(), desk.Env())
	w.showsIn(t, s.ID, f, err, "", "window.easel?.state === 'connected' && !document.querySelector('#files-upload').hidden && !document.querySelector('#clipboard').hidden")
	program := desk.Application(t)
	window := program.Enter(t, "firefox")
	if err := f.Until(t.Context(), 30*time.Second, "document.hasFocus()"); err != nil {
		t.Fatal(err)
	}
	x := w.x(t, s.ID)

	name := "überall " + tag()
	var at struct{ X, Y float64 }
	if err := f.Eval(t.Context(), "({x: (mozInnerScreenX + innerWidth / 2) * devicePixelRatio, y: (mozInnerScreenY + innerHeight / 2) * devicePixelRatio})", &at); err != nil {
		t.Fatal(err)
	}
	if err := program.Drop(t.Context(), window, int(at.X), int(at.Y), onDisk(t, name+".png", picture(t, 320, 200))); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "GIMP shows what was dropped", func() error { return titled(x, name) })
	if err := f.Until(t.Context(), 60*time.Second, "document.querySelector('#toast').textContent.includes('opened in GIMP')"); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "the image is on the screen", func() error { return covers(x, 200, 40, 90) })

	var done bool
	if err := f.Eval(t.Context(), "window.dispatchEvent(new Event('blur'))", &done); err != nil { // for the other program
		t.Fatal(err)
	}
	program.Copy(t, xorgtest.Honest, map[string][]byte{"image/png": colour(t, 120, 80, 255, 0, 254)})
	control := func(keys ...string) {
		t.Helper()
		if err := f.Chord(t.Context(), append([]string{browser.ControlKey}, keys...)...); err != nil {
			t.Fatal(err)
		}
	}
	control("v")
	eventually(t, 60*time.Second, "the desk's picture is in GIMP's image", func() error {
		err := covers(x, 255, 0, 254)
		var late bool
		if f.Eval(t.Context(), `(() => { const e = document.querySelector("#toast"), is = e.textContent.includes("in time"); if (is) e.textContent = ""; return is; })()`, &late) == nil && late {
			control("v") // as the page tells the artist
		}
		return err
	})

	control("a")
	control(browser.ShiftKey, "C") // the whole image, flattened
	eventually(t, 60*time.Second, "what was copied in GIMP is on the desk", func() error {
		var button struct {
			There bool
			X, Y  float64
		}
		// Without a gesture of the last seconds Firefox wants one, and the page says so.
		if err := f.Eval(t.Context(), `(() => { const r = document.querySelector("#copied-take").getBoundingClientRect(); return {there: r.width > 0, x: r.left + r.width / 2, y: r.top + r.height / 2}; })()`, &button); err != nil {
			return err
		}
		if button.There {
			if err := f.Click(t.Context(), int(button.X), int(button.Y)); err != nil {
				return err
			}
		}
		b, err := program.Paste(t.Context(), "image/png")
		if err != nil {
			return err
		}
		img, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			return err
		}
		r, g, bl, _ := img.At(img.Bounds().Dx()/2, img.Bounds().Dy()/2).RGBA()
		if got := fmt.Sprint(img.Bounds().Size(), r>>8, g>>8, bl>>8); got != "(320,200) 255 0 254" {
			return fmt.Errorf("the desk has a picture of %s", got)
		}
		return nil
	})
}

// An artist types letters of any script into GIMP's text tool in Debian's Firefox, and pastes texts from the desk there.
func TestFirefoxWritesInGIMPsTextTool(t *testing.T) {
	w := get(t)
	s := w.session(t)
	desk := xorgtest.Start(t)
	f, err := browser.StartFirefoxOn(t.Context(), desk.Env())
	w.showsIn(t, s.ID, f, err, "&scale=1&chrome=0", "window.easel?.state === 'connected' && window.easel.stats().width === Math.floor(innerWidth / 2) * 2")
	program := desk.Application(t)
	program.Enter(t, "firefox")
	must(t, f.Until(t.Context(), 30*time.Second, "document.hasFocus()"))
	x := w.x(t, s.ID)
	must(t, artist.Settled(x, nil, 60*time.Second))
	press := func(keys ...string) error { return f.Chord(t.Context(), keys...) }
	draws(t, x, "the dialog of a new image", func() error { return press(browser.ControlKey, "n") })
	must(t, press(browser.EnterKey))
	canvas, err := artist.Canvas(x, func(r image.Rectangle) bool { return r.Dx() >= 300 && r.Dy() >= 200 })
	must(t, err)
	draws(t, x, "the text tool", func() error { return press("t") })
	draws(t, x, "its editor", func() error {
		return f.Click(t.Context(), canvas.Min.X+canvas.Dx()/5, canvas.Min.Y+canvas.Dy()/4)
	})
	// First: what GIMP copied may be on its way to the desk still when another program copies there.
	w.pastesTexts(t, writer{
		copies: func(text string) {
			var done bool
			must(t, f.Eval(t.Context(), "window.dispatchEvent(new Event('blur'))", &done)) // for the other program
			program.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": []byte(text)})
		},
		holds: func() (string, error) {
			text, err := program.Paste(t.Context(), "UTF8_STRING")
			return string(text), err
		},
		press: func(keys ...string) error {
			if keys[0] == "Control" {
				keys[0] = browser.ControlKey
			}
			return press(keys...)
		},
		page: func(js string) (bool, error) {
			var is bool
			err := f.Eval(t.Context(), js, &is)
			return is, err
		},
	}, asciiText, japaneseText)
	must(t, press(browser.ControlKey, "a"))
	for _, letter := range "Hé ж日本" {
		must(t, press(string(letter)))
	}
	copies(t, x, "Hé ж日本", func() error {
		return errors.Join(press(browser.ControlKey, "a"), press(browser.ControlKey, "c"))
	})
}
