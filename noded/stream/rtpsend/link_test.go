package rtpsend

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

// link is an emulated network and a viewer behind it, in the virtual time of a synctest bubble: the pacer and the controller in front of it are the ones
// that ship.
type link struct {
	t     *testing.T
	rate  *congestion.Control
	pacer *Pacer
	write interceptor.RTPWriter
	stop  context.CancelFunc
	all   sync.WaitGroup

	mu    sync.Mutex
	kbps  float64
	delay time.Duration // one way
	queue time.Duration // the longest
	loss  float64
	dead  bool
	dice  *rand.Rand
	free  time.Time // when the queue is empty
	fed   bool      // the viewer gives feedback
	liar  func(*rtcp.TransportLayerCC)

	// What the viewer has.
	got        map[uint16]time.Duration
	base       uint16
	newest     uint16
	began      time.Time
	frames     []*frameOnWay // that are not shown, in order
	done       []shownFrame
	wire, sent int // bytes that arrived, and that were sent
	repaired   int
	seqs       map[uint16]bool
	nacked     map[uint16]*lack
	highest    uint16
	any        bool
	packets    packetizer
	stamp      uint32
	keys       int // asked for
	keyAt      time.Time
	keyBytes   int // a keyframe has at least
	keyframes  int
	parities   []parityOnWay // that may be of use yet
}

type frameOnWay struct {
	at        time.Time
	stamp     uint32
	first     uint16
	num, have int
	key       bool
}

type parityOnWay struct {
	seqs  []uint16
	stamp uint32
}

type lack struct {
	asked time.Time
	tries int
}

type shownFrame struct{ sent, shown time.Time }

const (
	linkSSRC = 1000 + iota
	linkRTX
	linkFEC
)

const (
	// Transport-wide feedback tells times in these units, and of so many packets in a chunk of two bits each.
	epochTick    = 64 * time.Millisecond
	arrivalTick  = 250 * time.Microsecond
	chunkSymbols = 7
	// painterBurst is how far the painter goes into debt, painterPace its least time between two frames.
	painterBurst = 60 * time.Millisecond
	painterPace  = 12 * time.Millisecond
)

// newLink starts a way of so many kbps with a round trip.
func newLink(t *testing.T, kbps float64, trip time.Duration) *link {
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	l := &link{
		t: t, rate: congestion.New(log), kbps: kbps, delay: trip / 2, queue: 300 * time.Millisecond, dice: rand.New(rand.NewPCG(7, 7)), fed: true,
		got: map[uint16]time.Duration{}, began: time.Now(), seqs: map[uint16]bool{}, nacked: map[uint16]*lack{},
	}
	l.pacer = NewPacer(l.rate, log)
	info := &interceptor.StreamInfo{
		SSRC: linkSSRC, PayloadType: 102, SSRCRetransmission: linkRTX, SSRCForwardErrorCorrection: linkFEC, PayloadTypeForwardErrorCorrection: 49, MimeType: "video/H264",
		RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{ID: 4, URI: sdp.TransportCCURI}},
	}
	l.pacer.Repeats(map[uint8]uint8{102: 103})
	l.write = l.pacer.BindLocalStream(info, interceptor.RTPWriterFunc(l.carry))
	ctx, cancel := context.WithCancel(t.Context())
	l.stop = cancel
	l.all.Go(func() { l.pacer.Run(ctx) })
	l.all.Go(func() { l.answer(ctx) })
	return l
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}

func (l *link) close() {
	l.stop()
	l.all.Wait()
}

// carry takes a packet from the pacer to the viewer, through the queue.
func (l *link) carry(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, size := time.Now(), h.MarshalSize()+len(payload)+wireOverhead
	e := h.GetExtension(4)
	number := uint16(e[0])<<8 | uint16(e[1])
	seqs := []uint16{h.SequenceNumber}
	switch h.SSRC {
	case linkRTX:
		seqs[0] = uint16(payload[0])<<8 | uint16(payload[1])
	case linkFEC:
		seqs = covered(payload)
	}
	repair := h.SSRC == linkFEC
	l.sent += size
	if l.free.Before(now) {
		l.free = now
	}
	if l.dead || l.free.Sub(now) > l.queue || l.dice.Float64() < l.loss {
		return size, nil
	}
	l.free = l.free.Add(congestion.OnWay(float64(size), int(l.kbps)))
	stamp := h.Timestamp
	time.AfterFunc(l.free.Add(l.delay).Sub(now), func() { l.arrive(number, seqs, stamp, size, repair) })
	return size, nil
}

// covered lists the packets that one of FlexFEC-03 is for.
func covered(b []byte) (seqs []uint16) {
	base := binary.BigEndian.Uint16(b[16:])
	masks := []struct{ at, bits int }{{18, 15}, {20, 31}, {24, 63}}
	first := uint16(0)
	for _, m := range masks {
		for i := range m.bits {
			if bit := i + 1; b[m.at+bit/8]>>(7-bit%8)&1 == 1 {
				seqs = append(seqs, base+first+uint16(i))
			}
		}
		if b[m.at]>>7 == 1 {
			break
		}
		first += uint16(m.bits)
	}
	return seqs
}

