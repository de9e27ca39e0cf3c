package stream

import (
	"log/slog"
	"testing"
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/rtpsend"
)

// TestGuestIsSentNoHalfFrames: what would be left out of a frame on its way makes the rest useless, and tiles would wait for all of it.
func TestGuestIsSentNoHalfFrames(t *testing.T) {
	rate := congestion.New(slog.New(slog.DiscardHandler))
	f := newFollower(&peer{rate: rate, pacer: rtpsend.NewPacer(rate, slog.New(slog.DiscardHandler))})
	now := time.Unix(1000, 0)
	const second = congestion.StartKbps * 1000 / 8 // bytes that its line carries in one
	for _, step := range []struct {
		what  string
		pkt   Packet
		takes bool
	}{
		{"a frame before its keyframe", Packet{Bytes: 1000}, false},
		{"a keyframe, however large", Packet{Bytes: second, Key: true}, true},
		{"a frame", Packet{Bytes: second / 2}, true},
		{"a frame that takes too long", Packet{Bytes: second}, false},
		{"what needs that", Packet{Bytes: 1000}, false},
		{"the next keyframe", Packet{Bytes: 1000, Key: true}, true},
	} {
		if takes := f.takes(step.pkt, now); takes != step.takes {
			t.Fatalf("%s: taken is %v, want %v", step.what, takes, step.takes)
		}
	}
}
