package stream

import (
	"bytes"
	"errors"
	"image"
	"log/slog"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// sentPackets counts what a pacer sends.
type sentPackets struct{ packets, bytes int }

// outTo is a peer from its encoder's frame to the last packet, without a network.
func (s *sentPackets) outTo(t testing.TB) *peer {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p := &peer{log: log, rate: newOutgoing(log), playout: 5, capture: 6, track: &videoTrack{}, worker: &Worker{clock: clock{time.Now()}}}
	p.takes = takesOf([]webrtc.RTPCodecParameters{{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, SDPFmtpLine: "profile-level-id=42e01f;packetization-mode=1"}, PayloadType: 102,
	}}, func(Format) bool { return true })
	p.pacer = newPacer(p.rate, log)
	info := &interceptor.StreamInfo{
		SSRC: 7, PayloadType: 102, MimeType: webrtc.MimeTypeH264, RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{ID: 4, URI: sdp.TransportCCURI}},
	}
	p.track.ssrc = 7
	p.track.writer = writerOf{p.pacer.BindLocalStream(info, interceptor.RTPWriterFunc(func(_ *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		s.packets++
		s.bytes += len(payload)
		return len(payload), nil
	}))}
	return p
}

type writerOf struct{ interceptor.RTPWriter }

func (w writerOf) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	return w.RTPWriter.Write(h, payload, nil)
}

func (w writerOf) Write([]byte) (int, error) { return 0, errors.New("packets are written by WriteRTP") }

// sends has the peer send one frame whole, with the clock going on as it must, and the viewer say that it has all.
func sends(p *peer, pkt Packet, now time.Time) time.Time {
	p.sendFrame(H264, pkt, 90)
	for p.pacer.video.waiting() > 0 {
		p.pacer.send(now)
		now = now.Add(burstPause)
	}
	p.pacer.quiet = time.Time{}
	return now
}

// aFrame is as large as one of a scrolling screen.
func aFrame() Packet {
	unit := bytes.Repeat([]byte{0x41, 1, 2, 3}, 30_000/4)
	return Packet{Units: [][]byte{{0x67, 1}, unit}, Bytes: len(unit) + 2}
}

func TestSendingAFrameMakesNothingNew(t *testing.T) {
	var out sentPackets
	p, pkt, now := out.outTo(t), aFrame(), time.Now()
	each := len(pkt.Units[1])/rtpPayload + 2
	for range 3 * keptPackets / each { // the memory of all kept packets is there then, for large ones
		now = sends(p, pkt, now)
	}
	before := out
	const runs = 50
	if n := testing.AllocsPerRun(runs, func() { now = sends(p, pkt, now) }); n > 0 {
		t.Errorf("%v allocations a frame, want none", n)
	}
	if got := out.packets - before.packets; got != (runs+1)*each {
		t.Errorf("%d packets went out, want %d a frame", got, each)
	}
}

func BenchmarkSendFrame(b *testing.B) {
	var out sentPackets
	p, pkt, now := out.outTo(b), aFrame(), time.Now()
	b.ReportAllocs()
	b.SetBytes(int64(pkt.Bytes))
	for b.Loop() {
		now = sends(p, pkt, now)
	}
	if b.N > 0 && out.bytes < b.N*pkt.Bytes {
		b.Errorf("%d bytes of %d went out", out.bytes, b.N*pkt.Bytes)
	}
}

// rowsEncoder counts the rows that it is given, and fails for one.
type rowsEncoder struct {
	Encoder
	bad int
}

func (e rowsEncoder) Update(_ []byte, _ int, rects []image.Rectangle) (int, error) {
	n := 0
	for _, r := range rects {
		if r.Min.Y <= e.bad && e.bad < r.Max.Y {
			return n, errors.New("no")
		}
		n += r.Dy()
	}
	return n, nil
}

func TestIntakeTakesEachPieceOnceAndMakesNothingNew(t *testing.T) {
	in := newIntake()
	defer in.close()
	rects := []image.Rectangle{image.Rect(0, 10, 50, 300), image.Rect(20, 500, 30, 520)}
	take := func(enc Encoder) (int, error) {
		in.begin(enc, nil, 0, rects)
		for y := 0; y < 576; y += 64 {
			in.arrived(image.Rect(0, y, 100, y+64))
		}
		return in.wait()
	}
	var good Encoder = rowsEncoder{bad: -1}
	check := func() {
		if n, err := take(good); n != 310 || err != nil {
			t.Errorf("%d rows, %v; want 310", n, err)
		}
	}
	check()
	// Half of one: elsewhere in the process something may be made meanwhile.
	if n := testing.AllocsPerRun(100, check); n >= 0.5 {
		t.Errorf("%v allocations a frame, want none", n)
	}
	if n, err := take(rowsEncoder{bad: 510}); n != 298 || err == nil {
		t.Errorf("%d rows, %v; want 298 and what was wrong with the others", n, err)
	}
	check()
}
