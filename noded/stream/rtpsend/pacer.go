// Package rtpsend is the sending side of one viewer's RTP: frames are cut into packets, which a pacer lets go, repeats where they were lost and backs with error correction.
package rtpsend

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

// Bounds of what waits to go out to one viewer, and how it goes.
const (
	// keptPackets is how many video packets are kept, sent ones for a viewer that lost some: half a second of the highest rate. It divides 65536.
	keptPackets = 2048
	// maxQueued is how many of them may wait to be sent. It is more than any frame has; a viewer for whom more waits begins anew with a keyframe.
	maxQueued = 1024
	// maxKeyTime is the longest that a keyframe is given to come over.
	maxKeyTime = 3 * time.Second
	// maxLate is how long all that waits may take at the rate.
	maxLate = 600 * time.Millisecond
	// maxAudio is how many audio packets may wait: what is older is of no use.
	maxAudio = 10
	// A large frame goes out in bursts with pauses between them, or it would overflow the receiver's socket buffer (some 90 packets
	// on a stock Linux) and the buffers of switches on the way.
	burstPackets = 32
	burstPause   = time.Millisecond
	// longFrame is how long what waits may take, or it goes at the pace of a long frame.
	longFrame = 60 * time.Millisecond
	// paceBurst is how long the pacer may have slept and still catch up.
	paceBurst = 5 * time.Millisecond
	// LeastKeyRest is the least time between two keyframes.
	LeastKeyRest = 300 * time.Millisecond
)

// Pacer is the way of one viewer's RTP packets to the network: what tracks write waits here, audio first, then what was lost, then video in order, and
// goes out no faster than the rate allows. It is pion's interceptor of the connection, for all its tracks, and numbers every packet for the viewer's
// transport-wide feedback. It is safe for several goroutines; run does the sending.
type Pacer struct {
	interceptor.NoOp
	rate *congestion.Control
	log  *slog.Logger
	wake chan struct{}

	epoch time.Time

	mu      sync.Mutex
	repeats map[uint8]uint8 // payload types by which packets of others are sent again
	video   *lane
	audio   *lane
	repair  *repair
	probing burstProbe
	lost    []uint16 // video packets to send again
	again   congestion.Meter
	dropped bool    // video was left out: only a keyframe helps
	key     uint16  // where the last keyframe begins: what was lost before it matters no more
	keyed   bool    // one was
	keyEnd  uint16  // its last packet
	keyOpen bool    // which has not come yet
	keySize int     // bytes of it
	credit  float64 // bytes that may go out now
	filled  time.Time
	burst   int // packets since the last pause
	paused  time.Time

	// What the viewer says of what went out.
	sentLog  departures
	unacked  unacked
	heardOf  uint16    // the newest packet that arrived
	heard    bool      // any
	wrote    time.Time // anything
	asked    time.Time // until when reports are wanted though nothing moves
	quiet    time.Time // since when the viewer has said nothing of a packet; zero: it has told of all
	calledAt time.Time
	turned   time.Duration // since the pacer began: what left until then went another way; -1 before any turn
	feedback congestion.Feedback
	odd      uint64 // feedback that cannot be true
	resent   uint64
}

// lane is one track's way.
type lane struct {
	info *interceptor.StreamInfo
	out  interceptor.RTPWriter
	twcc uint8 // the extension for transport-wide numbers; 0: the viewer takes none
	kept []keptPacket
	next uint16 // the first that waits
	end  uint16 // the one after the last
	last uint16 // the last that was sent
	rtx  uint16 // number of the next packet of the stream for what is sent again
	copy []byte // of it
}

// keptPacket is a packet that waits or was sent. Its memory is used again.
type keptPacket struct {
	header     rtp.Header
	extensions []rtp.Extension
	number     [2]byte // transport-wide
	payload    []byte
	seq        uint16
	filled     bool
	sent       time.Time
	resent     time.Time
}

// ErrQueueFull means that a viewer is so far behind that it gets no more until it has begun anew.
var ErrQueueFull = errors.New("more waits for this viewer than it can take")

// NewPacer makes one whose pace is the control's.
func NewPacer(rate *congestion.Control, log *slog.Logger) *Pacer {
	return &Pacer{rate: rate, log: log, wake: make(chan struct{}, 1), epoch: time.Now(), turned: -1}
}

// Repeats says by which payload types the viewer takes packets that are sent again, by their own.
func (p *Pacer) Repeats(repeats map[uint8]uint8) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.repeats = repeats
}

// NewInterceptor makes the pacer the interceptor of its own connection.
func (p *Pacer) NewInterceptor(string) (interceptor.Interceptor, error) { return p, nil }

