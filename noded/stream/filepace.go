package stream

import (
	"context"
	"time"

	"easel/noded/stream/congestion"
)

const (
	// paceLook is how often a transfer that waits looks again: the way may have become wide.
	paceLook = 50 * time.Millisecond
	// paceAsks is how long after a piece the viewer is asked for reports.
	paceAsks = time.Second
)

// filePace has files in one direction yield to the picture and the hand of who sends or fetches them: the session's owner. Where nobody of theirs watches
// by WebRTC, it bounds nothing.
type filePace struct {
	peers  func() []*peer
	in     bool
	beside congestion.Beside
}

// Piece waits until some more of a file may cross, and says how many bytes.
func (f *filePace) Piece(ctx context.Context) (int, error) {
	for {
		now := time.Now()
		q, ok := f.look(now)
		if !ok {
			return congestion.MostPiece, ctx.Err()
		}
		queue := q.There
		if f.in {
			queue = q.Back
		}
		f.beside.Heed(queue, q, now)
		wait := f.beside.Wait(now)
		if wait <= 0 {
			return f.beside.Piece(), ctx.Err()
		}
		if !pause(ctx, min(wait, paceLook)) {
			return 0, ctx.Err()
		}
	}
}

// Crossed notes that so many bytes have.
func (f *filePace) Crossed(bytes int) { f.beside.Crossed(bytes, time.Now()) }

// look is how the owner's way is, the worst of several screens'; ok is false if nobody is there.
func (f *filePace) look(now time.Time) (q congestion.Queues, ok bool) {
	for _, p := range f.peers() {
		if p.who.Guest() || !p.connected.Load() {
			continue
		}
		p.pacer.Ask(now.Add(paceAsks))
		at := p.rate.Queues()
		if !ok {
			q, ok = at, true
			continue
		}
		q.There, q.Back, q.Trip = max(q.There, at.There), max(q.Back, at.Back), max(q.Trip, at.Trip)
		q.Kbps, q.Reports = min(q.Kbps, at.Kbps), q.Reports+at.Reports
	}
	return q, ok
}
