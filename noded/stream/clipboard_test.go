package stream

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"sync"
	"testing"
	"time"

	"easel/noded/stream/clipboard"
	"easel/noded/stream/contract"
	"easel/pkg/display"
	"easel/pkg/display/xorgtest"

	"github.com/pion/webrtc/v4"
)

// clipViewer is a viewer's clipboard channel.
type clipViewer struct {
	t       testing.TB
	s       *session
	channel *webrtc.DataChannel

	mu       sync.Mutex
	heard    []clipboard.Message
	contents map[display.Format][]byte // served when they are fetched
	serial   uint32
	mute     bool // answers nothing
}

func connectClip(t testing.TB, s *session) *clipViewer {
	t.Helper()
	v := &clipViewer{t: t, s: s}
	connectWith(t, s, func(pc *webrtc.PeerConnection) {
		c, err := pc.CreateDataChannel("clipboard", nil)
		if err != nil {
			t.Fatal(err)
		}
		v.channel = c
		c.OnMessage(func(m webrtc.DataChannelMessage) { v.hear(m.Data) })
	})
	v.await("its policy", func(m clipboard.Message) bool { return m.Kind == clipboard.Ways })
	return v
}

func (v *clipViewer) hear(b []byte) {
	m := clipboard.Message{Kind: b[0], What: b[1], How: b[2], Serial: binary.LittleEndian.Uint32(b[4:]), Data: bytes.Clone(b[clipboard.HeaderBytes:])}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heard = append(v.heard, m)
	if m.Kind != clipboard.Fetch || v.mute {
		return
	}
	content, ok := v.contents[m.Format()]
	if !ok || m.Serial != v.serial {
		v.say(clipboard.Message{Kind: clipboard.End, What: m.What, How: clipboard.Gone, Serial: m.Serial})
		return
	}
	for len(content) > 0 {
		n := min(len(content), clipboard.MaxMessage-clipboard.HeaderBytes)
		v.say(clipboard.Message{Kind: clipboard.Data, What: m.What, Serial: m.Serial, Data: content[:n]})
		content = content[n:]
	}
	v.say(clipboard.Message{Kind: clipboard.End, What: m.What, Serial: m.Serial})
}

func (v *clipViewer) say(m clipboard.Message) {
	if err := v.channel.Send(m.Append(nil)); err != nil {
		v.t.Errorf("send: %v", err)
	}
}

// offer copies something on the viewer's desk, and returns what of it the session has taken.
func (v *clipViewer) offer(contents map[display.Format][]byte) display.Formats {
	v.t.Helper()
	var formats display.Formats
	for f := range contents {
		formats |= display.FormatsOf(f)
	}
	v.mu.Lock()
	v.serial++
	v.contents = contents
	serial := v.serial
	v.mu.Unlock()
	v.say(clipboard.Message{Kind: clipboard.Offer, What: uint8(formats), Serial: serial})
	m := v.await("an answer to its offer", func(m clipboard.Message) bool { return m.Kind == clipboard.Taken && m.Serial == serial })
	return display.Formats(m.What)
}

// await waits for a message, and returns the last one that fits.
func (v *clipViewer) await(what string, fits func(clipboard.Message) bool) clipboard.Message {
	v.t.Helper()
	var found clipboard.Message
	v.s.await(v.t, what, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for i := len(v.heard) - 1; i >= 0; i-- {
			if fits(v.heard[i]) {
				found = v.heard[i]
				return true
			}
		}
		return false
	})
	return found
}

// offered waits for the offer of what was copied in the session.
func (v *clipViewer) offered(formats display.Formats) clipboard.Message {
	v.t.Helper()
	return v.await("the session's offer", func(m clipboard.Message) bool { return m.Kind == clipboard.Offer && display.Formats(m.What) == formats })
}

