package integration

import (
	"errors"
	"fmt"
	"image"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
	"easel/pkg/display/xorgtest"
)

// ibus is the input methods of an artist's desk: Debian's IBus with its engines.
type ibus struct {
	env  []string // of programs that type by it
	dir  string
	desk *xorgtest.Server
}

// ibusSettings have Japanese begin in Hiragana and Korean in Hangul: else a key would have to switch to it first.
const ibusSettings = "[org/freedesktop/ibus/engine/anthy/common]\ninput-mode=0\n\n[org/freedesktop/ibus/engine/hangul]\ninitial-input-mode='hangul'\n"

// startIBus starts it on a desk, with a session bus by which programs find whether it runs, until the test ends.
func startIBus(t *testing.T, desk *xorgtest.Server) *ibus {
	t.Helper()
	b := &ibus{dir: t.TempDir(), desk: desk}
	settings := filepath.Join(b.dir, "config/glib-2.0/settings/keyfile")
	must(t, errors.Join(os.MkdirAll(filepath.Dir(settings), 0o700), os.WriteFile(settings, []byte(ibusSettings), 0o600)))
	bus, address := filepath.Join(b.dir, "bus"), filepath.Join(b.dir, "ibus")
	b.env = append(desk.Env(), "DBUS_SESSION_BUS_ADDRESS=unix:path="+bus, "IBUS_ADDRESS=unix:path="+address, "GTK_IM_MODULE=ibus", "XMODIFIERS=@im=ibus",
		"IBUS_DISABLE_SNOOPER=1", "IBUS_ENABLE_SYNC_MODE=1") // a key waits for the engine, however busy the machine
	b.serves(t, bus, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog", "--address=unix:path="+bus)
	b.serves(t, address, "ibus-daemon", "--address=unix:path="+address, "--cache=none")
	return b
}

// serves starts a daemon that listens at a socket, until the test ends.
func (b *ibus) serves(t *testing.T, socket, name string, args ...string) {
	t.Helper()
	var said strings.Builder
	cmd := b.command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s (Debian's packages dbus-daemon, ibus, ibus-gtk3 and IBus's engines): %v", name, err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with what it started: engines, and IBus's window
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, said.String())
		}
	})
	eventually(t, 30*time.Second, name+" listens", func() error {
		_, err := os.Stat(socket)
		return err
	})
}

func (b *ibus) command(name string, args ...string) *exec.Cmd {
	c := b.desk.Command(name, args...)
	c.Env = append(c.Env, b.env...)
	c.Env = append(c.Env, "HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir+"/config", "XDG_CACHE_HOME="+b.dir+"/cache", "XDG_RUNTIME_DIR="+b.dir,
		"GSETTINGS_BACKEND=keyfile", "NO_AT_BRIDGE=1", "LANG=C.UTF-8",
		"PATH=/usr/bin:/bin") // an engine is written in Debian's Python
	return c
}

// uses has the artist choose an engine, and waits until it is in use.
func (b *ibus) uses(t *testing.T, engine string) {
	t.Helper()
	eventually(t, 60*time.Second, "the input method is "+engine, func() error {
		// It says that it failed where it cannot change the keyboard's layout too. What counts is what it says is in use.
		changed, _ := b.command("ibus", "engine", engine).CombinedOutput()
		out, err := b.command("ibus", "engine").CombinedOutput()
		if now := strings.TrimSpace(string(out)); err != nil || now != engine {
			return fmt.Errorf("it is %q (%v; %s)", now, err, changed)
		}
		return nil
	})
}

// typist is an artist who types on a desk, into a session that a browser shows there.
type typist struct {
	t    *testing.T
	desk *xorgtest.Application
	x    *xclient.Screen // the session's
	// What is pressed with Control is the driver's: Chromium keeps Control-N of a real keyboard, and where keys come as fast as a test's, it tells
	// the page of the letter before the Control that IBus has handed back.
	fresh func() error // image: Control-N, then Return
	copy  func() error // all: Control-A, Control-C
	click func(at image.Point) error
	eval  func(js string, into any) error
}

// noteOffset has a page note where on the desk it lies, at the first press of the mouse.
const noteOffset = `(() => {
	addEventListener("pointerdown", (e) => { window.__offset ??= { x: e.screenX - e.clientX, y: e.screenY - e.clientY }; }, true);
	return {};
})()`

// typed is how things are where keys arrive in the page.
type typed struct {
	Composing           bool
	Value, Opacity      string
	X, Y, Width, Height float64
	Offset              struct{ X, Y float64 } // of the page on the desk
}

const typedJS = `(() => {
	const e = document.querySelector("#keys"), r = e.getBoundingClientRect();
	return { composing: "composing" in e.dataset, value: e.value, opacity: getComputedStyle(e).opacity,
		x: r.x, y: r.y, width: r.width, height: r.height, offset: window.__offset };
})()`

// types presses keys, and waits until things are as they should be.
func (w *typist) types(keys, what string, fits func(typed) bool) (now typed) {
	w.t.Helper()
	for _, k := range keys {
		sym := xproto.Keysym(k)
		switch k {
		case '\n':
			sym = xorgtest.KeyReturn
		case '\x1b':
			sym = xorgtest.KeyEscape
		}
		w.desk.Type(w.t, sym)
	}
	eventually(w.t, 30*time.Second, what, func() error {
		now = typed{}
		err := w.eval(typedJS, &now)
		if err == nil && !fits(now) {
			err = fmt.Errorf("%+v", now)
		}
		return err
	})
	return now
}

