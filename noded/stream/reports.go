package stream

import (
	"errors"
	"fmt"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/rtpsend"

	"github.com/pion/rtcp"
	"golang.org/x/time/rate"
)

// What a viewer may send of RTCP a second, and at once.
const (
	maxRTCP   = 1500 // bytes a packet
	rtcpRate  = 500
	rtcpBurst = 1000
)

var (
	errStreams   = errors.New("the viewer sends for streams that there are not")
	errRTCPFlood = errors.New("too many reports")
	errRTCPLong  = fmt.Errorf("a report is longer than %d bytes", maxRTCP)
)

// listen makes what takes up the viewer's reports.
func (p *peer) listen() *rtpsend.Reports {
	limit := rate.NewLimiter(rtcpRate, rtcpBurst)
	return &rtpsend.Reports{
		Flood: func() {
			p.refuse(errStreams)
			p.end(byeMessage{T: "bye", Reason: errStreams.Error()})
		},
		Take: func(b []byte) {
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
		known := p.rate.Found()
		woke, err := p.pacer.Heed(b, now)
		if woke {
			p.keyWanted.Store(true)
		}
		if woke || !known && p.rate.Found() {
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
			if p.pacer.Nack(r, now) {
				p.wantKey()
			}
		case *rtcp.ReceiverReport:
			for _, b := range r.Reports {
				p.rate.Report(float64(b.FractionLost)/256, now)
			}
		}
	}
	return nil
}

// wantKey asks the painter for a keyframe, which it makes no more often than is good.
func (p *peer) wantKey() {
	p.log.Debug("keyframe asked for", "has all", p.pacer.HasAll())
	p.keyWanted.Store(true)
	p.screen.viewers.poke()
}

// fill puts what is known of the viewer's way into s.
func (p *peer) fill(s *Stats, now time.Time) {
	way := p.rate.Way(now)
	s.Loss, s.Queue = round(way.Loss*100, 10), round(millis(way.Queue), 10)
	s.Acked = round(way.Acked, 1)
	s.Resent, s.Repairs = p.pacer.Sent()
	if b := p.beat.Load(); b != nil {
		s.Beat, s.InStep = round(millis(b.period), 100), p.inStep.Load()
	}
}

// link is how the way to the viewer is whom the first screen's picture is made for.
func (w *Worker) link(now time.Time) contract.Link {
	v := w.screens[0].viewers
	v.mu.Lock()
	p, by := v.lead(), v.scale
	v.mu.Unlock()
	if p == nil {
		return contract.Link{}
	}
	way := p.rate.Way(now)
	return contract.Link{RTT: millis(p.rtt()), Loss: way.Loss, Target: way.Target, Acked: way.Acked, Scale: by.Ratio()}
}
