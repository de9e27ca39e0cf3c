package integration

import (
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
)

// listen puts a window with the keyboard focus on the remote screen and returns what it hears.
func listen(t *testing.T, x *xclient.Screen) <-chan xclient.Key {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan xclient.Key, 256)
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- x.Keys(ctx, func() { close(ready) }, func(k xclient.Key) { heard <- k }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("X client: %v", err)
		}
	})
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("the key window did not come up")
	}
	return heard
}

// isModifier leaves out the modifiers that a keyboard layout needs to make a character.
func isModifier(keysym uint32) bool { return keysym >= 0xffe1 && keysym <= 0xffee || keysym == 0xfe03 }

// hears waits for presses of keysyms, each given by the ones that mean the same.
func hears(t *testing.T, heard <-chan xclient.Key, what string, want ...[]uint32) {
	t.Helper()
	for i, any := range want {
		limit := time.After(30 * time.Second)
		for got := false; !got; {
			select {
			case k := <-heard:
				if !k.Down || isModifier(k.Keysym) {
					continue
				}
				got = true
				match := false
				for _, v := range any {
					match = match || v == k.Keysym
				}
				if !match {
					t.Errorf("%s: key %d came as %#x, want %#x", what, i, k.Keysym, any)
				}
			case <-limit:
				t.Fatalf("%s: key %d (%#x) never came", what, i, any)
			}
		}
	}
}

func unicode(r rune, legacy ...uint32) []uint32 {
	all := append([]uint32{0x01000000 + uint32(r)}, legacy...)
	if r < 0x100 {
		all = append(all, uint32(r))
	}
	return all
}

// What the browser's key says is what the application gets, whatever the layout of either side.
func TestKeysOfManyLayoutsArrive(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "chrome=0", browser.PageOptions{Width: 1000, Height: 700})
	x := w.x(t, s.ID)
	heard := listen(t, x)
	if err := p.Click(500, 300, browser.Left); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		keys []browser.Key
		want [][]uint32
	}{
		{"US", []browser.Key{{Key: "a", Code: "KeyA", Windows: 65}, {Key: "7", Code: "Digit7", Windows: 55}, {Key: ";", Code: "Semicolon", Windows: 186}}, [][]uint32{{'a'}, {'7'}, {';'}}},
		{"French", []browser.Key{{Key: "é", Code: "Digit2", Windows: 50}, {Key: "q", Code: "KeyA", Windows: 81}, {Key: "ç", Code: "Digit9", Windows: 57}}, [][]uint32{unicode('é'), {'q'}, unicode('ç')}},
		{"German", []browser.Key{{Key: "ß", Code: "Minus", Windows: 219}, {Key: "z", Code: "KeyY", Windows: 90}, {Key: "ü", Code: "BracketLeft", Windows: 186}}, [][]uint32{unicode('ß'), {'z'}, unicode('ü')}},
		{"Russian", []browser.Key{{Key: "ж", Code: "Semicolon", Windows: 186}, {Key: "ы", Code: "KeyS", Windows: 83}}, [][]uint32{unicode('ж', 0x6d6), unicode('ы', 0x6d9)}},
		{"Arabic", []browser.Key{{Key: "ب", Code: "KeyF", Windows: 70}}, [][]uint32{unicode('ب', 0x5c8)}},
		{"keys without characters", []browser.Key{{Key: "Enter", Code: "Enter", Windows: 13}, {Key: "ArrowLeft", Code: "ArrowLeft", Windows: 37}, {Key: "F5", Code: "F5", Windows: 116}}, [][]uint32{{0xff0d}, {0xff51}, {0xffc2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := p.Type(c.keys...); err != nil {
				t.Fatal(err)
			}
			hears(t, heard, c.name, c.want...)
		})
	}
	t.Run("shifted", func(t *testing.T) {
		shift := browser.Key{Key: "Shift", Code: "ShiftLeft", Windows: 16, Modifiers: browser.Shift}
		if err := errors.Join(p.KeyDown(shift), p.Type(browser.Key{Key: "É", Code: "KeyE", Windows: 69, Modifiers: browser.Shift}, browser.Key{Key: "A", Code: "KeyA", Windows: 65, Modifiers: browser.Shift}),
			p.KeyUp(browser.Key{Key: "Shift", Code: "ShiftLeft", Windows: 16})); err != nil {
			t.Fatal(err)
		}
		hears(t, heard, "shifted", unicode('É'), []uint32{'A'})
	})
	t.Run("dead keys and AltGr", func(t *testing.T) {
		altGr := browser.Key{Key: "AltGraph", Code: "AltRight", Windows: 18}
		if err := errors.Join(p.Type(browser.Key{Key: "Dead", Code: "BracketLeft", Windows: 219}, browser.Key{Key: "ê", Code: "KeyE", Windows: 69}),
			p.KeyDown(altGr), p.Type(browser.Key{Key: "€", Code: "KeyE", Windows: 69}, browser.Key{Key: "@", Code: "KeyQ", Windows: 81}, browser.Key{Key: "ł", Code: "KeyL", Windows: 76}), p.KeyUp(altGr),
			p.Type(browser.Key{Key: "e", Code: "KeyE", Windows: 69})); err != nil {
			t.Fatal(err)
		}
		hears(t, heard, "dead keys and AltGr", unicode('ê'), unicode('€', 0x20ac), []uint32{'@'}, unicode('ł', 0x1b3), []uint32{'e'})
	})
	t.Run("input method", func(t *testing.T) {
		if err := p.Insert("日本語"); err != nil {
			t.Fatal(err)
		}
		hears(t, heard, "input method", unicode('日'), unicode('本'), unicode('語'))
	})
}

