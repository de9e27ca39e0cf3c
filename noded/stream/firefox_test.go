package stream

import (
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"net"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"
	ship "easel/pkg/viewer"
)

// outward is an address of this machine that is not its loopback: Firefox sends no media there.
func outward(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	t.Fatal("this machine has no address but its loopback, which Firefox does not use: give it one, for example by `ip link add easel-test type dummy`")
	return ""
}

// firefox shows the session in Debian's Firefox by the page that ships, with the viewer's options in query.
func firefox(t *testing.T, s *session, query string) *browser.Firefox {
	t.Helper()
	return firefoxAs(t, s, contract.Owner, query)
}

func firefoxAs(t *testing.T, s *session, who contract.Viewer, query string) *browser.Firefox {
	t.Helper()
	f, err := browser.StartFirefox(context.WithoutCancel(t.Context())) // its end is the cleanup's
	return shows(t, s, who, query, f, err)
}

// shows shows the session in a Firefox that was started just now.
func shows(t *testing.T, s *session, who contract.Viewer, query string, f *browser.Firefox, err error) *browser.Firefox {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	assets, err := ship.Assets()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(node(t, s, assets, who))
	t.Cleanup(server.Close)
	if err := f.Go(t.Context(), server.URL+"/s/s0123456789abcdef?"+query); err != nil {
		t.Fatal(err)
	}
	return f
}

// Debian's Firefox decodes no H.264: the picture comes in VP9, by WebRTC all the same, with the right colours, and the hand goes back.
func TestFirefoxHasThePictureByWebRTC(t *testing.T) {
	s := startSessionOn(t, outward(t))
	a := newArtist(t, s.x)
	s.ready(t)
	const width, height = 1280, 720
	f := firefox(t, s, "scale=1&chrome=0&size=1280x720")
	if err := f.Until(t.Context(), time.Minute, "window.easel?.state === 'connected' && window.easel.stats().width === 1280"); err != nil {
		t.Fatal(err)
	}
	var shown struct{ Transport, Path, Codec, Chroma, Fallback string }
	s.await(t, "the figures of a direct VP9 stream", func() bool {
		if err := f.Eval(t.Context(), "window.easel.stats()", &shown); err != nil {
			t.Fatal(err)
		}
		return shown.Codec == "VP9" && shown.Path == "direct" && shown.Chroma != ""
	})
	if shown.Transport != "webrtc" || shown.Chroma != "4:2:0" || shown.Fallback != "" {
		t.Errorf("the figures are %+v", shown)
	}
	for i, c := range chartColours() {
		at := patchAt(i, width)
		a.fill(t, image.Rectangle{at, at.Add(image.Pt(patch, patch))}, c)
	}
	const most = 4
	var errs []int
	s.await(t, "the right colours", func() bool {
		var text string
		if err := f.Eval(t.Context(), "__probe.grab(0, 0, 1280, 720)", &text); err != nil {
			t.Fatal(err)
		}
		rgba, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(rgba) != width*height*4 {
			t.Fatalf("the page gave %d bytes: %v", len(rgba), err)
		}
		errs = shownErrors(rgba, width)
		return slices.Max(errs) <= most
	})
	t.Logf("off by at most %d", slices.Max(errs))
	if err := f.Click(t.Context(), 300, 200); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []uint8{inputtest.Press, inputtest.Release} {
		r := s.pen.Next(t)
		for r.Kind != kind {
			r = s.pen.Next(t)
		}
		if r.Button != 1 || r.X != 300*256 || r.Y != 200*256 {
			t.Errorf("the hand came as %+v", r)
		}
	}

	// The address says which codec; what cannot be is said, and the picture comes all the same.
	var page string
	if err := f.Eval(t.Context(), "location.origin + location.pathname", &page); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ asked, codec, said string }{
		{"av1", "AV1", ""}, {"h264-444", "VP9", "codec=h264-444, which this browser does not decode"},
	} {
		if err := f.Go(t.Context(), page+"?scale=1&size=1280x720&codec="+c.asked); err != nil {
			t.Fatal(err)
		}
		js := fmt.Sprintf("window.easel?.stats().codec === %q && document.body.textContent.includes(%q)", c.codec, c.said)
		if err := f.Until(t.Context(), time.Minute, js); err != nil {
			t.Error(err)
		}
	}
}

