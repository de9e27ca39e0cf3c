package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
	heard    []clipMessage
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
	v.await("its policy", func(m clipMessage) bool { return m.Kind == clipPolicy })
	return v
}

func (v *clipViewer) hear(b []byte) {
	m := clipMessage{Kind: b[0], What: b[1], How: b[2], Serial: binary.LittleEndian.Uint32(b[4:]), Data: bytes.Clone(b[clipHeader:])}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heard = append(v.heard, m)
	if m.Kind != clipFetch || v.mute {
		return
	}
	content, ok := v.contents[m.format()]
	if !ok || m.Serial != v.serial {
		v.say(clipMessage{Kind: clipEnd, What: m.What, How: clipGone, Serial: m.Serial})
		return
	}
	for len(content) > 0 {
		n := min(len(content), maxClipMessage-clipHeader)
		v.say(clipMessage{Kind: clipData, What: m.What, Serial: m.Serial, Data: content[:n]})
		content = content[n:]
	}
	v.say(clipMessage{Kind: clipEnd, What: m.What, Serial: m.Serial})
}

func (v *clipViewer) say(m clipMessage) {
	if err := v.channel.Send(m.append(nil)); err != nil {
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
	v.say(clipMessage{Kind: clipOffer, What: uint8(formats), Serial: serial})
	m := v.await("an answer to its offer", func(m clipMessage) bool { return m.Kind == clipTaken && m.Serial == serial })
	return display.Formats(m.What)
}

// await waits for a message, and returns the last one that fits.
func (v *clipViewer) await(what string, fits func(clipMessage) bool) clipMessage {
	v.t.Helper()
	var found clipMessage
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
func (v *clipViewer) offered(formats display.Formats) clipMessage {
	v.t.Helper()
	return v.await("the session's offer", func(m clipMessage) bool { return m.Kind == clipOffer && display.Formats(m.What) == formats })
}

// fetch fetches one content of an offer of the session's.
func (v *clipViewer) fetch(offer clipMessage, f display.Format) ([]byte, uint8) {
	v.t.Helper()
	v.mu.Lock()
	v.heard = nil
	v.mu.Unlock()
	v.say(clipMessage{Kind: clipFetch, What: uint8(f), Serial: offer.Serial})
	end := v.await("the end of a content", func(m clipMessage) bool { return m.Kind == clipEnd && m.format() == f })
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []byte
	for _, m := range v.heard {
		if m.Kind == clipData && m.format() == f {
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
			if m.Kind == clipOffer {
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
	if got, how := v.fetch(offer, display.ClipText); how != clipWhole || !bytes.Equal(got, text) {
		t.Fatalf("the text: %q, outcome %d", got, how)
	}
	if got, how := v.fetch(offer, display.ClipPNG); how != clipWhole || !bytes.Equal(got, img) {
		t.Fatalf("the picture: %d of %d bytes, outcome %d", len(got), len(img), how)
	}
	if got, how := v.fetch(offer, display.ClipHTML); how != clipGone || len(got) > 0 {
		t.Fatalf("what is not there: %q, outcome %d", got, how)
	}
	if got, how := v.fetch(clipMessage{Serial: offer.Serial - 1}, display.ClipText); how != clipGone || len(got) > 0 {
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
	if n := v.count(clipFetch); n != 0 {
		t.Fatalf("%d contents were fetched before anybody wanted them", n)
	}
	for range 2 { // a small content is fetched once
		if got, err := a.Paste(t.Context(), "UTF8_STRING"); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("the text: %q, %v", got, err)
		}
	}
	if n := v.count(clipFetch); n != 1 {
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
		v.await("the policy", func(m clipMessage) bool { return m.Kind == clipPolicy && m.What == ways })
	}
	v.offer(map[display.Format][]byte{display.ClipText: []byte("in")})
	set("out", clipOutOpen)
	if got, err := a.Paste(t.Context(), "UTF8_STRING"); err == nil {
		t.Fatalf("%q came in after the way in was closed", got)
	}
	if got := v.offer(map[display.Format][]byte{display.ClipText: []byte("in")}); got != 0 {
		t.Fatalf("formats %b were taken although the way in is closed", got)
	}
	a.Copy(t, xorgtest.Honest, map[string][]byte{"UTF8_STRING": []byte("out")})
	offer := v.offered(display.FormatsOf(display.ClipText))
	if got, how := v.fetch(offer, display.ClipText); how != clipWhole || string(got) != "out" {
		t.Fatalf("%q, outcome %d", got, how)
	}
	set("in", clipInOpen)
	if got, how := v.fetch(offer, display.ClipText); how != clipRefused && how != clipGone || len(got) > 0 {
		t.Fatalf("%q went out after the way out was closed, outcome %d", got, how)
	}
	if code, _, _ := s.post(t, "/policy", "application/json", `{"clipboard":"sideways"}`); code != http.StatusBadRequest {
		t.Fatalf("a policy that makes no sense: %d", code)
	}
	set("off", 0)
	if got := v.offer(map[display.Format][]byte{display.ClipText: []byte("in")}); got != 0 {
		t.Fatalf("formats %b were taken although nothing is open", got)
	}
	set("both", clipInOpen|clipOutOpen)
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
		if got, how := v.fetch(offer, display.ClipPNG); (how != clipTooLarge && how != clipBroken) || len(got) > 0 {
			t.Errorf("%s went out: %d bytes, outcome %d", name, len(got), how)
		}
		a.Copy(t, xorgtest.Honest, map[string][]byte{"text/html": []byte("between")}) // its offer is not the next picture's
		v.offered(display.FormatsOf(display.ClipHTML))
		v.offer(map[display.Format][]byte{display.ClipPNG: b})
		if got, err := a.Paste(t.Context(), "image/png"); err == nil && len(got) >= pngHead {
			t.Errorf("%s came in: %d bytes", name, len(got))
		}
	}
	for _, size := range []image.Point{{8192, 8192}, {32767, 2000}} {
		if err := checkPicture(bomb(uint32(size.X), uint32(size.Y))); err != nil {
			t.Errorf("%v: %v", size, err)
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
	v.await("being asked", func(m clipMessage) bool { return m.Kind == clipFetch })
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
	full := bytes.Repeat([]byte{1}, maxClipMessage-clipHeader)
	for i := range uint32(2000) {
		v.say(clipMessage{Kind: clipOffer, What: 7, Serial: i})
		v.say(clipMessage{Kind: clipFetch, What: uint8(i % 3), Serial: i})
		v.say(clipMessage{Kind: clipEnd, What: uint8(i % 3), How: uint8(i % 9), Serial: i})
		v.say(clipMessage{Kind: clipStop, What: uint8(i), Serial: i})
		if i%20 == 0 {
			v.say(clipMessage{Kind: clipData, What: uint8(display.ClipPNG), Serial: i, Data: full})
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
		v.say(clipMessage{Kind: clipOffer, What: 1, Serial: serial})
		time.Sleep(300 * time.Millisecond)
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, m := range v.heard {
			if m.Kind == clipTaken && m.Serial == serial && m.What == 1 {
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

// A viewer sends more than it may: what is read of it stays bounded.
func TestArrivalIsBounded(t *testing.T) {
	a := newArrival(display.ClipText)
	part := make([]byte, maxClipMessage)
	var err error
	for n := 0; n <= display.MaxClipText && err == nil; n += len(part) {
		err = a.add(part)
	}
	if err == nil || len(a.buf) > display.MaxClipText {
		t.Fatalf("%d bytes were taken, %v", len(a.buf), err)
	}
	if err := a.add(part); err == nil {
		t.Fatal("it takes more afterwards")
	}
	r := a.reader(t.Context(), func() {})
	if n, err := bytes.NewBuffer(nil).ReadFrom(r); err == nil {
		t.Fatalf("%d bytes of a content that is too large were read as whole", n)
	}
}

// The viewer's tests have the same bytes.
func TestEveryGoldenClipboardMessageIsAsTheViewerHasIt(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "pkg", "viewer", "src", "testdata", "clipboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]string
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	text, html, img := uint8(display.ClipText), uint8(display.ClipHTML), uint8(display.ClipPNG)
	all := map[string]clipMessage{
		"offer of all": {Kind: clipOffer, What: 1<<text | 1<<html | 1<<img, Serial: 258}, "offer of a dear picture": {Kind: clipOffer, What: 1 << img, How: clipDear, Serial: 1},
		"offer of nothing": {Kind: clipOffer, Serial: 2}, "taken text": {Kind: clipTaken, What: 1 << text, Serial: 3}, "fetch html": {Kind: clipFetch, What: html, Serial: 4},
		"data of a picture": {Kind: clipData, What: img, Serial: 5, Data: []byte{137, 80}}, "end, late": {Kind: clipEnd, What: text, How: clipLate, Serial: 6},
		"stop a picture": {Kind: clipStop, What: img, Serial: 7}, "policy in": {Kind: clipPolicy, What: clipInOpen},
	}
	if len(golden) != len(all) {
		t.Errorf("%d golden messages, want %d", len(golden), len(all))
	}
	for name, m := range all {
		if got := hex.EncodeToString(m.append(nil)); got != golden[name] {
			t.Errorf("%s is %s here and %s in the viewer", name, got, golden[name])
		}
	}
}

func FuzzClipMessage(f *testing.F) {
	f.Add(clipMessage{Kind: clipOffer, What: 7, Serial: 1}.append(nil))
	f.Add(clipMessage{Kind: clipData, What: 2, Serial: 1, Data: []byte("\x89PNG")}.append(nil))
	f.Add(clipMessage{Kind: clipEnd, What: 1, How: 3}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseClip(b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.append(nil), b) {
			t.Fatalf("% x was read as %+v", b, m)
		}
		if len(m.Data) > maxClipMessage || m.Kind == clipOffer && m.What > 7 {
			t.Fatalf("%+v", m)
		}
	})
}

func FuzzCheckPicture(f *testing.F) {
	f.Add(bomb(60000, 60000))
	f.Add(bomb(1, 1)[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkPicture(b) != nil || len(b) < pngHead {
			return
		}
		if c, err := png.DecodeConfig(bytes.NewReader(b)); err == nil && (c.Width > maxClipSide || c.Height > maxClipSide || c.Width*c.Height > maxClipPixels) {
			t.Fatalf("a picture of %dx%d passes", c.Width, c.Height)
		}
	})
}