// fetch fetches one content of an offer of the session's.
func (v *clipViewer) fetch(offer clipboard.Message, f display.Format) ([]byte, uint8) {
	v.t.Helper()
	v.mu.Lock()
	v.heard = nil
	v.mu.Unlock()
	v.say(clipboard.Message{Kind: clipboard.Fetch, What: uint8(f), Serial: offer.Serial})
	end := v.await("the end of a content", func(m clipboard.Message) bool { return m.Kind == clipboard.End && m.Format() == f })
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []byte
	for _, m := range v.heard {
		if m.Kind == clipboard.Data && m.Format() == f {
			all = append(all, m.Data...)
		}
	}
	return all, end.How
}

// picture is a PNG of some size on the wire.
func picture(t testing.TB, w, h int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	state := uint32(1)
	for i := range img.Pix {
		state = state*1664525 + 1013904223
		img.Pix[i] = byte(state >> 24)
	}
	img.Set(0, 0, color.NRGBA{R: 1, G: 2, B: 3, A: 255})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bomb is a PNG that says it is of any size.
func bomb(w, h uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	b = binary.BigEndian.AppendUint32(b, w)
	b = binary.BigEndian.AppendUint32(b, h)
	return append(b, 8, 6, 0, 0, 0, 1, 2, 3, 4)
}

// clipSession is a session whose clipboard a viewer and an application share.
func clipSession(t testing.TB) (*session, *xorgtest.Application, *clipViewer) {
	t.Helper()
	s := startSession(t)
	a := s.x.Application(t)
	s.ready(t)
	v := connectClip(t, s)
	// The display is there when what is copied is offered.
	s.await(t, "the session's clipboard", func() bool {
		a.Copy(t, xorgtest.Honest, map[string][]byte{"text/html": []byte("x")})
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, m := range v.heard {
			if m.Kind == clipboard.Offer {
				return true
			}
		}
		return false
	})
	return s, a, v
}

func TestClipboardGoesOut(t *testing.T) {
	s, a, v := clipSession(t)
	text, img := []byte("grün\x00 🎨"), picture(t, 400, 300)
	a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": text, "image/png": img})
	offer := v.offered(display.FormatsOf(display.ClipText, display.ClipPNG))
	if got, how := v.fetch(offer, display.ClipText); how != clipboard.Whole || !bytes.Equal(got, text) {
		t.Fatalf("the text: %q, outcome %d", got, how)
	}
	if got, how := v.fetch(offer, display.ClipPNG); how != clipboard.Whole || !bytes.Equal(got, img) {
		t.Fatalf("the picture: %d of %d bytes, outcome %d", len(got), len(img), how)
	}
	if got, how := v.fetch(offer, display.ClipHTML); how != clipboard.Gone || len(got) > 0 {
		t.Fatalf("what is not there: %q, outcome %d", got, how)
	}
	if got, how := v.fetch(clipboard.Message{Serial: offer.Serial - 1}, display.ClipText); how != clipboard.Gone || len(got) > 0 {
		t.Fatalf("what was copied before: %q, outcome %d", got, how)
	}
	want := contract.Crossed{Text: contract.Count{N: 1, Bytes: int64(len(text))}, PNG: contract.Count{N: 1, Bytes: int64(len(img))}}
	s.await(t, "its count", func() bool { return s.health(t, 0).Clipboard.Out == want })
}

func TestClipboardComesIn(t *testing.T) {
	s, a, v := clipSession(t)
	text, img := []byte("vom Tisch"), picture(t, 600, 300)
	formats := display.FormatsOf(display.ClipText, display.ClipPNG)
	if got := v.offer(map[display.Format][]byte{display.ClipText: text, display.ClipPNG: img}); got != formats {
		t.Fatalf("taken %b", got)
	}
	if n := v.count(clipboard.Fetch); n != 0 {
		t.Fatalf("%d contents were fetched before anybody wanted them", n)
	}
	for range 2 { // a small content is fetched once
		if got, err := a.Paste(t.Context(), "UTF8_STRING"); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("the text: %q, %v", got, err)
		}
	}
	if n := v.count(clipboard.Fetch); n != 1 {
		t.Errorf("the text was fetched %d times", n)
	}
	if got, err := a.Paste(t.Context(), "image/png"); err != nil || !bytes.Equal(got, img) {
		t.Fatalf("the picture: %d of %d bytes, %v", len(got), len(img), err)
	}
	if _, err := a.Paste(t.Context(), "text/html"); err == nil {
		t.Fatal("what was not offered was handed over")
	}
	want := contract.Crossed{Text: contract.Count{N: 1, Bytes: int64(len(text))}, PNG: contract.Count{N: 1, Bytes: int64(len(img))}}
	s.await(t, "its count", func() bool { return s.health(t, 0).Clipboard.In == want })

	// The next offer replaces it.
	v.offer(map[display.Format][]byte{display.ClipText: []byte("next")})
	if got, err := a.Paste(t.Context(), "UTF8_STRING"); err != nil || string(got) != "next" {
		t.Fatalf("the next text: %q, %v", got, err)
	}
}