// holds has the artist hold Control, Alt and the left button down.
func holds(t *testing.T, p *browser.Page, x *xclient.Screen) {
	t.Helper()
	if err := errors.Join(p.Move(400, 300), p.Press(400, 300, browser.Left)); err != nil {
		t.Fatal(err)
	}
	for _, k := range []browser.Key{{Key: "Control", Code: "ControlLeft", Windows: 17, Modifiers: browser.Ctrl}, {Key: "Alt", Code: "AltLeft", Windows: 18, Modifiers: browser.Ctrl | browser.Alt}} {
		if err := p.KeyDown(k); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 30*time.Second, "Control, Alt and the button are down", func() error {
		held, button, err := held(x)
		if err == nil && (len(held) < 2 || !button) {
			err = fmt.Errorf("held: %v, the button %v", held, button)
		}
		return err
	})
}

// letsGo waits until nothing is held down any more.
func letsGo(t *testing.T, x *xclient.Screen) {
	t.Helper()
	eventually(t, 60*time.Second, "nothing is held down", func() error {
		held, button, err := held(x)
		if err == nil && (len(held) > 0 || button) {
			err = fmt.Errorf("held: %v, the button %v", held, button)
		}
		return err
	})
}

// held tells which keys are down in the X server, and whether a button of the pointer is.
func held(x *xclient.Screen) (keys []int, button bool, err error) {
	if keys, err = x.HeldKeys(); err != nil {
		return nil, false, err
	}
	p, err := xproto.QueryPointer(x.Conn(), x.Root()).Reply()
	if err != nil {
		return nil, false, fmt.Errorf("ask for the pointer: %w", err)
	}
	return keys, p.Mask&xproto.KeyButMaskButton1 != 0, nil
}

