package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
)

// desk is the clipboard of the artist's computer, which a test fills and reads in the page itself.
type desk struct{ p *browser.Page }

// js is what of the desk runs in the page. Putting something there is another program's doing: the window has lost the focus meanwhile.
const deskJS = `window.__desk = {
  async put(item) {
    window.dispatchEvent(new Event("blur"));
    await navigator.clipboard.write([new ClipboardItem(item)]);
  },
  text: (s) => __desk.put({"text/plain": new Blob([s], {type: "text/plain"})}),
  async picture(w, h, colour) {
    const c = new OffscreenCanvas(w, h), g = c.getContext("2d");
    g.fillStyle = colour;
    g.fillRect(0, 0, w, h);
    await __desk.put({"image/png": await c.convertToBlob({type: "image/png"})});
  },
  // What is there: a text, or a picture's size and the colour in its middle.
  async holds() {
    const [item] = await navigator.clipboard.read();
    if (!item) return "nothing";
    if (item.types.includes("image/png")) {
      const b = await createImageBitmap(await item.getType("image/png"));
      const g = new OffscreenCanvas(b.width, b.height).getContext("2d");
      g.drawImage(b, 0, 0);
      const [r, gr, bl, a] = g.getImageData(b.width >> 1, b.height >> 1, 1, 1).data;
      return "picture " + b.width + "x" + b.height + " " + [r, gr, bl, a].join(",");
    }
    return "text " + await (await item.getType("text/plain")).text();
  },
};`

func deskOf(t *testing.T, p *browser.Page) desk {
	t.Helper()
	if err := errors.Join(p.Permit("clipboard-read", browser.Granted), p.Permit("clipboard-write", browser.Granted), p.Do(deskJS)); err != nil {
		t.Fatal(err)
	}
	return desk{p}
}

func (d desk) do(t *testing.T, js string) {
	t.Helper()
	if _, err := browser.Eval[bool](d.p, 15*time.Second, "(async () => { await __desk."+js+"; return true; })()"); err != nil {
		t.Fatal(err)
	}
}

func (d desk) holds() (string, error) {
	return browser.Eval[string](d.p, 15*time.Second, "__desk.holds()")
}

// areaOf counts the pixels of a colour on the remote screen.
func areaOf(x *xclient.Screen, r, g, b uint8) (int, error) {
	img, err := artist.Screenshot(x)
	if err != nil {
		return 0, err
	}
	n := 0
	for i := 0; i < len(img.Pix); i += 4 {
		if img.Pix[i] == r && img.Pix[i+1] == g && img.Pix[i+2] == b {
			n++
		}
	}
	return n, nil
}

// covers tells whether a good part of the remote screen has a colour.
func covers(x *xclient.Screen, r, g, b uint8) error {
	n, err := areaOf(x, r, g, b)
	if err == nil && n < 1000 {
		err = fmt.Errorf("%d pixels have its colour", n)
	}
	return err
}

// An artist copies a picture on the desk and pastes it into GIMP; copies in GIMP and has it on the desk.
func TestPicturesCrossByTheClipboard(t *testing.T) {
	w := get(t)
	p, x, _ := w.newImage(t)
	d := deskOf(t, p)
	key := func(name string) browser.Key {
		return browser.Key{Key: name, Code: "Key" + strings.ToUpper(name), Windows: int64(strings.ToUpper(name)[0])}
	}
	control := func(name string) {
		t.Helper()
		if err := artist.Control(p, key(name)); err != nil {
			t.Fatal(err)
		}
	}
	d.do(t, `picture(120, 80, "#ff00fe")`)
	control("v")
	eventually(t, 30*time.Second, "the desk's picture is in GIMP's image", func() error { return covers(x, 255, 0, 254) })
	// Another one, at once: the key that pastes waits for it.
	d.do(t, `picture(90, 90, "#00fe01")`)
	control("v")
	eventually(t, 30*time.Second, "the next picture is in GIMP's image", func() error { return covers(x, 0, 254, 1) })
	// The whole image, flattened by "copy visible" (Ctrl+Shift+C), comes to the desk.
	control("a")
	if err := artist.ControlShift(p, browser.Key{Key: "C", Code: "KeyC", Windows: 67}); err != nil {
		t.Fatal(err)
	}
	var held string
	eventually(t, 30*time.Second, "what was copied in GIMP is on the desk", func() error {
		var err error
		held, err = d.holds()
		if err == nil && (!strings.HasPrefix(held, "picture ") || strings.Contains(held, " 90x90 ")) {
			err = fmt.Errorf("it holds %s", held)
		}
		return err
	})
	if !strings.HasSuffix(held, " 0,254,1,255") {
		t.Errorf("the desk has %s, and in its middle should be the last picture that was pasted", held)
	}
}

// What artists copy on their desks to paste it into GIMP: words of two scripts.
const (
	asciiText    = "The quick brown fox: 5 > 3 & \"so\" on."
	japaneseText = "素早い茶色の狐が、のろまな犬を飛び越える。🎨"
)

// textsIn is how many texts have come into sessions.
func textsIn(t *testing.T, w *world) string {
	t.Helper()
	_, rest, _ := strings.Cut(w.metrics(t), `easel_clipboard_contents_total{direction="in",kind="text"} `)
	n, _, _ := strings.Cut(rest, "\n")
	return n
}

