package rtpsend

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// sentPackets counts what a pacer sends.
type sentPackets struct{ packets, bytes int }

// out is the way from an encoder's frame to the last packet, without a network.
func (s *sentPackets) out(t testing.TB) *Video {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	v := NewVideo(NewPacer(congestion.New(log), log))
	v.playout, v.capture = 5, 6
	info := &interceptor.StreamInfo{
		SSRC: 7, PayloadType: 102, MimeType: webrtc.MimeTypeH264, RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{ID: 4, URI: sdp.TransportCCURI}},
	}
	v.track.ssrc = 7
	v.track.writer = writerOf{v.pacer.BindLocalStream(info, interceptor.RTPWriterFunc(func(_ *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		s.packets++
		s.bytes += len(payload)
		return len(payload), nil
	}))}
	v.pacer.rate.Hears(false) // the rate is known from the start
	return v
}

type writerOf struct{ interceptor.RTPWriter }

func (w writerOf) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	return w.RTPWriter.Write(h, payload, nil)
}

func (w writerOf) Write([]byte) (int, error) { return 0, errors.New("packets are written by WriteRTP") }

// sends has one frame be sent whole, with the clock going on as it must, and the viewer say that it has all.
func sends(t testing.TB, v *Video, f Frame, now time.Time) time.Time {
	if err := v.Send(f); err != nil {
		t.Error(err)
	}
	for v.pacer.video.waiting() > 0 {
		v.pacer.send(now)
		now = now.Add(burstPause)
	}
	v.pacer.quiet = time.Time{}
	return now
}

// aFrame is as large as one of a scrolling screen.
func aFrame() Frame {
	unit := bytes.Repeat([]byte{0x41, 1, 2, 3}, 30_000/4)
	return Frame{PayloadType: 102, Units: [][]byte{{0x67, 1}, unit}, Timestamp: 90}
}

func TestSendingAFrameMakesNothingNew(t *testing.T) {
	var out sentPackets
	v, f, now := out.out(t), aFrame(), time.Now()
	each := len(f.Units[1])/rtpPayload + 2
	for range 3 * keptPackets / each { // the memory of all kept packets is there then, for large ones
		now = sends(t, v, f, now)
	}
	before := out
	const runs = 50
	if n := testing.AllocsPerRun(runs, func() { now = sends(t, v, f, now) }); n > 0 {
		t.Errorf("%v allocations a frame, want none", n)
	}
	if got := out.packets - before.packets; got != (runs+1)*each {
		t.Errorf("%d packets went out, want %d a frame", got, each)
	}
}

func BenchmarkSendFrame(b *testing.B) {
	var out sentPackets
	v, f, now := out.out(b), aFrame(), time.Now()
	b.ReportAllocs()
	bytes := len(f.Units[0]) + len(f.Units[1])
	b.SetBytes(int64(bytes))
	for b.Loop() {
		now = sends(b, v, f, now)
	}
	if b.N > 0 && out.bytes < b.N*bytes {
		b.Errorf("%d bytes of %d went out", out.bytes, b.N*bytes)
	}
}
