package integration

import (
	"fmt"
	"net"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// comesThroughTheRelay fails unless the page and the node agree that the picture does.
func (w *world) comesThroughTheRelay(t *testing.T, p *browser.Page, id string) {
	t.Helper()
	eventually(t, 30*time.Second, "page and node say that the picture comes through the relay", func() error {
		path, err := pathOf(p)
		if now := w.inspect(t, id); err != nil || path != "relay" || now.GetPath() != "relay" || now.GetState() != easelv1.State_STATE_CONNECTED {
			return fmt.Errorf("the page says %q, %v; the node %q, %v", path, err, now.GetPath(), now.GetState())
		}
		return nil
	})
}

// Who cannot send to the media ports comes through the relay, without a choice and without a detour.
func TestCutUDPGoesThroughTheRelay(t *testing.T) {
	w := get(t)
	s := w.session(t)
	w.await(t, s.ID, 60*time.Second, easelv1.State_STATE_READY)
	port, relay := w.inspect(t, s.ID).GetUdpPort(), w.stack.RelayPorts
	dropUDP(t, port, fmt.Sprintf("udp dport %d udp sport != %d-%d drop; udp sport %d udp dport != %d-%d drop;", port, relay[0], relay[1], port, relay[0], relay[1]))
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	w.comesThroughTheRelay(t, p, s.ID)
	w.pointerFollows(t, p, s.ID)
}

// Where no UDP gets out at all, the relay is reached by TCP.
func TestOnlyTCPGetsThrough(t *testing.T) {
	w := get(t)
	s := w.session(t)
	w.await(t, s.ID, 60*time.Second, easelv1.State_STATE_READY)
	port, relay := w.inspect(t, s.ID).GetUdpPort(), w.stack.RelayPorts
	_, listen, err := net.SplitHostPort(w.stack.RelayAddr)
	if err != nil {
		t.Fatal(err)
	}
	dropUDP(t, port, fmt.Sprintf("udp dport %d udp sport != %d-%d drop; udp sport %d udp dport != %d-%d drop; udp dport %s drop; udp sport %s drop;",
		port, relay[0], relay[1], port, relay[0], relay[1], listen, listen))
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	w.comesThroughTheRelay(t, p, s.ID)
	if err := artist.AwaitPicture(p, 30*time.Second); err != nil {
		t.Fatal(err)
	}
}

// backWithin is how long a relayed viewer may be without a picture when noded was killed and started again.
const backWithin = 3 * time.Second

// A restart of noded takes the relay with it. Its viewers are back by themselves, soon, and nobody else is disturbed.
func TestRelayedViewerIsBackAfterKillOfNoded(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.unscaled(t, s.ID, 1280, 720, "&path=relay")
	w.comesThroughTheRelay(t, p, s.ID)
	before := w.inspect(t, s.ID)
	x := w.x(t, s.ID)
	// The second time it is away for longer than the viewer takes to notice by itself.
	for _, away := range []time.Duration{0, 6 * time.Second} {
		gap, err := w.gapAfter(t, p, x, away+backWithin+2*time.Second, func() (restarted time.Time, err error) {
			if err := w.stack.Noded.Kill(); err != nil {
				return restarted, err
			}
			time.Sleep(away)
			restarted = time.Now()
			return restarted, w.stack.Noded.Start(t.Context())
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("noded was away for %v; from its start on there was no picture for %v", away, gap.Round(time.Millisecond))
		if gap > backWithin {
			t.Errorf("no picture for %v, want %v at most", gap, backWithin)
		}
		w.comesThroughTheRelay(t, p, s.ID)
	}
	if after := w.inspect(t, s.ID); after.GetPids().GetStreamer() != before.GetPids().GetStreamer() {
		t.Errorf("the streamer was %d, is %d", before.GetPids().GetStreamer(), after.GetPids().GetStreamer())
	}
}

// gapAfter shows a moving picture, has something restarted, and returns the longest time without a picture from then on.
func (w *world) gapAfter(t *testing.T, p *browser.Page, x *xclient.Screen, limit time.Duration, restart func() (time.Time, error)) (time.Duration, error) {
	t.Helper()
	stop, err := x.Start(t.Context(), xclient.Paint)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err := stop(); err != nil {
			t.Errorf("X client: %v", err)
		}
	}()
	var at time.Time
	end := time.Now().Add(limit)
	seen, err := p.WatchWhile(limit, func() (err error) {
		at, err = restart()
		return err
	})
	if err != nil {
		return 0, err
	}
	longest, last := time.Duration(0), at
	for _, f := range append(seen, browser.Shown{At: end}) {
		if f.At.After(last) {
			longest, last = max(longest, f.At.Sub(last)), f.At
		}
	}
	return longest, nil
}