// writer is an artist with a browser who writes in GIMP's text tool.
type writer struct {
	copies func(text string)          // on the desk
	holds  func() (string, error)     // what the desk has
	press  func(keys ...string) error // the last of them; the others are held
	page   func(js string) (bool, error)
}

// pastesTexts has an artist paste texts from the desk over what is there, and copy all of it. What GIMP has comes back to the desk.
func (w *world) pastesTexts(t *testing.T, a writer, texts ...string) {
	t.Helper()
	for _, text := range texts {
		t.Logf("%.50q, %d bytes", text, len(text))
		a.copies(text)
		before := textsIn(t, w)
		must(t, errors.Join(a.press("Control", "a"), a.press("x"), a.press("Control", "v")))
		eventually(t, 60*time.Second, "GIMP asks for the text", func() error {
			if now := textsIn(t, w); now != before {
				return nil
			}
			late, err := a.page(`(() => { const e = document.querySelector("#toast"), is = e.textContent.includes("in time"); if (is) e.textContent = ""; return is; })()`)
			if late { // as the page tells the artist
				err = errors.Join(err, a.press("Control", "v"))
			}
			return errors.Join(fmt.Errorf("%s texts have come in", before), err)
		})
		must(t, a.press("y"))
		want, last, pressed := "x"+text+"y", "", time.Time{}
		eventually(t, 90*time.Second, "GIMP's text is on the desk", func() error {
			got, err := a.holds()
			if err != nil || got == want {
				return err
			}
			// GIMP is asked again once it has answered: it may be busy.
			if got != last || time.Since(pressed) > 10*time.Second {
				last, pressed = got, time.Now()
				err = errors.Join(a.press("Control", "a"), a.press("Control", "c"))
			}
			return errors.Join(fmt.Errorf("it holds %.100q, %d bytes of %d", got, len(got), len(want)), err)
		})
	}
}

// What an artist writes on the desk is pasted into GIMP's text tool, and what is copied there comes to the desk.
func TestTextCrossesByTheClipboard(t *testing.T) {
	w := get(t)
	p, x, canvas := w.newImage(t)
	d := deskOf(t, p)
	textEditor(t, p, x, canvas)
	w.pastesTexts(t, writer{
		copies: func(text string) {
			coded, err := json.Marshal(text)
			must(t, err)
			d.do(t, "text("+string(coded)+")")
		},
		holds: func() (string, error) {
			got, err := d.holds()
			return strings.TrimPrefix(got, "text "), err
		},
		press: func(keys ...string) error {
			last := keys[len(keys)-1]
			k := browser.Key{Key: last, Code: "Key" + strings.ToUpper(last), Windows: int64(strings.ToUpper(last)[0])}
			if len(keys) > 1 {
				return artist.Control(p, k)
			}
			return p.Type(k)
		},
		page: func(js string) (bool, error) { return browser.Eval[bool](p, 10*time.Second, js) },
	}, asciiText, japaneseText)
	if metrics := w.metrics(t); !strings.Contains(metrics, `easel_clipboard_contents_total{direction="out",kind="text"}`) {
		t.Error("the node's metrics say nothing of texts that went out")
	}
}

// The node tells the page when GIMP has done what a key that pastes told it: on the canvas, where GIMP pastes no text, and in its text tool, where it has
// the text by then.
func TestNodeTellsWhenGIMPHasPasted(t *testing.T) {
	w := get(t)
	s := w.session(t)
	const hears = `(() => {
  const make = RTCPeerConnection.prototype.createDataChannel;
  window.clips = [];
  RTCPeerConnection.prototype.createDataChannel = function (label, options) {
    const channel = make.call(this, label, options);
    if (label === "clipboard") channel.addEventListener("message", (e) => clips.push(new Uint8Array(e.data)[0]));
    return channel;
  };
})()`
	p := w.unscaledIn(t, s.ID, browser.PageOptions{Width: 1600, Height: 900, Script: hears}, "")
	x := w.x(t, s.ID)
	canvas, err := artist.NewImage(p, x)
	must(t, err)
	d := deskOf(t, p)
	const has, past = 10, 11
	pastes := func(text string) []int {
		t.Helper()
		d.do(t, fmt.Sprintf("text(%q)", text))
		must(t, p.Do("clips.length = 0"))
		must(t, artist.Control(p, browser.Key{Key: "v", Code: "KeyV", Windows: 86}))
		must(t, p.Until(60*time.Second, fmt.Sprintf("clips.includes(%d)", past)))
		heard, err := browser.Eval[[]int](p, 10*time.Second, "clips")
		must(t, err)
		return heard
	}
	if heard := pastes("for the canvas"); slices.Contains(heard, has) {
		t.Errorf("GIMP's canvas has taken a text: the page hears %v", heard)
	}
	textEditor(t, p, x, canvas)
	for range 5 {
		if heard := pastes("for the text tool " + tag()); !slices.Contains(heard, has) || slices.Index(heard, has) > slices.Index(heard, past) {
			t.Errorf("GIMP is done with pasting before it has the text: the page hears %v", heard)
		}
	}
}
