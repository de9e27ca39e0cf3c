package integration

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	easelv1 "easel/pkg/api/easel/v1"
)

// cutUDP drops everything to and from one UDP port of this machine, until the returned function or the test's end.
func cutUDP(t *testing.T, port uint32) (restore func()) {
	t.Helper()
	return dropUDP(t, port, fmt.Sprintf("udp dport %d drop; udp sport %d drop;", port, port))
}

// dropUDP puts rules before what this machine receives, in a table of the port's name.
func dropUDP(t *testing.T, port uint32, rules string) (restore func()) {
	t.Helper()
	table := fmt.Sprintf("easel_cut_%d", port)
	nft := func(args ...string) error {
		out, err := exec.Command("nft", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft %v: %w: %s", args, err, out)
		}
		return nil
	}
	if err := nft(fmt.Sprintf("table inet %s {\n\tchain input { type filter hook input priority 0; %s }\n}", table, rules)); err != nil {
		t.Fatal(err)
	}
	done := false
	restore = func() {
		if done {
			return
		}
		done = true
		if err := nft("delete", "table", "inet", table); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(restore)
	return restore
}

// A network that eats the stream's UDP is no end: the viewer lands on VNC, says so, still paints, and so does the node's
// status.
func TestCutUDPLandsOnVNC(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	if path, err := pathOf(p); err != nil || path != "direct" {
		t.Fatalf("before the cut the path is %q, %v", path, err)
	}
	cutUDP(t, w.inspect(t, s.ID).GetUdpPort())
	takesPath(t, p, "vnc")
	if err := artist.AwaitPicture(p, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := p.Until(30*time.Second, "/fallback|vnc/i.test(document.body.innerText)"); err != nil {
		t.Errorf("the page does not say so: %v", err)
	}
	eventually(t, 30*time.Second, "the node's status says so", func() error {
		now := w.inspect(t, s.ID)
		if now.GetPath() != "vnc" || now.GetState() != easelv1.State_STATE_CONNECTED || len(now.GetDegraded()) == 0 {
			return fmt.Errorf("path %q, state %v, degraded %v", now.GetPath(), now.GetState(), now.GetDegraded())
		}
		return nil
	})
	w.pointerFollows(t, p, s.ID)
}

// pointerFollows moves the mouse in the middle of a page of 1000×700 until the session's pointer is there: what is said while the screen still
// has another size arrives elsewhere.
func (w *world) pointerFollows(t *testing.T, p *browser.Page, id string) {
	t.Helper()
	x := w.x(t, id)
	offset := 1.0
	eventually(t, 30*time.Second, "the pointer moves", func() error {
		offset = -offset
		if err := p.Move(500+offset, 350); err != nil {
			return err
		}
		at, err := x.Pointer()
		if err == nil && (at.X < 450 || at.X > 550) {
			err = fmt.Errorf("it is at %v", at)
		}
		return err
	})
}

// ?transport=vnc asks for VNC from the start. Its connection outlives a window that becomes smaller and smaller, though its server is told of the
// screen's size by an event, after it is so.
func TestVNCByChoice(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "transport=vnc", browser.PageOptions{Width: 1000, Height: 700})
	takesPath(t, p, "vnc")
	for i := range 12 {
		want := 980 - 20*i
		if err := p.Resize(want, 690-10*i, 1); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "VNC's picture has the window's size", func() error {
			stats, err := artist.Stats(p)
			if err != nil || stats["width"] != float64(want) {
				return fmt.Errorf("it is %v wide, want %d; %v", stats["width"], want, err)
			}
			return nil
		})
	}
	takesPath(t, p, "vnc")
	if stats, err := artist.Stats(p); err != nil || stats["reconnects"] != 0.0 {
		t.Errorf("the connection was lost %v times, %v", stats["reconnects"], err)
	}
}

// takesPath waits until the viewer's picture comes by this path. Why it does not, the page itself says.
func takesPath(t *testing.T, p *browser.Page, want string) {
	t.Helper()
	eventually(t, 60*time.Second, "the picture comes by "+want, func() error {
		path, err := pathOf(p)
		if err == nil && path != want {
			var page string
			page, err = browser.Eval[string](p, 10*time.Second, "document.querySelector('#panel').innerText + window.easel.stats().fallback")
			err = errors.Join(fmt.Errorf("the path is %q, and the page says %q", path, page), err)
		}
		return err
	})
}

func pathOf(p *browser.Page) (string, error) {
	stats, err := artist.Stats(p)
	if err != nil {
		return "", err
	}
	path, _ := stats["path"].(string)
	return path, nil
}

// firefox opens a session's viewer in Firefox, and waits until a condition holds in the page.
func (w *world) firefox(t *testing.T, id, until string) *browser.Firefox {
	t.Helper()
	f, err := browser.StartFirefox(t.Context())
	w.showsIn(t, id, f, err, "", until)
	return f
}

// showsIn opens a session's viewer in a Firefox that was started just now. options are the viewer's, such as "&chrome=0".
func (w *world) showsIn(t *testing.T, id string, f *browser.Firefox, err error, options, until string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	w.await(t, id, 60*time.Second, easelv1.State_STATE_READY, easelv1.State_STATE_CONNECTED, easelv1.State_STATE_DETACHED)
	fresh, err := w.artist.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Go(t.Context(), fresh.URL+options); err != nil {
		t.Fatal(err)
	}
	if err := f.Until(t.Context(), 60*time.Second, until); err != nil {
		t.Fatal(err)
	}
}

// Firefox shows the picture by WebRTC, in VP9 where it decodes no H.264, as Debian's does not.
func TestFirefoxShowsThePicture(t *testing.T) {
	w := get(t)
	s := w.session(t)
	f := w.firefox(t, s.ID, "window.easel?.state === 'connected' && __probe.size().width > 0")
	var shown struct{ Path, Codec, Fallback string }
	eventually(t, 30*time.Second, "the figures", func() error {
		if err := f.Eval(t.Context(), "window.easel.stats()", &shown); err != nil {
			return err
		}
		if shown.Path != "direct" || (shown.Codec != "VP9" && shown.Codec != "H264") {
			return fmt.Errorf("they are %+v", shown)
		}
		return nil
	})
	t.Logf("Firefox has %s", shown.Codec)
	eventually(t, 30*time.Second, "there is a picture", func() error {
		var dark bool
		// GIMP's window is grey; a page that shows nothing is all one colour.
		if err := f.Eval(t.Context(), "new Set(Array.from({length: 64}, (_, i) => __probe.sample([[20 + i * 9, 8 + i * 5]])[0].join())).size < 3", &dark); err != nil {
			return err
		}
		if dark {
			return fmt.Errorf("all sampled pixels are alike")
		}
		return nil
	})
}
