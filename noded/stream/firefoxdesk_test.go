package stream

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"
	"easel/pkg/display/xorgtest"
)

// firefoxDesk is an artist's computer: an X server with Firefox, which shows the session, and another program. No preference stands in for the artist's leave.
type firefoxDesk struct {
	*browser.Firefox
	program *xorgtest.Application
}

func newFirefoxDesk(t *testing.T, s *session) firefoxDesk {
	t.Helper()
	x := xorgtest.Start(t)
	f, err := browser.StartFirefoxOn(context.WithoutCancel(t.Context()), x.Env())
	d := firefoxDesk{shows(t, s, contract.Owner, "scale=1&size=800x500", f, err), x.Application(t)}
	d.program.Enter(t, "firefox")
	if err := f.Until(t.Context(), time.Minute, "document.hasFocus() && window.easel?.state === 'connected' && !document.querySelector('#clipboard').hidden"); err != nil {
		t.Fatal(err)
	}
	return d
}

// copies has the other program copy something, for which the page loses the keyboard.
func (d firefoxDesk) copies(t *testing.T, contents map[string][]byte) {
	t.Helper()
	var done bool
	if err := d.Eval(t.Context(), "window.dispatchEvent(new Event('blur'))", &done); err != nil {
		t.Fatal(err)
	}
	d.program.Copy(t, xorgtest.Honest, contents)
}

// pastes has the artist press Ctrl+V until what came is right. The key does not wait for ever for the desk's clipboard: the page then says so.
func (d firefoxDesk) pastes(t *testing.T, what string, came func() error) {
	t.Helper()
	const late = `(() => { const e = document.querySelector("#toast"), is = e.textContent.includes("in time"); if (is) e.textContent = ""; return is; })()`
	press := func() {
		if err := d.Chord(t.Context(), browser.ControlKey, "v"); err != nil {
			t.Fatal(err)
		}
	}
	press()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = came(); err == nil {
			return
		}
		var again bool
		if err := d.Eval(t.Context(), late, &again); err != nil {
			t.Fatal(err)
		}
		if again {
			press()
		}
	}
	t.Fatalf("%s did not come: %v", what, err)
}