// Whatever takes the keyboard from the page while keys and a button are down, none of them stays down in the session. (The streamer's own death is
// TestStreamerDiesAndComesBack's.)
func TestNothingStaysDown(t *testing.T) {
	link := openLink(t, 10*time.Millisecond, 5)
	w := get(t)
	s, p, x := w.overLink(t, link, 800, 600)
	up := func() {
		t.Helper()
		for _, k := range []browser.Key{{Key: "Alt", Code: "AltLeft", Windows: 18, Modifiers: browser.Ctrl}, {Key: "Control", Code: "ControlLeft", Windows: 17}} {
			if err := p.KeyUp(k); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Release(400, 300, browser.Left); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ what, js string }{
		{"the window loses the keyboard", "window.dispatchEvent(new Event('blur'))"},
		{"the page is hidden", "Object.defineProperty(document, 'hidden', {value: true, configurable: true}); document.dispatchEvent(new Event('visibilitychange')); delete document.hidden"},
		{"something else in the page takes the keyboard", "document.activeElement.blur(); document.getElementById('keys').focus()"},
	} {
		t.Log(c.what)
		holds(t, p, x)
		if err := p.Do(c.js); err != nil {
			t.Fatal(err)
		}
		letsGo(t, x)
		up()
	}
	t.Log("the link is lost")
	holds(t, p, x)
	link.Dark(true)
	letsGo(t, x)
	link.Dark(false)
	up()
	if err := p.Until(60*time.Second, "window.easel.state === 'connected'"); err != nil {
		t.Fatal(err)
	}
	t.Log("another window takes the session")
	holds(t, p, x)
	w.view(t, s.ID, "chrome=0", browser.PageOptions{Width: 800, Height: 600})
	letsGo(t, x)
}

// draws does something, and waits until GIMP has drawn what comes of it.
func draws(t *testing.T, x *xclient.Screen, what string, do func() error) {
	t.Helper()
	before, err := artist.Screenshot(x)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := artist.Settled(x, before, 30*time.Second); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// textEditor opens the editor of GIMP's text tool on an image. What is typed before GIMP has chosen the tool, and then opened its editor, is lost: each
// shows on the screen.
func textEditor(t *testing.T, p *browser.Page, x *xclient.Screen, canvas image.Rectangle) {
	t.Helper()
	draws(t, x, "the text tool", func() error { return p.Type(browser.Key{Key: "t", Code: "KeyT", Windows: 84}) })
	at := image.Pt(canvas.Min.X+canvas.Dx()/5, canvas.Min.Y+canvas.Dy()/4)
	draws(t, x, "its editor", func() error { return p.Click(float64(at.X), float64(at.Y), browser.Left) })
}

// An artist types letters of any script into GIMP's text tool, and GIMP has exactly that text.
func TestTextWithAccentsInGIMP(t *testing.T) {
	p, x, canvas := get(t).newImage(t)
	textEditor(t, p, x, canvas)
	if err := p.Type(browser.Key{Key: "h", Code: "KeyH", Windows: 72}, browser.Key{Key: "é", Code: "Digit2", Windows: 50}, browser.Key{Key: "ж", Code: "Semicolon", Windows: 186}); err != nil {
		t.Fatal(err)
	}
	if err := p.Insert("日本"); err != nil {
		t.Fatal(err)
	}
	textIs(t, p, x, "héж日本")
}

// textIs waits until GIMP's text tool has exactly that text.
func textIs(t *testing.T, p *browser.Page, x *xclient.Screen, want string) {
	t.Helper()
	copies(t, x, want, func() error { return copyAll(p) })
}

// copyAll presses Control-A and Control-C.
func copyAll(p *browser.Page) error {
	for _, c := range []string{"a", "c"} {
		k := browser.Key{Key: c, Code: "Key" + strings.ToUpper(c), Windows: int64(strings.ToUpper(c)[0])}
		if err := artist.Control(p, k); err != nil {
			return err
		}
	}
	return nil
}

// copies has the artist copy all of the text in GIMP's text tool until it is that text.
func copies(t *testing.T, x *xclient.Screen, want string, press func() error) {
	t.Helper()
	eventually(t, 30*time.Second, "GIMP's text is "+want, func() error {
		if err := press(); err != nil {
			return err
		}
		text, err := x.Clipboard(t.Context())
		if err != nil {
			return err
		}
		if text != want {
			return fmt.Errorf("it is %q", text)
		}
		return nil
	})
}

// Words of Japanese, Chinese and Korean are composed as input methods do it, and GIMP has them once: also what was taken back, and what was committed
// while the link was dark.
func TestCompositionInGIMP(t *testing.T) {
	link := openLink(t, 10*time.Millisecond, 6)
	_, p, x := get(t).overLink(t, link, 1600, 900)
	canvas, err := artist.NewImage(p, x)
	if err != nil {
		t.Fatal(err)
	}
	textEditor(t, p, x, canvas)
	for _, c := range []struct {
		composed []string
		text     string
	}{
		{[]string{"n", "に", "にh", "にほ", "にほん"}, "日本"},
		{[]string{"n", "ni", "ni h", "ni hao"}, "你好"},
		// A syllable grows until the next one begins.
		{[]string{"ㅎ", "하", "한"}, "한"},
		{[]string{"ㄱ", "그", "글"}, "글"},
		{[]string{"か", "かん"}, ""}, // taken back
		{[]string{"e", "é"}, "é"},
	} {
		for _, part := range c.composed {
			if err := p.Compose(part); err != nil {
				t.Fatal(err)
			}
		}
		if c.text == "" {
			err = p.Compose("")
		} else {
			err = p.Insert(c.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	textIs(t, p, x, "日本你好한글é")
	if err := p.Type(browser.Key{Key: "End", Code: "End", Windows: 35}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Compose("ㅈ"), p.Compose("지")); err != nil {
		t.Fatal(err)
	}
	link.Dark(true)
	if err := errors.Join(p.Compose("집"), p.Insert("집"), p.Compose("ㅇ"), p.Insert("이")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the darkness itself
	link.Dark(false)
	textIs(t, p, x, "日本你好한글é집이")
	letsGo(t, x)
}