// composes types keys of which the input method makes one of the texts, which can be seen.
func (w *typist) composes(keys string, texts ...string) typed {
	w.t.Helper()
	now := w.types(keys, fmt.Sprintf("%q is composed of %q", texts, keys), func(now typed) bool { return now.Composing && slices.Contains(texts, now.Value) })
	if now.Opacity != "1" || now.Width < 8 || now.Height < 8 {
		w.t.Errorf("what is composed cannot be seen: %+v", now)
	}
	return now
}

// commits types keys after which nothing is being composed.
func (w *typist) commits(keys string) {
	w.t.Helper()
	w.types(keys, fmt.Sprintf("%q ends what is composed", keys), func(now typed) bool { return !now.Composing && strings.TrimSpace(now.Value) == "" })
}

// begins opens the text tool's editor on a new image, and says where.
func (w *typist) begins() (at image.Point) {
	w.t.Helper()
	must(w.t, artist.Settled(w.x, nil, 60*time.Second))
	must(w.t, w.fresh())
	canvas, err := artist.Canvas(w.x, func(r image.Rectangle) bool { return r.Dx() >= 300 && r.Dy() >= 200 })
	must(w.t, err)
	at = image.Pt(canvas.Min.X+canvas.Dx()/5, canvas.Min.Y+canvas.Dy()/4)
	draws(w.t, w.x, "the text tool", func() error { w.desk.Type(w.t, 't'); return nil })
	draws(w.t, w.x, "its editor", func() error { return w.click(at) })
	return at
}

// near says whether what is composed lies at a place of the session's screen, which lies pixel on pixel at the page's corner.
func (now typed) near(at image.Point) bool {
	return math.Abs(now.X-float64(at.X)) < 40 && math.Abs(now.Y-float64(at.Y)) < 60
}

// write types Japanese, Chinese and Korean into GIMP's text tool.
func (w *typist) write(m *ibus) {
	w.t.Helper()
	at := w.begins()
	m.uses(w.t, "anthy")
	first := w.composes("nihon", "にほん", "にほn")
	if !first.near(at) {
		w.t.Errorf("what is composed is at %g,%g, the text at %v", first.X, first.Y, at)
	}
	w.composes(" ", "日本")
	w.commits("\n") // which is no new line: the next is
	w.commits("\n")
	w.composes("ka", "か")
	w.commits("\x1b") // taken back; GIMP would leave its editor by this key
	m.uses(w.t, "libpinyin")
	w.composes("nihao", "你好", "ni hao", "nihao")
	w.offers()
	w.commits(" ")
	m.uses(w.t, "hangul")
	w.composes("gks", "한")
	w.composes("rmf", "글")
	w.commits(" ")
	copies(w.t, w.x, "日本\n你好한글 ", w.copy)
	letsGo(w.t, w.x)
}

// offers waits until the input method offers words beside what is composed.
func (w *typist) offers() {
	w.t.Helper()
	eventually(w.t, 30*time.Second, "words are offered beside what is composed", func() error {
		var now typed
		if err := w.eval(typedJS, &now); err != nil {
			return err
		}
		words, err := w.desk.Shown("ibus-ui-gtk3")
		if err != nil {
			return err
		}
		x, y := now.X+now.Offset.X, now.Y+now.Offset.Y
		if math.Abs(float64(words.Min.X)-x) > 120 || math.Abs(float64(words.Min.Y)-y) > 120 {
			return fmt.Errorf("the words are at %v, what is composed at %g,%g", words, x, y)
		}
		return nil
	})
}

// An artist's real input methods (IBus, on a desk's real keyboard) compose in Chromium, and GIMP's text tool has what they commit, once.
func TestInputMethodInChromium(t *testing.T) {
	w := get(t)
	s := w.session(t)
	desk := xorgtest.Start(t)
	m := startIBus(t, desk)
	p := w.chromiumOn(t, s.ID, m.env)
	a := &typist{t: t, desk: desk.Application(t), x: w.x(t, s.ID)}
	a.fresh = func() error { _, err := artist.NewImage(p, a.x); return err }
	a.copy = func() error { return copyAll(p) }
	a.click = func(at image.Point) error { return p.Click(float64(at.X), float64(at.Y), browser.Left) }
	a.eval = func(js string, into any) error { return evalIn(p, js, into) }
	must(t, a.eval(noteOffset, &struct{}{}))
	a.desk.Enter(t, "chromium")
	must(t, p.Until(30*time.Second, "document.hasFocus() && window.__offset"))
	a.write(m)
}

// The same in Debian's Firefox.
func TestInputMethodInFirefox(t *testing.T) {
	w := get(t)
	s := w.session(t)
	desk := xorgtest.Start(t)
	m := startIBus(t, desk)
	f, err := browser.StartFirefoxOn(t.Context(), m.env)
	w.showsIn(t, s.ID, f, err, "&scale=1&chrome=0", "window.easel?.state === 'connected' && window.easel.stats().width === Math.floor(innerWidth / 2) * 2")
	a := &typist{t: t, desk: desk.Application(t), x: w.x(t, s.ID)}
	a.fresh = func() error {
		draws(t, a.x, "the dialog of a new image", func() error { return f.Chord(t.Context(), browser.ControlKey, "n") })
		return f.Chord(t.Context(), browser.EnterKey)
	}
	a.copy = func() error {
		return errors.Join(f.Chord(t.Context(), browser.ControlKey, "a"), f.Chord(t.Context(), browser.ControlKey, "c"))
	}
	a.click = func(at image.Point) error { return f.Click(t.Context(), at.X, at.Y) }
	a.eval = func(js string, into any) error { return f.Eval(t.Context(), js, into) }
	must(t, a.eval(noteOffset, &struct{}{}))
	a.desk.Enter(t, "firefox")
	must(t, f.Until(t.Context(), 30*time.Second, "document.hasFocus() && window.__offset"))
	a.write(m)
}
