package stream

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
	"easel/noded/stream/contract"
	ship "easel/pkg/viewer"
)

// show shows the session in Chromium by the page that ships, with the benchmark's eyes.
func show(b *testing.B, s *session, query string) *browser.Page {
	b.Helper()
	assets, err := ship.Assets()
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(node(b, s, assets, contract.Owner))
	b.Cleanup(server.Close)
	c, err := browser.StartChromium(context.Background(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	p, err := c.Open(browser.PageOptions{Width: 1280, Height: 720})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	err = p.Go(server.URL + "/s/s0123456789abcdef?scale=1&chrome=0&" + query)
	if err == nil {
		err = p.Until(time.Minute, "window.easel?.state === 'connected' && window.easel.stats().width === 1280")
	}
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// motion is something that moves on the session's screen, and what was seen of it in some cases that are compared.
type motion struct {
	stop  context.CancelFunc
	ended chan error
	drawn []xclient.Frame
	shown [][]browser.Shown
}

// plays has something move until it is reported.
func plays(b *testing.B, s *session, kind xclient.Kind) *motion {
	b.Helper()
	x, err := xclient.Open(context.Background(), s.x.Socket, s.x.XAuthority)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &motion{stop: stop, ended: make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		var err error
		m.drawn, err = x.Play(ctx, kind, func() { close(ready) })
		x.Close()
		m.ended <- err
		close(m.ended)
	}()
	b.Cleanup(func() { stop(); <-m.ended })
	select {
	case <-ready:
	case err := <-m.ended:
		b.Fatalf("nothing moves: %v", err)
	}
	time.Sleep(2 * time.Second) // the rate finds what the way carries
	return m
}

// watch looks for a while, in which something is done, and keeps what it sees as one of the cases.
func (m *motion) watch(b *testing.B, p *browser.Page, which int, d time.Duration, do func()) {
	b.Helper()
	shown, err := p.WatchWhile(d, func() error { do(); return nil })
	if err != nil {
		b.Fatal(err)
	}
	for len(m.shown) <= which {
		m.shown = append(m.shown, nil)
	}
	m.shown[which] = append(m.shown[which], browser.First(shown)...)
}

// report tells how old the pictures were in each case, and how much older than in the first.
func (m *motion) report(b *testing.B, cases ...string) {
	b.Helper()
	m.stop()
	if err := <-m.ended; err != nil {
		b.Fatal(err)
	}
	at := map[int]time.Time{}
	for _, f := range m.drawn {
		at[int(f.Counter)] = f.At
	}
	var first time.Duration
	for i, name := range cases {
		var ages []time.Duration
		for _, s := range m.shown[i] {
			if drawn, ok := at[s.Counter]; ok {
				ages = append(ages, s.At.Sub(drawn))
			}
		}
		middle := quantiles(b, name+"-age", ages)
		if i == 0 {
			first = middle
			continue
		}
		b.ReportMetric(float64(middle)/float64(first), name+"/"+cases[0])
	}
	b.ReportMetric(0, "ns/op")
}