// arrive takes in a packet at the viewer.
func (l *link) arrive(number uint16, seqs []uint16, stamp uint32, size int, repair bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.wire += size
	l.got[number] = now.Sub(l.began)
	l.newest = number
	if repair {
		l.parities = append(l.parities, parityOnWay{seqs, stamp})
		l.parities = l.parities[max(len(l.parities)-12, 0):]
	} else {
		l.take(seqs[0], stamp)
	}
	for again := true; again; { // one that is restored may restore the next
		again = false
		l.parities = slices.DeleteFunc(l.parities, func(p parityOnWay) bool {
			lack := slices.DeleteFunc(slices.Clone(p.seqs), func(s uint16) bool { return l.seqs[s] })
			if len(lack) != 1 {
				return len(lack) == 0
			}
			l.take(lack[0], p.stamp)
			l.repaired++
			again = true
			return true
		})
	}
	l.show(now)
}

// take takes in a packet of the picture, however it came.
func (l *link) take(seq uint16, stamp uint32) {
	if l.seqs[seq] {
		return
	}
	l.seqs[seq] = true
	delete(l.seqs, seq+1<<15)
	delete(l.nacked, seq)
	if !l.any {
		l.highest, l.any = seq, true
	}
	for int16(seq-l.highest) > 0 {
		if l.highest++; l.highest != seq {
			l.nacked[l.highest] = &lack{}
		}
	}
	for _, f := range l.frames {
		if f.stamp == stamp {
			f.have++
		}
	}
}

// show shows what can be: frames in order, or from a whole keyframe on.
func (l *link) show(now time.Time) {
	for i := len(l.frames) - 1; i > 0; i-- {
		if f := l.frames[i]; f.key && f.have == f.num {
			l.frames = l.frames[i:]
			for s := range l.nacked {
				if int16(s-f.first) < 0 {
					delete(l.nacked, s)
				}
			}
			break
		}
	}
	for len(l.frames) > 0 && l.frames[0].have == l.frames[0].num {
		if len(l.done) > 0 && now.Sub(l.done[len(l.done)-1].shown) > 500*time.Millisecond {
			l.t.Logf("%v: nothing was shown for %v", now.Sub(l.began), now.Sub(l.done[len(l.done)-1].shown))
		}
		l.done = append(l.done, shownFrame{l.frames[0].at, now})
		l.frames = l.frames[1:]
	}
}

// answer sends feedback and asks for what is missing, as Chromium does.
func (l *link) answer(ctx context.Context) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		l.mu.Lock()
		var packets []rtcp.Packet
		if i%4 == 0 && l.fed && len(l.got) > 0 {
			packets = append(packets, l.feedback())
		}
		var lack []uint16
		for s, n := range l.nacked {
			if n.tries == 10 {
				l.t.Logf("gave up on %d", s)
				l.keys++
				delete(l.nacked, s)
			} else if time.Since(n.asked) > 100*time.Millisecond {
				lack = append(lack, s)
				n.asked, n.tries = time.Now(), n.tries+1
			}
		}
		slices.Sort(lack)
		for some := range slices.Chunk(lack, 100) {
			packets = append(packets, &rtcp.TransportLayerNack{MediaSSRC: linkSSRC, Nacks: rtcp.NackPairsFromSequenceNumbers(some)})
		}
		lost := l.dead
		delay := l.delay
		l.mu.Unlock()
		if !lost {
			for _, p := range packets {
				b, err := p.Marshal()
				if err != nil {
					l.t.Error(err)
				}
				time.AfterFunc(delay, func() { l.deliver(b) })
			}
		}
	}
}

func (l *link) deliver(b []byte) {
	l.mu.Lock()
	dead := l.dead
	l.mu.Unlock()
	if dead {
		return
	}
	now := time.Now()
	if b[0]&31 == rtcp.FormatTCC && b[1] == byte(rtcp.TypeTransportSpecificFeedback) {
		woke, err := l.pacer.Heed(b, now)
		if err != nil && l.liar == nil {
			l.t.Errorf("feedback refused: %v", err)
		}
		if woke {
			l.mu.Lock()
			l.keys++
			l.mu.Unlock()
		}
		return
	}
	var n rtcp.TransportLayerNack
	if err := n.Unmarshal(b); err != nil {
		l.t.Error(err)
		return
	}
	if l.pacer.Nack(&n, now) {
		l.mu.Lock()
		l.keys++
		l.mu.Unlock()
	}
}

