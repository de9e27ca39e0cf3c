package display

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"easel/pkg/display/xorgtest"
)

// hasty is patience for tests of those who try it.
var hasty = patience{answer: 2 * time.Second, idle: time.Second, whole: 3 * time.Second}

func openClipboard(t testing.TB, s *xorgtest.Server, p patience) *Clipboard {
	t.Helper()
	d := open(t, s)
	c, err := d.openClipboard(t.Context(), Config{Dial: s.Dial, Cookie: s.Cookie, Log: slog.New(slog.DiscardHandler)}, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close) // before the display's
	return c
}

// copied waits until the clipboard is told of what was copied, and asks for its formats.
func copied(t testing.TB, c *Clipboard) Formats {
	t.Helper()
	wait(t, "a change of the clipboard", c.Changed())
	s, err := c.Formats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(c *Clipboard, f Format) ([]byte, error) {
	var all []byte
	err := c.Read(context.Background(), f, func(b []byte) error {
		all = append(all, b...)
		return nil
	})
	return all, err
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestClipboardReadsWhatOthersCopy(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	text, picture := []byte("drei Äpfel 🎨"), noise(3<<20)
	a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": text, "text/html": []byte("<b>drei</b>"), "image/png": picture, "image/bmp": noise(10)})
	if got := copied(t, c); got != FormatsOf(ClipText, ClipHTML, ClipPNG) {
		t.Fatalf("formats %b", got)
	}
	for f, want := range map[Format][]byte{ClipText: text, ClipHTML: []byte("<b>drei</b>"), ClipPNG: picture} {
		if got, err := read(c, f); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d bytes", f, len(got), err, len(want))
		}
	}
	a.Copy(t, xorgtest.Honest, map[string][]byte{"text/plain;charset=utf-8": {}})
	if got := copied(t, c); got != FormatsOf(ClipText) {
		t.Fatalf("formats %b", got)
	}
	if got, err := read(c, ClipText); err != nil || len(got) != 0 {
		t.Fatalf("an empty text: %q, %v", got, err)
	}
	if _, err := read(c, ClipPNG); !errors.Is(err, ErrNoContent) {
		t.Fatalf("a picture that is not there: %v", err)
	}
}

func TestClipboardRefusesWhatIsTooLarge(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	for _, habit := range []xorgtest.Habit{xorgtest.Honest, xorgtest.Whole} {
		for _, size := range []int{MaxClipText + 1, 16 * MaxClipText} {
			a.Copy(t, habit, map[string][]byte{"UTF8_STRING": noise(size)})
			copied(t, c)
			if got, err := read(c, ClipText); !errors.Is(err, ErrTooLarge) || len(got) > MaxClipText {
				t.Fatalf("%d bytes, habit %d: %d were read, %v", size, habit, len(got), err)
			}
		}
		text := noise(MaxClipText)
		a.Copy(t, habit, map[string][]byte{"UTF8_STRING": text})
		copied(t, c)
		if got, err := read(c, ClipText); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("the largest text, habit %d: %d bytes, %v", habit, len(got), err)
		}
	}
}

func TestClipboardOutlivesBadOwners(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, hasty), s.Application(t)
	for _, bad := range []struct {
		name  string
		habit xorgtest.Habit
		want  error
	}{
		{"never answers", xorgtest.Silent, ErrOwnerSilent},
		{"sends pieces without end", xorgtest.Endless, ErrTooLarge},
		{"stops in the middle", xorgtest.Stuck, ErrOwnerSilent},
		{"sends byte by byte", xorgtest.ByteWise, ErrOwnerSilent},
	} {
		t.Run(bad.name, func(t *testing.T) {
			a.Copy(t, bad.habit, map[string][]byte{"UTF8_STRING": noise(MaxClipText)})
			copied(t, c)
			began := time.Now()
			got, err := read(c, ClipText)
			if !errors.Is(err, bad.want) || len(got) > MaxClipText {
				t.Fatalf("%d bytes, %v; want %v", len(got), err, bad.want)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Fatalf("it took %v", took)
			}
		})
	}
	a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": []byte("after")})
	comes(t, c, "after")
}

// comes waits until a text is on the clipboard.
func comes(t testing.TB, c *Clipboard, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		s, err := c.Formats(t.Context())
		if err == nil && s == FormatsOf(ClipText) {
			var got []byte
			if got, err = read(c, ClipText); err == nil && string(got) == want {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q never came: formats %b, %v", want, s, err)
		}
	}
}

// A list of targets is an owner's to make: it may be long, odd, or no list at all.
func TestClipboardReadsHostileLists(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	many := make(map[string][]byte)
	for i := range maxTargets + 1 {
		many["x-easel/"+strings.Repeat("x", i%200)+string(rune('a'+i%26))+time.Duration(i).String()] = nil
	}
	a.Copy(t, xorgtest.Honest, many)
	wait(t, "a change of the clipboard", c.Changed())
	if _, err := c.Formats(t.Context()); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("%d targets: %v", len(many), err)
	}
	for _, list := range [][]byte{nil, {1}, noise(4097), bytes.Repeat([]byte{255}, 4096)} {
		if got := c.noteTargets(list); got != 0 {
			t.Fatalf("a list of %d bytes has formats %b", len(list), got)
		}
	}
}

func TestClipboardFollowsAFloodOfOwners(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	b := s.Application(t)
	for i := range 2000 {
		[]*xorgtest.Application{a, b}[i%2].Copy(t, xorgtest.Silent, map[string][]byte{"UTF8_STRING": []byte("no")})
	}
	a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": []byte("the last")})
	comes(t, c, "the last")
}

