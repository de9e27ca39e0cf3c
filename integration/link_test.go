package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/lossylink"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// openLink opens a link on which a packet takes so long one way; its dice are seeded.
func openLink(t *testing.T, oneWay time.Duration, seed uint64) *lossylink.Link {
	t.Helper()
	link, err := lossylink.Open(oneWay, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	return link
}

// linked opens a session's viewer, of a size, over a link.
func (w *world) linked(t *testing.T, id string, link *lossylink.Link, width, height int) *browser.Page {
	t.Helper()
	w.await(t, id, 60*time.Second, easelv1.State_STATE_READY)
	link.Aim(int(w.inspect(t, id).GetUdpPort()))
	query := fmt.Sprintf("scale=1&chrome=0&size=%dx%d", width, height)
	p, err := w.artist.View(id, query, browser.PageOptions{Width: width, Height: height, Script: link.Script()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := artist.AwaitPicture(p, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the remote screen has the size asked for", func() error { return hasSize(p, width, height) })
	return p
}

// overLink is a session of its own that a page watches over a link.
func (w *world) overLink(t *testing.T, link *lossylink.Link, width, height int) (artist.Session, *browser.Page, *xclient.Screen) {
	t.Helper()
	s := w.session(t)
	p := w.linked(t, s.ID, link, width, height)
	return s, p, w.x(t, s.ID)
}

// moves waits until the page has shown so many pictures of what is played that it had not shown before.
func moves(t *testing.T, p *browser.Page, what string, pictures int) {
	t.Helper()
	began := time.Now()
	seen := map[int]bool{}
	for len(seen) < pictures {
		if time.Since(began) > 40*time.Second {
			t.Fatalf("%s: %d new pictures came in %v, want %d; the page says:\n%s", what, len(seen), time.Since(began), pictures, p.Console())
		}
		shown, err := p.Watch(500 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shown {
			if s.Counter >= 0 {
				seen[s.Counter] = true
			}
		}
	}
	offers, err := browser.Eval[int](p, 10*time.Second, "window.offers")
	if err != nil || offers != 1 {
		t.Errorf("%s: the page has made %d connections, %v; want the first one to last", what, offers, err)
	}
	t.Logf("%s: %d pictures in %v", what, len(seen), time.Since(began).Round(100*time.Millisecond))
}

// counted is a number of the node's metrics.
func counted(t *testing.T, metrics, name string) float64 {
	t.Helper()
	_, rest, ok := strings.Cut(metrics, "\n"+name+" ")
	text, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		t.Fatalf("the node's metrics have no %s: %v", name, err)
	}
	return v
}

// linkMeasured waits until the node has counted a link of 100 ms that loses packets, while the picture moves, and what goes over it.
func (w *world) linkMeasured(t *testing.T, before string) {
	t.Helper()
	more := func(now, histogram, above string) float64 {
		all := counted(t, now, histogram+"_count") - counted(t, before, histogram+"_count")
		return all - counted(t, now, histogram+`_bucket{le="`+above+`"}`) + counted(t, before, histogram+`_bucket{le="`+above+`"}`)
	}
	eventually(t, 60*time.Second, "the node's metrics tell of the link", func() error {
		now := w.metrics(t)
		for histogram, above := range map[string]string{
			"easel_link_rtt_seconds": "0.05", "easel_link_loss_ratio": "0.005", "easel_link_target_bits_per_second": "500000",
			"easel_link_acknowledged_bits_per_second": "500000", "easel_link_video_scale_ratio": "0.34",
		} {
			if more(now, histogram, above) < 1 {
				return fmt.Errorf("%s has nothing new above %s", histogram, above)
			}
		}
		return nil
	})
}

// The picture comes over a link of 100 ms that loses a twentieth each way, is back after three seconds of darkness, and goes on from another network: all
// on one connection. At the end it is exact.
func TestPictureStandsABadNetwork(t *testing.T) {
	first := openLink(t, 50*time.Millisecond, 3)
	second := openLink(t, 10*time.Millisecond, 4)
	w := get(t)
	s := w.session(t)
	p := w.linked(t, s.ID, first, 1280, 720)
	x := w.x(t, s.ID)
	stop, err := x.Start(t.Context(), xclient.Scroll)
	if err != nil {
		t.Fatal(err)
	}
	moves(t, p, "at first", 20)
	if path, err := pathOf(p); err != nil || path != "direct" {
		t.Fatalf("the picture's path is %q, %v; the page says:\n%s", path, err, p.Console())
	}
	before := w.metrics(t)
	first.Lose(0.05)
	moves(t, p, "with loss", 20)
	w.linkMeasured(t, before)
	first.Dark(true)
	time.Sleep(3 * time.Second) // the darkness itself
	first.Dark(false)
	moves(t, p, "after the darkness", 20)
	// The network is another for good: nothing comes or goes by the old one.
	second.Aim(int(w.inspect(t, s.ID).GetUdpPort()))
	if err := p.Do(fmt.Sprintf("window.linkPort = %d", second.Port())); err != nil {
		t.Fatal(err)
	}
	first.Dark(true)
	if err := p.Do("window.dispatchEvent(new Event('online'))"); err != nil {
		t.Fatal(err)
	}
	moves(t, p, "from another network", 20)
	if err := stop(); err != nil {
		t.Errorf("X client: %v", err)
	}
	if err := p.Until(60*time.Second, "window.easel.stats().exact"); err != nil {
		t.Error(err)
	}
	lost, passed := first.Counts()
	t.Logf("the first link lost %d packets of %d", lost, lost+passed)
	if lost == 0 {
		t.Error("the link lost nothing: nothing was proven")
	}
}