// onePicture is a PNG of one colour.
func onePicture(t *testing.T, w, h int, c color.NRGBA) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.SetNRGBA(i%w, i/w, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// isText tells whether a text is that one.
func isText(text []byte, err error, want string) error {
	if err == nil && string(text) != want {
		err = fmt.Errorf("the text is %.50q, %d bytes, want %.50q, %d", text, len(text), want, len(want))
	}
	return err
}

// isPicture tells whether a PNG is that picture: browsers rewrite them.
func isPicture(b []byte, err error, w, h int, c color.NRGBA) error {
	if err != nil {
		return err
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if size := img.Bounds().Size(); size != image.Pt(w, h) || color.NRGBAModel.Convert(img.At(w/2, h/2)) != c {
		return fmt.Errorf("a picture of %v with %v in its middle", size, img.At(w/2, h/2))
	}
	return nil
}

// Text, HTML and pictures cross both ways in Debian's Firefox, between a real clipboard of its desk and the session's: in by the paste that a key
// brings, out with the gesture that Firefox wants for it.
func TestClipboardCrossesInFirefox(t *testing.T) {
	s := startSessionOn(t, outward(t))
	session := s.x.Application(t)
	s.ready(t)
	d := newFirefoxDesk(t, s)

	d.copies(t, map[string][]byte{"UTF8_STRING": []byte("Grüße, 日本 🎨"), "text/html": []byte("<b>Grüße</b>, 日本 🎨")})
	d.pastes(t, "a text", func() error {
		text, err := session.Paste(t.Context(), "UTF8_STRING")
		return isText(text, err, "Grüße, 日本 🎨")
	})
	html, err := session.Paste(t.Context(), "text/html")
	if err != nil || !strings.Contains(string(html), "<b>Grüße</b>") {
		t.Errorf("the HTML came as %q, %v", html, err)
	}
	long := strings.Repeat("Zeile 日本 🎨\n", 6000) // goes by pieces on both X servers
	d.copies(t, map[string][]byte{"UTF8_STRING": []byte(long)})
	d.pastes(t, "a long text", func() error {
		text, err := session.Paste(t.Context(), "UTF8_STRING")
		return isText(text, err, long)
	})
	violet, green := color.NRGBA{R: 200, B: 254, A: 255}, color.NRGBA{G: 180, B: 40, A: 255}
	d.copies(t, map[string][]byte{"image/png": onePicture(t, 120, 80, violet)})
	d.pastes(t, "a picture", func() error {
		b, err := session.Paste(t.Context(), "image/png")
		return isPicture(b, err, 120, 80, violet)
	})

	// A paste that comes when its key has waited for long enough is not lost: the page says that it is there, to be pasted.
	var done bool
	if err := d.Eval(t.Context(), `(async () => {
		const field = document.querySelector("#keys");
		window.dispatchEvent(new Event("blur"));
		field.dispatchEvent(new KeyboardEvent("keydown", {key: "v", code: "KeyV", ctrlKey: true, bubbles: true, cancelable: true}));
		await new Promise((go) => setTimeout(go, 4500));
		field.dispatchEvent(new ClipboardEvent("paste", {data: "late", dataType: "text/plain", bubbles: true, cancelable: true}));
	})()`, &done); err != nil {
		t.Fatal(err)
	}
	s.await(t, "a late text", func() bool {
		text, err := session.Paste(t.Context(), "UTF8_STRING")
		return err == nil && string(text) == "late"
	})
	if err := d.Until(t.Context(), 30*time.Second, "document.querySelector('#toast').textContent.includes('Now paste it in GIMP')"); err != nil {
		t.Error(err)
	}

	out := func(what string, contents map[string][]byte, came func() error) {
		t.Helper()
		// Firefox wants a gesture of the last five seconds.
		if err := d.Until(t.Context(), 30*time.Second, "!navigator.userActivation.isActive"); err != nil {
			t.Fatal(err)
		}
		session.Copy(t, xorgtest.Honest, contents)
		if err := d.Until(t.Context(), time.Minute, "!document.querySelector('#copied').hidden"); err != nil {
			t.Fatalf("%s: the page does not say that it waits for a gesture: %v", what, err)
		}
		if err := d.Click(t.Context(), 400, 300); err != nil {
			t.Fatal(err)
		}
		s.await(t, what+" on the desk", func() bool { return came() == nil })
		if err := d.Until(t.Context(), 30*time.Second, "document.querySelector('#copied').hidden"); err != nil {
			t.Errorf("%s is on the desk, and the page still says that it is not: %v", what, err)
		}
	}
	out("a text", map[string][]byte{"UTF8_STRING": []byte("zurück 🎨"), "text/html": []byte("<i>zurück</i> 🎨")}, func() error {
		text, err := d.program.Paste(t.Context(), "UTF8_STRING")
		return isText(text, err, "zurück 🎨")
	})
	if html, err := d.program.Paste(t.Context(), "text/html"); err != nil || !strings.Contains(string(html), "<i>zurück</i>") {
		t.Errorf("the HTML went out as %q, %v", html, err)
	}
	out("a long text", map[string][]byte{"UTF8_STRING": []byte(long)}, func() error {
		text, err := d.program.Paste(t.Context(), "UTF8_STRING")
		return isText(text, err, long)
	})
	out("a picture", map[string][]byte{"image/png": onePicture(t, 90, 60, green)}, func() error {
		b, err := d.program.Paste(t.Context(), "image/png")
		return isPicture(b, err, 90, 60, green)
	})
	// What came from the session is known again, and not sent back: it is the session's program that has it still. The click waits for the key that pastes.
	if err := d.Chord(t.Context(), browser.ControlKey, "v"); err != nil {
		t.Fatal(err)
	}
	if err := d.Click(t.Context(), 410, 310); err != nil {
		t.Fatal(err)
	}
	var left float64
	if err := d.Eval(t.Context(), "document.querySelector('#screen').getBoundingClientRect().left", &left); err != nil {
		t.Fatal(err)
	}
	for r := s.pen.Next(t); r.Kind != inputtest.Press || r.X != int32((410-left)*256); r = s.pen.Next(t) {
	}
	if names, err := session.Targets(t.Context()); err != nil || len(names) != 1 || names[0] != "image/png" {
		t.Errorf("the session's clipboard has %q, %v", names, err)
	}
}