// What is read of an owner ends when there is another one.
func TestClipboardLeavesAnOwnerThatIsNoMore(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	a.Copy(t, xorgtest.Silent, map[string][]byte{"UTF8_STRING": []byte("no")})
	copied(t, c)
	ended := make(chan error, 1)
	go func() {
		_, err := read(c, ClipText)
		ended <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); a.Asked("UTF8_STRING") == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the text was never asked for")
		}
	}
	s.Application(t).Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": []byte("yes")})
	select {
	case err := <-ended:
		if !errors.Is(err, ErrNoContent) {
			t.Fatalf("the reading ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("it still waits for the owner before")
	}
}

// contents is a Source in memory.
type contents map[Format][]byte

func (c contents) Fetch(_ context.Context, f Format) (io.ReadCloser, error) {
	b, ok := c[f]
	if !ok {
		return nil, ErrNoContent
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (contents) Asked() {}

func (c contents) formats() (s Formats) {
	for f := range c {
		s |= FormatsOf(f)
	}
	return s
}

func TestClipboardHandsOverWhatItOwns(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	mine := contents{ClipText: []byte("vom Tisch"), ClipPNG: noise(5<<20 + 3)}
	if err := c.Own(t.Context(), mine.formats(), mine); err != nil {
		t.Fatal(err)
	}
	names, err := a.Targets(t.Context())
	if err != nil || !slices.Contains(names, "image/png") || !slices.Contains(names, "UTF8_STRING") || slices.Contains(names, "text/html") {
		t.Fatalf("targets %v, %v", names, err)
	}
	for target, want := range map[string][]byte{"UTF8_STRING": mine[ClipText], "TEXT": mine[ClipText], "image/png": mine[ClipPNG]} {
		if got, err := a.Paste(t.Context(), target); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", target, len(got), err, len(want))
		}
	}
	if got, err := a.Paste(t.Context(), "text/html"); err == nil {
		t.Errorf("what is not offered was handed over: %q", got)
	}
	if got, err := a.Paste(t.Context(), "TIMESTAMP"); err != nil || len(got) != 4 {
		t.Errorf("timestamp % x, %v", got, err)
	}
	if s, err := c.Formats(t.Context()); !errors.Is(err, ErrOwnContent) || s != 0 {
		t.Errorf("what is our own is offered to us: %b, %v", s, err)
	}
	if err := c.Own(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Paste(t.Context(), "UTF8_STRING"); err == nil {
		t.Errorf("what was taken away was handed over: %q", got)
	}
}

// told is a content that says when it is let go.
type told struct {
	io.Reader
	closed func()
}

func (t told) Close() error { t.closed(); return nil }

// source is a Source that counts how often it is asked about.
type source struct {
	asked atomic.Int32
	fetch func() io.ReadCloser
}

func (s *source) Asked() { s.asked.Add(1) }

func (s *source) Fetch(context.Context, Format) (io.ReadCloser, error) { return s.fetch(), nil }

// A content is let go once the application has been told that it is there, however large it is: who counts on that may have the application do something
// with it.
func TestClipboardLetsGoOfWhatWasHandedOver(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	for _, size := range []int{0, 10, pieceBytes, pieceBytes + 1, 3 * pieceBytes} {
		text, closed := noise(size), make(chan struct{})
		from := &source{fetch: func() io.ReadCloser { return told{bytes.NewReader(text), func() { close(closed) }} }}
		if err := c.Own(t.Context(), FormatsOf(ClipText), from); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Paste(t.Context(), "x-of-its-own"); err == nil {
			t.Fatalf("what is not offered was handed over: %d bytes", len(got))
		}
		if got, err := a.Paste(t.Context(), "TEXT"); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d of %d bytes, %v", len(got), size, err)
		}
		wait(t, "the content's end", closed)
		if n := from.asked.Load(); n != 2 {
			t.Errorf("it was asked about %d times", n)
		}
	}
}

// Somebody who copies takes the clipboard from us, whatever was asked of us before.
func TestClipboardLosesOwnershipToWhoCopies(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	mine := contents{ClipText: []byte("mine")}
	for range 50 {
		if err := c.Own(t.Context(), mine.formats(), mine); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Paste(t.Context(), "UTF8_STRING"); err != nil || string(got) != "mine" {
			t.Fatalf("%q, %v", got, err)
		}
		a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": []byte("theirs")})
		copied(t, c)
		if got, err := read(c, ClipText); err != nil || string(got) != "theirs" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

// stalled is a Source whose content never comes.
type stalled struct{}

func (stalled) Asked() {}

func (stalled) Fetch(ctx context.Context, _ Format) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestClipboardOutlivesBadRequestors(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, hasty), s.Application(t)
	if err := c.Own(t.Context(), FormatsOf(ClipText), stalled{}); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // more than are answered at once
		a.Ask("UTF8_STRING")
	}
	large := contents{ClipPNG: noise(1 << 20), ClipText: []byte("text")}
	if err := c.Own(t.Context(), large.formats(), large); err != nil {
		t.Fatal(err)
	}
	for range maxAnswers { // asks for pieces and takes none
		a.Ask("image/png")
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if got, err := a.Paste(t.Context(), "UTF8_STRING"); err == nil && string(got) == "text" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an honest request is never met again")
		}
	}
	if got, err := a.Paste(t.Context(), "image/png"); err != nil || !bytes.Equal(got, large[ClipPNG]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}
