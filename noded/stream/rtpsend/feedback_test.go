package rtpsend

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/transport/v5/packetio"
)

// lone is a pacer whose packets go nowhere.
func lone(t *testing.T) (p *Pacer, send func(bytes int) error) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p = NewPacer(congestion.New(log), log)
	info := &interceptor.StreamInfo{SSRC: 1, MimeType: "video/H264", RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{ID: 4, URI: sdp.TransportCCURI}}}
	w := p.BindLocalStream(info, interceptor.RTPWriterFunc(func(_ *rtp.Header, b []byte, _ interceptor.Attributes) (int, error) { return len(b), nil }))
	var packets packetizer
	return p, func(bytes int) error {
		h := packets.header(90, true)
		_, err := w.Write(&h, make([]byte, bytes), nil)
		return err
	}
}

// report is feedback that says all of count packets from first on came, at once, at epoch.
func report16(first, count uint16, epoch uint32) []byte {
	b := make([]byte, 20, 20+2*8+int(count))
	b[0], b[1] = 0x8f, 205
	binary.BigEndian.PutUint16(b[12:], first)
	binary.BigEndian.PutUint16(b[14:], count)
	b[16], b[17], b[18] = byte(epoch>>16), byte(epoch>>8), byte(epoch)
	b = binary.BigEndian.AppendUint16(b, rtcp.TypeTCCPacketReceivedSmallDelta<<13|min(count, 1<<13-1))
	return append(b, make([]byte, count)...)
}

// TestLyingFeedbackHarmsNobody: arrivals of what was not sent are refused, absurd times move nothing beyond the bounds, and no memory grows.
func TestLyingFeedbackHarmsNobody(t *testing.T) {
	p, send := lone(t)
	now := time.Now()
	if _, err := p.Heed(report16(100, 50, 1), now); !errors.Is(err, errUnsent) {
		t.Fatalf("feedback on what was never sent: %v, want %v", err, errUnsent)
	}
	r := rand.New(rand.NewPCG(3, 3))
	for range 5000 {
		now = now.Add(20 * time.Millisecond)
		if err := send(1 + r.IntN(1000)); err != nil && !errors.Is(err, ErrQueueFull) {
			t.Fatal(err)
		}
		p.begins(0)
		p.send(now)
		lie := report16(p.sentLog.next-uint16(r.IntN(40)), uint16(1+r.IntN(80)), r.Uint32())
		_, _ = p.Heed(lie, now)
		plan := p.rate.Plan()
		if plan.Kbps < congestion.MinKbps/2 || plan.Kbps > congestion.MaxWayKbps || plan.FPS < congestion.MinFPS || plan.FPS > congestion.MaxFPS {
			t.Fatalf("lies brought the plan to %+v", plan)
		}
	}
	if p.odd == 0 {
		t.Error("no lie was counted")
	}
}

// TestViewerThatNeverReadsHoldsNothing: who takes all and says nothing is held, and what waits for it is bounded.
func TestViewerThatNeverReadsHoldsNothing(t *testing.T) {
	p, send := lone(t)
	now := time.Now()
	full := 0
	for range 20_000 {
		now = now.Add(time.Millisecond)
		if errors.Is(send(1000), ErrQueueFull) {
			full++
		}
		p.send(now)
		if n := p.video.waiting(); n > maxQueued {
			t.Fatalf("%d packets wait", n)
		}
	}
	if full == 0 || !p.rate.Plan().Hold {
		t.Fatalf("%d packets were refused; the plan is %+v", full, p.rate.Plan())
	}
	before := p.sentLog.next
	for range 1000 {
		now = now.Add(time.Millisecond)
		p.send(now)
	}
	if sent := p.sentLog.next - before; sent > 12 {
		t.Errorf("a silent viewer was sent %d packets in a second", sent)
	}
}