// BindLocalStream takes a track's packets from now on.
func (p *Pacer) BindLocalStream(info *interceptor.StreamInfo, out interceptor.RTPWriter) interceptor.RTPWriter {
	l := &lane{info: info, out: out, kept: make([]keptPacket, keptPackets)}
	for _, e := range info.RTPHeaderExtensions {
		if e.URI == sdp.TransportCCURI {
			l.twcc = uint8(e.ID)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.HasPrefix(info.MimeType, "audio/") {
		l.kept = l.kept[:maxAudio]
		p.audio = l
	} else {
		p.video, p.repair = l, newRepair(info, l.twcc)
		p.rate.Hears(l.twcc != 0)
	}
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		return len(payload), p.push(l, h, payload)
	})
}

// UnbindLocalStream forgets a track.
func (p *Pacer) UnbindLocalStream(info *interceptor.StreamInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range []**lane{&p.video, &p.audio} {
		if *l != nil && (*l).info.SSRC == info.SSRC {
			*l = nil
		}
	}
}

// push has a packet wait. The payload is copied.
func (p *Pacer) push(l *lane, h *rtp.Header, payload []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l != p.video && l != p.audio {
		return nil // it has ended
	}
	if l.waiting() == 0 && (!l.at(l.next-1).filled || h.SequenceNumber != l.next) {
		l.next, l.end = h.SequenceNumber, h.SequenceNumber
	}
	switch {
	case l == p.audio && l.waiting() == len(l.kept):
		l.next++ // the oldest gives way
	case l == p.video && p.dropped:
		return ErrQueueFull
	case l == p.video && l.waiting() >= maxQueued:
		p.drop()
		return ErrQueueFull
	}
	l.keep(h, payload)
	if l == p.video && p.keyOpen {
		p.keyEnd, p.keyOpen = h.SequenceNumber, !h.Marker
		p.keySize += len(payload)
	}
	if l == p.video {
		p.repair.push(l.at(h.SequenceNumber), p.rate, time.Now())
	}
	p.poke()
	return nil
}

// poke has run look again.
func (p *Pacer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// drop leaves out the video that waits.
func (p *Pacer) drop() {
	p.log.Warn("video left out: the viewer does not keep up", "packets", p.video.waiting())
	p.video.end = p.video.next
	p.lost, p.probing, p.dropped = p.lost[:0], burstProbe{}, true
	p.repair.clear()
}

// begins tells the pacer that a keyframe comes, with this packet first: what was lost or left out before matters no more.
func (p *Pacer) begins(seq uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped, p.key, p.keyed, p.keyOpen, p.keySize = false, seq, true, true, 0
}

// KeyRest is the least time between two keyframes: the one before must have had time to come over whole.
func (p *Pacer) KeyRest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := max(LeastKeyRest, 2*p.rate.Trip()+LeastKeyRest/3)
	if !p.keyed {
		return rest
	}
	return max(rest, p.keyTime()+p.rate.Trip()+LeastKeyRest/3)
}

// keyTime is how long the last keyframe is given to come over.
func (p *Pacer) keyTime() time.Duration {
	return min(congestion.OnWay(float64(p.keySize), p.rate.Plan().Kbps), maxKeyTime)
}

// Backlog is how long what waits will take to go out.
func (p *Pacer) Backlog() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.video == nil {
		return 0
	}
	return congestion.OnWay(float64(p.video.bytes()), p.rate.PaceKbps())
}

// Takes tells whether a frame of so many bytes that is no keyframe would go out whole behind what waits, and not be left out as too late.
func (p *Pacer) Takes(bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.video != nil {
		bytes += p.video.bytes()
	}
	return congestion.OnWay(float64(bytes), p.rate.Plan().Kbps) <= maxLate
}

// late tells whether so much waits, because the rate has fallen meanwhile, that a keyframe is sooner there.
func (p *Pacer) late() bool {
	if p.keyed && (p.keyOpen || p.video != nil && p.video.waits(p.keyEnd)) {
		return false // the keyframe itself is under way
	}
	if !p.rate.Found() {
		return false // of a guessed rate nothing follows
	}
	return p.video != nil && p.video.waiting() > 0 && congestion.OnWay(float64(p.video.bytes()), p.rate.Plan().Kbps) > maxLate
}

// bytes is how much waits.
func (l *lane) bytes() int {
	n := 0
	for s := l.next; s != l.end; s++ {
		n += len(l.at(s).payload)
	}
	return n
}

func (l *lane) waiting() int { return int(l.end - l.next) }

// waits tells whether a packet does.
func (l *lane) waits(seq uint16) bool { return int(seq-l.next) < l.waiting() }

func (l *lane) at(seq uint16) *keptPacket { return &l.kept[int(seq)%len(l.kept)] }

