package stream

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/contract"
	"easel/noded/stream/rtpsend"
)

// pacedPeer is a viewer of whose way reports can be made up.
func pacedPeer(role string, connected bool) *peer {
	log := slog.New(slog.DiscardHandler)
	p := &peer{who: contract.Viewer{ID: "x", Role: role}, rate: congestion.New(log)}
	p.pacer = rtpsend.NewPacer(p.rate, log)
	p.connected.Store(connected)
	return p
}

// crossFor has a file cross for a while and gives how many kilobits a second did, no more than a way of 1 Gbit/s carries.
func crossFor(t *testing.T, f *filePace, lasts time.Duration) float64 {
	t.Helper()
	from, bytes := time.Now(), 0
	for time.Since(from) < lasts {
		n, err := f.Piece(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.Crossed(n)
		bytes += n
		time.Sleep(congestion.OnWay(float64(n), 1_000_000))
	}
	return float64(bytes) * 8 / 1000 / lasts.Seconds()
}

// Files yield to the picture of their owner, and to nobody else's: not to guests, not to who is not connected.
func TestFilesYieldToTheirOwnersPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var peers []*peer
		f := &filePace{peers: func() []*peer { return peers }}
		if got := crossFor(t, f, time.Second); got < 500_000 {
			t.Errorf("nobody watches, and files get %.0f kbps", got)
		}
		peers = []*peer{pacedPeer(contract.RoleView, true), pacedPeer(contract.RoleOwner, false)}
		if got := crossFor(t, f, time.Second); got < 500_000 {
			t.Errorf("a guest watches, and files get %.0f kbps", got)
		}
		owner := pacedPeer(contract.RoleOwner, true)
		peers = append(peers, owner)
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() { // a queue of 200 ms grows on its way and stays
			defer close(ended)
			for at := time.Duration(0); ; at += 100 * time.Millisecond {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
				}
				queue := 200 * time.Millisecond
				if at == 0 {
					queue = 0
				}
				owner.rate.Took([]congestion.Arrival{{Sent: at, At: at + queue, Size: 1000}}, 0, 0, true, time.Now())
			}
		}()
		crossFor(t, f, 3*time.Second)
		if got := crossFor(t, f, 3*time.Second); got > 1.2*congestion.LeastBeside || got < 0.8*congestion.LeastBeside {
			t.Errorf("a queue stands in the way of the picture, and files get %.0f kbps, want %d", got, congestion.LeastBeside)
		}
		close(stop)
		<-ended
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f.Crossed(1 << 20) // it would have to wait
		if _, err := f.Piece(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a transfer that has ended waits on: %v", err)
		}
	})
}