// A window of Firefox's is a second screen as well, beside whatever shows the first.
func TestFirefoxIsASecondScreen(t *testing.T) {
	s := startSessionOn(t, outward(t))
	a := newArtist(t, s.x)
	s.ready(t)
	one := connect(t, s)
	one.say(t, `{"t":"resize","w":1000,"h":700,"scale":100}`)
	s.await(t, "the first screen", func() bool { return one.has(1000, 700) })
	f := firefox(t, s, "scale=1&chrome=0&size=800x600&screen=2")
	if err := f.Until(t.Context(), time.Minute, "window.easel?.state === 'connected' && window.easel.stats().width === 800"); err != nil {
		t.Fatal(err)
	}
	a.fill(t, image.Rect(1100, 100, 1500, 400), 0xc04020)
	a.fill(t, image.Rect(0, 0, 1000, 700), 0x2040c0)
	if err := f.Until(t.Context(), time.Minute, "(([r, g, b]) => Math.abs(r - 0xc0) + Math.abs(g - 0x40) + Math.abs(b - 0x20) < 16)(__probe.sample([[300, 200]])[0])"); err != nil {
		t.Fatal(err)
	}
	if err := f.Click(t.Context(), 300, 200); err != nil {
		t.Fatal(err)
	}
	r := s.pen.Next(t)
	for r.Kind != inputtest.Press {
		r = s.pen.Next(t)
	}
	if r.X != 1300*256 || r.Y != 200*256 {
		t.Errorf("a click at 300,200 of the second screen came as %+v", r)
	}
	if one.heard("replaced") != nil {
		t.Error("the second screen's window replaced the first one's")
	}
}

// Firefox as a guest: it has the picture by video in what both it and the owner's browser take, and the hand when it is given.
func TestFirefoxIsAGuest(t *testing.T) {
	s := startSessionOn(t, outward(t))
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	owner.awaitPicture(t, a, "the owner's exact picture")
	f := firefoxAs(t, s, guest(1, contract.RoleTakePart), "scale=1&size=1280x720")
	if err := f.Until(t.Context(), time.Minute, "window.easel?.state === 'connected' && window.easel.stats().width === 1280"); err != nil {
		t.Fatal(err)
	}
	shows := func(x int, c uint32) {
		t.Helper()
		a.fill(t, image.Rect(x, 300, x+100, 400), c)
		js := fmt.Sprintf("(([r, g, b]) => Math.abs(r - %d) + Math.abs(g - %d) + Math.abs(b - %d) < 24)(__probe.sample([[%d, 350]])[0])", c>>16, c>>8&255, c&255, x+50)
		if err := f.Until(t.Context(), time.Minute, js); err != nil {
			t.Fatal(err)
		}
		owner.awaitPicture(t, a, "the owner's exact picture")
	}
	shows(200, 0xc04020)
	owner.say(t, `{"t":"hand","to":"link.g1"}`)
	if err := f.Until(t.Context(), time.Minute, "document.getElementById('guest-text').textContent.includes('You have the hand')"); err != nil {
		t.Fatal(err)
	}
	if err := f.Click(t.Context(), 300, 500); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []uint8{inputtest.Press, inputtest.Release} {
		r := s.pen.Next(t)
		for r.Kind != kind {
			r = s.pen.Next(t)
		}
		if r.Button != 1 || r.X != 300*256 || r.Y != 500*256 {
			t.Errorf("the guest's hand came as %+v", r)
		}
	}
	shows(400, 0x2060c0)
	owner.say(t, `{"t":"hand","to":"owner"}`)
	if err := f.Until(t.Context(), time.Minute, "!document.getElementById('guest-text').textContent.includes('You have the hand')"); err != nil {
		t.Fatal(err)
	}
}
