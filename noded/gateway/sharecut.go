package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"easel/noded/session"
	"easel/noded/stream/contract"
)

const (
	// cutPatience bounds one streamer's answer, cutAgain is how soon one is told again that did not take it.
	cutPatience = 5 * time.Second
	cutAgain    = time.Second
	// cutEvery is how often links of sessions that have ended are looked for.
	cutEvery = time.Minute
)

// KeepShares ends what links let in once they are revoked or have expired, and forgets those of sessions that have ended, until ctx ends. What a
// daemon of before was killed at is taken up again.
func (g *Gateway) KeepShares(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.sharesChanged:
		case <-timer.C:
		}
		timer.Reset(g.cutGuests(ctx))
	}
}

// cutGuests does what is due now, and says when to look again. A streamer that hangs delays no other session's.
func (g *Gateway) cutGuests(ctx context.Context) time.Duration {
	all, err := g.Memory.shares("")
	if err != nil {
		g.Log.Error("cannot look at the links to sessions", "error", err)
		return cutEvery
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	again, now := cutEvery, time.Now()
	for len(all) > 0 {
		of := 1 // they come in order
		for of < len(all) && all[of].Session == all[0].Session {
			of++
		}
		shares := all[:of]
		group.Go(func() {
			wait := g.cutGuestsOf(ctx, shares, now)
			mu.Lock()
			defer mu.Unlock()
			again = min(again, wait)
		})
		all = all[of:]
	}
	group.Wait()
	return again
}

// cutGuestsOf does it for the links of one session.
func (g *Gateway) cutGuestsOf(ctx context.Context, shares []share, now time.Time) time.Duration {
	s, err := g.Sessions.Get(shares[0].Session)
	if errors.Is(err, session.ErrNotFound) || err == nil && s.State.Ended() {
		return g.forget(shares)
	}
	if err != nil {
		g.Log.Error("cannot read a session", "session", shares[0].Session, "error", err)
		return cutEvery
	}
	again := cutEvery
	var due []share
	for _, one := range shares {
		switch {
		case !one.live(now):
			due = append(due, one)
		case !one.Expires.IsZero():
			again = min(again, one.Expires.Sub(now))
		}
	}
	if len(due) == 0 {
		return again
	}
	if !g.cut(ctx, s, due) {
		return cutAgain
	}
	for _, one := range due {
		if !one.Gone {
			g.audit("expired", one)
		}
	}
	return again
}

// cut ends who came by the links, and then forgets them; false when the streamer was not told yet.
func (g *Gateway) cut(ctx context.Context, s session.Session, gone []share) bool {
	if err := revoke(ctx, s.Paths.Worker, gone); err != nil {
		g.Log.Info("a streamer was not told yet which links are gone", "session", s.ID, "error", err)
		return false
	}
	g.forget(gone)
	return true
}

func (g *Gateway) forget(gone []share) time.Duration {
	if err := g.Memory.forgetShares(gone); err != nil {
		g.Log.Error("cannot forget links to a session", "session", gone[0].Session, "error", err)
	}
	return cutEvery
}

// revoke tells a session's streamer which links are gone.
func revoke(ctx context.Context, dir string, gone []share) error {
	ctx, cancel := context.WithTimeout(ctx, cutPatience)
	defer cancel()
	var said contract.Revoked
	for i := range gone {
		said.Shares = append(said.Shares, gone[i].ID)
	}
	body, err := json.Marshal(said)
	if err != nil {
		return fmt.Errorf("say which links are gone: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://streamer/revoked", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("say which links are gone: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: transport(dir), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("say which links are gone: %w", err)
	}
	defer resp.Body.Close()
	// A streamer of before an upgrade knows no guests.
	if resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("say which links are gone: the streamer answers %s", session.Printable(resp.Status, 64))
	}
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