// TestAskingForEverythingAgainIsBounded: a viewer cannot have the streamer send many times what it asks with.
func TestAskingForEverythingAgainIsBounded(t *testing.T) {
	p, send := lone(t)
	p.rate.Hears(false) // as fast as can be
	now := time.Now()
	var all []uint16
	for i := range 1000 {
		if err := send(1000); err != nil {
			t.Fatal(err)
		}
		all = append(all, uint16(i+1))
		now = now.Add(time.Millisecond)
		p.send(now)
		if _, err := p.Heed(report16(p.sentLog.next-1, 1, uint32(now.Sub(p.epoch)/epochTick)), now); err != nil {
			t.Fatal(err)
		}
	}
	before := p.sentLog.next
	for range 1000 { // a second of it
		now = now.Add(time.Millisecond)
		p.ask(all, now)
		p.send(now)
		_, _ = p.Heed(report16(p.sentLog.next-1, 1, uint32(now.Sub(p.epoch)/epochTick)), now)
		if len(p.lost) > maxLost {
			t.Fatalf("%d packets wait to be sent again", len(p.lost))
		}
	}
	sent := float64(uint16(p.sentLog.next-before)) * 1000 * 8 / 1000
	if most := congestion.MaxKbps * (resendShare + 0.2); sent > most {
		t.Errorf("%.0f kbit were sent again in a second, want %.0f at most", sent, most)
	}
}

// TestStreamsThatThereAreNotEndTheViewer: each stream that a viewer names takes memory of pion's.
func TestStreamsThatThereAreNotEndTheViewer(t *testing.T) {
	ended := 0
	r := &Reports{Take: func([]byte) {}, Flood: func() { ended++ }}
	for i := range maxStreams * 4 {
		s := r.Open(packetio.RTPBufferPacket, uint32(i))
		if _, err := s.Write(make([]byte, 1200)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if ended != 1 {
		t.Fatalf("the viewer was ended %d times", ended)
	}
}

// A viewer for whom packets were left out has not all, though it has all that was sent: it needs a keyframe.
func TestWhatWasLeftOutIsMissing(t *testing.T) {
	p, send := lone(t)
	now := time.Now()
	has := func(what string, want bool) {
		t.Helper()
		if got := p.HasAll(); got != want {
			t.Errorf("%s: has all is %v", what, got)
		}
	}
	goes := func() {
		t.Helper()
		if err := send(100); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
		p.send(now)
		if _, err := p.Heed(report16(p.sentLog.next-1, 1, uint32(now.Sub(p.epoch)/epochTick)), now); err != nil {
			t.Fatal(err)
		}
	}
	goes()
	has("after a packet that arrived", true)
	if err := send(100); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.drop()
	p.mu.Unlock()
	has("one was left out", false)
	p.begins(p.video.next)
	goes()
	has("after a keyframe", true)
}

// TestReplaysThatAViewerDropsAreNoLoss: without a stream for what is sent again, a repeat has its packet's own number, and who has the packet takes it
// for a replay and says nothing of it.
func TestReplaysThatAViewerDropsAreNoLoss(t *testing.T) {
	target := func(repeats byte) float64 {
		p, send := lone(t)
		now := time.Now()
		if err := send(1000); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
		p.send(now)
		first := p.sentLog.next - 1
		for range repeats {
			p.repeat(p.video.at(p.video.next-1), now)
		}
		now = now.Add(100 * time.Millisecond)
		b := slices.Insert(report16(first, 1, uint32(now.Sub(p.epoch)/epochTick)), 22, 0, repeats) // a run of packets that did not arrive
		binary.BigEndian.PutUint16(b[14:], 1+uint16(repeats))
		if _, err := p.Heed(b, now); err != nil {
			t.Fatal(err)
		}
		return p.rate.Way(now).Target
	}
	if with, without := target(60), target(1); with < without {
		t.Errorf("the rate is %.0f kbit/s after many repeats that were dropped, and %.0f after one", with, without)
	}
}