// feedback makes a report of what arrived since the last one.
func (l *link) feedback() *rtcp.TransportLayerCC {
	last := l.base
	for n := range l.got {
		if int16(n-last) > 0 {
			last = n
		}
	}
	count := last - l.base + 1
	f := &rtcp.TransportLayerCC{Header: rtcp.Header{Type: rtcp.TypeTransportSpecificFeedback, Count: rtcp.FormatTCC}, MediaSSRC: linkSSRC, BaseSequenceNumber: l.base, PacketStatusCount: count}
	at := time.Duration(-1)
	var symbols []uint16
	for i := range count {
		t, ok := l.got[l.base+i]
		if !ok {
			symbols = append(symbols, rtcp.TypeTCCPacketNotReceived)
			continue
		}
		if at < 0 {
			f.ReferenceTime = uint32(t / epochTick)
			at = t / epochTick * epochTick
		}
		delta := (t - at) / arrivalTick
		at += delta * arrivalTick
		symbols = append(symbols, rtcp.TypeTCCPacketReceivedLargeDelta)
		f.RecvDeltas = append(f.RecvDeltas, &rtcp.RecvDelta{Type: rtcp.TypeTCCPacketReceivedLargeDelta, Delta: int64(delta * arrivalTick / time.Microsecond)})
	}
	for len(symbols) > 0 {
		n := min(chunkSymbols, len(symbols))
		f.PacketChunks = append(f.PacketChunks, &rtcp.StatusVectorChunk{Type: rtcp.TypeTCCStatusVectorChunk, SymbolSize: rtcp.TypeTCCSymbolSizeTwoBit, SymbolList: pad(symbols[:n])})
		symbols = symbols[n:]
	}
	l.base = last + 1
	clear(l.got)
	if l.liar != nil {
		l.liar(f)
	}
	f.Header.Length = uint16(f.MarshalSize()/4 - 1)
	f.Header.Padding = f.MarshalSize() > int(20+2*len(f.PacketChunks)+2*len(f.RecvDeltas))
	return f
}

func pad(s []uint16) []uint16 {
	for len(s) < chunkSymbols {
		s = append(slices.Clone(s), rtcp.TypeTCCPacketNotReceived)
	}
	return s
}

// bytes is how many were sent so far.
func (l *link) bytes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// set changes the way.
func (l *link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// play sends frames for a while, each of a share of what the plan allows, as the painter would: none while the pacer lags behind or the rate is used up.
func (l *link) play(lasts time.Duration, share float64) {
	end, debt, found := time.Now().Add(lasts), time.Now(), l.rate.Found()
	for time.Now().Before(end) {
		p := l.rate.Plan()
		if p.Found && !found {
			found, debt = true, time.Now().Add(max(time.Until(debt), 0)*congestion.StartKbps/time.Duration(p.Kbps))
		}
		time.Sleep(time.Second / time.Duration(p.FPS))
		if p.Hold || time.Until(debt) > painterBurst {
			continue
		}
		kbps := min(float64(p.Kbps), congestion.MaxKbps)
		sent := l.frame(int(share * kbps * 1000 / 8 / float64(p.FPS)))
		l.rate.Moves() // as the painter says
		if now := time.Now(); debt.Before(now) {
			debt = now
		}
		debt = debt.Add(congestion.OnWay(float64(sent), int(kbps)))
	}
}

// frame sends one frame, a keyframe where one is asked for, and says how large it is.
func (l *link) frame(bytes int) int { return l.frameOf(bytes, max(bytes, l.keyBytes)) }

// frameOf sends one frame of a size, or of another one where a keyframe is asked for, and says which.
func (l *link) frameOf(bytes, keyBytes int) int {
	l.mu.Lock()
	key := l.keys > 0 && time.Since(l.keyAt) > l.pacer.KeyRest() || l.stamp == 0
	l.mu.Unlock()
	if key {
		bytes = keyBytes
	}
	l.send(bytes, key)
	return bytes
}

// send sends one frame of a kind.
func (l *link) send(bytes int, key bool) {
	l.mu.Lock()
	l.stamp += 1500
	stamp := l.stamp
	if key {
		l.keys, l.keyAt = 0, time.Now()
		l.keyframes++
	}
	n := max((bytes+rtpPayload-1)/rtpPayload, 1)
	l.frames = append(l.frames, &frameOnWay{at: time.Now(), stamp: stamp, num: n, first: l.packets.seq + 1, key: key})
	l.mu.Unlock()
	if key {
		l.pacer.begins(l.packets.seq + 1)
	}
	payload := make([]byte, max(bytes/n, 1))
	for i := range n {
		h := l.packets.header(stamp, i == n-1)
		h.SSRC, h.PayloadType = linkSSRC, 102
		if _, err := l.write.Write(&h, payload, nil); err != nil {
			l.set(func() { l.keys++ })
		}
	}
}

// seen tells how the frames of a time were shown: how many, the longest time without one, and their age at the median and at 95 %.
func (l *link) seen(from, to time.Time) (frames int, freeze, p50, p95 time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ages []time.Duration
	last := from
	for _, f := range l.done {
		if f.shown.Before(from) || f.shown.After(to) {
			continue
		}
		ages = append(ages, f.shown.Sub(f.sent))
		freeze = max(freeze, f.shown.Sub(last))
		last = f.shown
	}
	freeze = max(freeze, to.Sub(last))
	if len(ages) == 0 {
		return 0, freeze, 0, 0
	}
	slices.Sort(ages)
	return len(ages), freeze, ages[len(ages)/2], ages[len(ages)*95/100]
}
