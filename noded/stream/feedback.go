package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/transport/v5/packetio"
	"golang.org/x/time/rate"
)

// What a viewer may send of RTCP a second, and at once, and for how many streams.
const (
	maxRTCP    = 1500 // bytes a packet
	rtcpRate   = 500
	rtcpBurst  = 1000
	maxStreams = 64
	// clockSlip is how much a viewer's clock may run away from ours between two reports before it counts as another.
	clockSlip = 10 * time.Second
)

var (
	errStreams   = errors.New("the viewer sends for streams that there are not")
	errRTCPFlood = errors.New("too many reports")
	errRTCPLong  = fmt.Errorf("a report is longer than %d bytes", maxRTCP)
	errUnsent    = errors.New("feedback tells of packets that were not sent")
)

// reports is where pion puts the packets that come in by SRTP and SRTCP: reports are taken up at once, for whichever of our streams they are (feedback names the
// stream of the last packet that came, which may be one sent again), and media, which no viewer sends, is left.
type reports struct {
	take  func(b []byte)
	flood func()

	mu      sync.Mutex
	streams int
}

// open is pion's buffer factory.
func (r *reports) open(kind packetio.BufferPacketType, _ uint32) io.ReadWriteCloser {
	r.mu.Lock()
	r.streams++
	over := r.streams == maxStreams
	r.mu.Unlock()
	if over {
		r.flood()
	}
	s := &reportStream{closed: make(chan struct{})}
	if kind == packetio.RTCPBufferPacket {
		s.take = r.take
	}
	return s
}

// reportStream is one stream's: what is written is taken up, and there is nothing to read.
type reportStream struct {
	take   func(b []byte)
	closed chan struct{}
	once   sync.Once
}

func (s *reportStream) Write(b []byte) (int, error) {
	if s.take != nil {
		s.take(b)
	}
	return len(b), nil
}

func (s *reportStream) Read([]byte) (int, error) {
	<-s.closed
	return 0, io.EOF
}

func (s *reportStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// listen makes what takes up the viewer's reports.
func (p *peer) listen() *reports {
	limit := rate.NewLimiter(rtcpRate, rtcpBurst)
	return &reports{
		flood: func() {
			p.refuse(errStreams)
			p.end(byeMessage{T: "bye", Reason: errStreams.Error()})
		},
		take: func(b []byte) {
			switch {
			case len(b) > maxRTCP:
				p.refuse(errRTCPLong)
			case !limit.Allow():
				p.refuse(errRTCPFlood)
			default:
				if err := p.hear(b, time.Now()); err != nil {
					p.refuse(err)
				}
			}
		},
	}
}

// hear takes up one RTCP packet.
func (p *peer) hear(b []byte, now time.Time) error {
	var h rtcp.Header
	if err := h.Unmarshal(b); err != nil {
		return fmt.Errorf("read a report: %w", err)
	}
	if h.Type == rtcp.TypeTransportSpecificFeedback && h.Count == rtcp.FormatTCC {
		woke, err := p.pacer.heed(b, now)
		if woke {
			p.keyWanted.Store(true)
			p.screen.viewers.poke()
		}
		return err
	}
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		return fmt.Errorf("read a report: %w", err)
	}
	for _, packet := range packets {
		switch r := packet.(type) {
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			p.wantKey()
		case *rtcp.TransportLayerNack:
			if p.pacer.nack(r, now) {
				p.wantKey()
			}
		case *rtcp.ReceiverReport:
			for _, b := range r.Reports {
				p.rate.report(float64(b.FractionLost)/256, now)
			}
		}
	}
	return nil
}

// wantKey asks the painter for a keyframe, which it makes no more often than is good.
func (p *peer) wantKey() {
	p.log.Debug("keyframe asked for", "has all", p.pacer.unacked.none())
	p.keyWanted.Store(true)
	p.screen.viewers.poke()
}

// nack has what the viewer lacks sent again, and gives whether a keyframe would do better.
func (p *pacer) nack(n *rtcp.TransportLayerNack, now time.Time) bool {
	var seqs []uint16
	for _, pair := range n.Nacks {
		seqs = append(seqs, pair.PacketList()...)
	}
	return p.ask(seqs, now)
}

// viewerClock makes one time of the times in a viewer's feedback, which are told in parts.
type viewerClock struct {
	epoch uint32
	base  time.Duration
	heard time.Time
}

// at is the viewer's time at the epoch of a feedback; ok is false where the clock has jumped.
func (c *viewerClock) at(epoch uint32, now time.Time) (base time.Duration, ok bool) {
	lapse := feedbackLapse(c.epoch, epoch)
	ok = !c.heard.IsZero()
	if slip := lapse - now.Sub(c.heard); slip > clockSlip || slip < -clockSlip {
		ok = false
	}
	c.epoch, c.base, c.heard = epoch, c.base+lapse, now
	return c.base, ok
}

// heed takes in the viewer's feedback on what arrived. woke tells that the viewer had been silent.
func (p *pacer) heed(b []byte, now time.Time) (woke bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var came []reached
	lost, unsent, news := 0, 0, false
	var trip time.Duration
	if len(b) < feedbackHeader {
		return false, errFeedbackShort
	}
	base, same := p.clock.at(binary.BigEndian.Uint32(b[16:])>>8, now)
	_, err = parseFeedback(b, func(seq uint16, arrived bool, after time.Duration) {
		d := p.sentLog.get(seq)
		switch {
		case d == nil:
			if arrived {
				unsent++
			}
		case arrived && !d.arrived:
			if d.missing {
				lost--
			}
			d.arrived, d.missing, news = true, false, true
			if d.video {
				p.unacked.arrived(d.rtp)
			}
			if !p.heard || int16(seq-p.heardOf) > 0 {
				p.heardOf, p.heard = seq, true
				trip = now.Sub(p.epoch) - d.at
			}
			came = append(came, reached{d.at, base + after, int(d.size) + wireOverhead})
		case !arrived && !d.arrived && !d.missing:
			d.missing = true
			lost++
		}
	})
	if err != nil {
		return false, err
	}
	if news {
		p.quiet = time.Time{}
		if p.heardOf != p.sentLog.next-1 {
			p.quiet = now
		}
		woke = p.rate.wakes(now)
	}
	if !same {
		p.rate.restart()
	}
	p.rate.took(came, max(lost, 0), trip, p.heardOf == p.sentLog.next-1, now)
	if unsent > 0 {
		p.odd++
		return woke, errUnsent
	}
	return woke, nil
}