func (v *clipViewer) count(kind uint8) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.heard {
		if m.Kind == kind {
			n++
		}
	}
	return n
}

func TestClipboardPolicyClosesWays(t *testing.T) {
	s, a, v := clipSession(t)
	set := func(policy string, ways uint8) {
		t.Helper()
		if code, _, body := s.post(t, "/policy", "application/json", `{"clipboard":"`+policy+`"}`); code != http.StatusNoContent {
			t.Fatalf("%d %s", code, body)
		}
		v.await("the policy", func(m clipboard.Message) bool { return m.Kind == clipboard.Ways && m.What == ways })
	}
	v.offer(map[display.Format][]byte{display.ClipText: []byte("in")})
	set("out", clipboard.OutOpen)
	if got, err := a.Paste(t.Context(), "UTF8_STRING"); err == nil {
		t.Fatalf("%q came in after the way in was closed", got)
	}
	if got := v.offer(map[display.Format][]byte{display.ClipText: []byte("in")}); got != 0 {
		t.Fatalf("formats %b were taken although the way in is closed", got)
	}
	a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": []byte("out")})
	offer := v.offered(display.FormatsOf(display.ClipText))
	if got, how := v.fetch(offer, display.ClipText); how != clipboard.Whole || string(got) != "out" {
		t.Fatalf("%q, outcome %d", got, how)
	}
	set("in", clipboard.InOpen)
	if got, how := v.fetch(offer, display.ClipText); how != clipboard.Refused && how != clipboard.Gone || len(got) > 0 {
		t.Fatalf("%q went out after the way out was closed, outcome %d", got, how)
	}
	if code, _, _ := s.post(t, "/policy", "application/json", `{"clipboard":"sideways"}`); code != http.StatusBadRequest {
		t.Fatalf("a policy that makes no sense: %d", code)
	}
	set("off", 0)
	if got := v.offer(map[display.Format][]byte{display.ClipText: []byte("in")}); got != 0 {
		t.Fatalf("formats %b were taken although nothing is open", got)
	}
	set("both", clipboard.InOpen|clipboard.OutOpen)
	v.offer(map[display.Format][]byte{display.ClipText: []byte("in again")})
	if got, err := a.Paste(t.Context(), "UTF8_STRING"); err != nil || string(got) != "in again" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A picture of a few bytes may say that it is of any size; who shows it would take memory for that.
func TestPictureBombsDoNotCross(t *testing.T) {
	_, a, v := clipSession(t)
	for name, b := range map[string][]byte{"60000x60000": bomb(60000, 60000), "wide": bomb(40000, 1), "no size": bomb(0, 5), "no picture": []byte("GIF89a, it says")} {
		a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": nil, "image/png": b})
		offer := v.offered(display.FormatsOf(display.ClipText, display.ClipPNG))
		if got, how := v.fetch(offer, display.ClipPNG); (how != clipboard.TooLarge && how != clipboard.Broken) || len(got) > 0 {
			t.Errorf("%s went out: %d bytes, outcome %d", name, len(got), how)
		}
		a.Copy(t, xorgtest.Honest, map[string][]byte{"text/html": []byte("between")}) // its offer is not the next picture's
		v.offered(display.FormatsOf(display.ClipHTML))
		v.offer(map[display.Format][]byte{display.ClipPNG: b})
		if got, err := a.Paste(t.Context(), "image/png"); err == nil && len(got) >= 24 {
			t.Errorf("%s came in: %d bytes", name, len(got))
		}
	}
}

// A viewer that is gone, or never answers, holds nobody up for long, and what it had is gone with it.
func TestClipboardOfAViewerThatLeavesIsGone(t *testing.T) {
	s, a, v := clipSession(t)
	v.mute = true
	v.offer(map[display.Format][]byte{display.ClipText: []byte("never")})
	pasted := make(chan error, 1)
	go func() {
		_, err := a.Paste(t.Context(), "UTF8_STRING")
		pasted <- err
	}()
	v.await("being asked", func(m clipboard.Message) bool { return m.Kind == clipboard.Fetch })
	next := connectClip(t, s) // and the one before it goes
	select {
	case err := <-pasted:
		if err == nil {
			t.Fatal("a text came of nowhere")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the application still waits for a viewer that is gone")
	}
	s.await(t, "an empty clipboard", func() bool {
		_, err := a.Targets(t.Context())
		return err != nil
	})
	next.offer(map[display.Format][]byte{display.ClipText: []byte("mine")})
	if got, err := a.Paste(t.Context(), "UTF8_STRING"); err != nil || string(got) != "mine" {
		t.Fatalf("the next viewer's: %q, %v", got, err)
	}
}

// Whatever a viewer sends on the channel, picture and clipboard go on.
func TestClipboardOutlivesAFloodFromAViewer(t *testing.T) {
	s, a, v := clipSession(t)
	v.offer(map[display.Format][]byte{display.ClipText: []byte("x")})
	full := bytes.Repeat([]byte{1}, clipboard.MaxMessage-clipboard.HeaderBytes)
	// Fewer than what ends a viewer (TestFloodOnAnyChannelEndsItsViewerAlone).
	for i := range uint32(300) {
		v.say(clipboard.Message{Kind: clipboard.Offer, What: 7, Serial: i})
		v.say(clipboard.Message{Kind: clipboard.Fetch, What: uint8(i % 3), Serial: i})
		v.say(clipboard.Message{Kind: clipboard.End, What: uint8(i % 3), How: uint8(i % 9), Serial: i})
		v.say(clipboard.Message{Kind: clipboard.Stop, What: uint8(i), Serial: i})
		if i%20 == 0 {
			v.say(clipboard.Message{Kind: clipboard.Data, What: uint8(display.ClipPNG), Serial: i, Data: full})
			if err := v.channel.Send(bytes.Repeat([]byte{3}, 60<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var st Stats
	s.get(t, "/stats", &st)
	// Once its tokens are back.
	s.await(t, "another offer to be taken", func() bool {
		serial := uint32(1_000_000)
		v.mu.Lock()
		v.serial, v.contents = serial, map[display.Format][]byte{display.ClipText: []byte("after")}
		v.mu.Unlock()
		v.say(clipboard.Message{Kind: clipboard.Offer, What: 1, Serial: serial})
		time.Sleep(300 * time.Millisecond)
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, m := range v.heard {
			if m.Kind == clipboard.Taken && m.Serial == serial && m.What == 1 {
				return true
			}
		}
		return false
	})
	if got, err := a.Paste(t.Context(), "UTF8_STRING"); err != nil || string(got) != "after" {
		t.Fatalf("%q, %v", got, err)
	}
	s.get(t, "/stats", &st)
	if st.Bad == 0 {
		t.Error("nothing of it was refused")
	}
}