func (l *lane) keep(h *rtp.Header, payload []byte) {
	k := l.at(h.SequenceNumber)
	k.header, k.seq, k.filled, k.resent = *h, h.SequenceNumber, true, time.Time{}
	if k.extensions == nil {
		k.extensions = make([]rtp.Extension, 0, maxExtensions)
	}
	k.extensions = append(k.extensions[:0], h.Extensions...)
	k.header.Extensions = k.extensions
	if l.twcc != 0 {
		k.number = [2]byte{}
		_ = k.header.SetExtension(l.twcc, k.number[:])
		k.extensions = k.header.Extensions
	}
	k.payload = append(k.payload[:0], payload...)
	l.end = h.SequenceNumber + 1
}

// Run sends what waits until ctx ends.
func (p *Pacer) Run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		timer.Reset(p.send(time.Now()))
	}
}

// send sends what may go now, and says how long to wait for more.
func (p *Pacer) send(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refill(now)
	if p.silence(now) {
		return callEvery
	}
	for p.audio != nil && p.audio.waiting() > 0 {
		p.first(p.audio, now)
	}
	if p.late() {
		p.drop()
	}
	for p.more(now) {
		switch {
		case p.sendLost(now):
		case p.sendRepair(now):
		case p.video != nil && p.video.waiting() > 0:
			p.first(p.video, now)
		case p.sendProbe(now), p.sendCall(now):
		default:
			return p.idle(now)
		}
	}
	return p.nextTurn(now)
}

// refill gives the credit that the time since the last turn was worth.
func (p *Pacer) refill(now time.Time) {
	bytes := func(d time.Duration) float64 { return float64(p.paceKbps()) * 1000 / 8 * d.Seconds() }
	burst := paceBurst
	if !p.rate.Found() {
		burst = congestion.StartBurst
	}
	most := max(bytes(burst), 2*maxPacket)
	p.credit = min(p.credit+bytes(min(now.Sub(p.filled), time.Second)), most)
	p.filled = now
}

// paceKbps is how fast packets leave now: a probe sets its own pace.
func (p *Pacer) paceKbps() int {
	if p.probing.active() {
		return max(p.probing.Kbps, p.rate.PaceKbps())
	}
	kbps := p.rate.PaceKbps()
	if p.video != nil && congestion.OnWay(float64(p.video.bytes()), kbps) > longFrame {
		return p.rate.LongPaceKbps()
	}
	return kbps
}

// more tells whether another packet may go now.
func (p *Pacer) more(now time.Time) bool {
	if now.Sub(p.paused) >= burstPause {
		p.paused, p.burst = now, 0
	}
	return p.credit > 0 && p.burst < burstPackets
}

// nextTurn is how long it takes until another packet may go.
func (p *Pacer) nextTurn(now time.Time) time.Duration {
	wait := time.Duration(0)
	if p.credit <= 0 {
		wait = congestion.OnWay(-p.credit+1, p.paceKbps())
	}
	if p.burst >= burstPackets {
		wait = max(wait, p.paused.Add(burstPause).Sub(now))
	}
	return max(wait, 100*time.Microsecond)
}

// first sends the packet that has waited longest.
func (p *Pacer) first(l *lane, now time.Time) {
	k := l.at(l.next)
	l.next++
	l.last, k.sent = k.seq, now
	if l == p.video {
		p.unacked.sent(k.seq)
	}
	p.write(l, &k.header, k.payload, departure{rtp: k.seq, video: l == p.video}, now)
}

// write sends one packet, numbered for the viewer's feedback.
func (p *Pacer) write(l *lane, h *rtp.Header, payload []byte, d departure, now time.Time) {
	size := h.MarshalSize() + len(payload)
	d.at, d.size = now.Sub(p.epoch), int32(size)
	if l.twcc != 0 {
		n := p.sentLog.add(d)
		if e := h.GetExtension(l.twcc); len(e) == 2 {
			e[0], e[1] = byte(n>>8), byte(n)
		}
	}
	p.credit -= float64(size + wireOverhead)
	p.burst++
	p.wrote = now
	p.rate.Left(size+wireOverhead, d.more, now)
	if p.quiet.IsZero() {
		p.quiet = now
	}
	// What cannot be sent is for the viewer to ask for again.
	_, _ = l.out.Write(h, payload, nil)
}

// idle is how long to sleep when nothing waits.
func (p *Pacer) idle(now time.Time) time.Duration {
	wait := time.Hour
	if at := p.rate.ProbeAt(now); !at.IsZero() && !p.dropped {
		wait = max(at.Sub(now), time.Millisecond)
	}
	if !p.quiet.IsZero() {
		wait = min(wait, callEvery)
	}
	if now.Before(p.asked) {
		wait = min(wait, askEvery)
	}
	return wait
}

// HasAll tells whether the viewer has every packet, and none was left out since the last keyframe.
func (p *Pacer) HasAll() bool {
	p.mu.Lock()
	dropped := p.dropped
	p.mu.Unlock()
	return !dropped && p.unacked.none()
}

// Sent is how many packets were sent again, and how many against loss.
func (p *Pacer) Sent() (again, repairs uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.repair != nil {
		repairs = p.repair.sent
	}
	return p.resent, repairs
}
