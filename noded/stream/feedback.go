package stream

import (
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/rtpfb"
	"github.com/pion/rtcp"
)

// maxRTCP is the longest RTCP packet that is read.
const maxRTCP = 1500

// feedback reads what the viewer reports of the video until the connection ends.
func (p *peer) feedback() {
	buf := make([]byte, maxRTCP)
	for {
		n, attributes, err := p.sender.Read(buf)
		if err != nil {
			return
		}
		if attributes == nil {
			attributes = make(interceptor.Attributes)
		}
		packets, err := attributes.GetRTCPPackets(buf[:n])
		if err != nil {
			p.refuse(err)
			continue
		}
		now := time.Now()
		if r, ok := attributes.Get(rtpfb.CCFBAttributesKey).(rtpfb.Report); ok {
			for _, r := range r.PacketReports {
				if r.Arrived {
					p.unacked.arrived(r.RTPSequenceNumber)
				}
			}
			if f, ok := summary(r.PacketReports, p.worker.epoch); ok {
				p.rate.delay(f, now)
			}
		}
		for _, packet := range packets {
			p.hear(packet, now)
		}
	}
}

func (p *peer) hear(packet rtcp.Packet, now time.Time) {
	switch r := packet.(type) {
	case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
		p.log.Debug("keyframe asked for", "has all", p.unacked.none())
		p.keyWanted.Store(true)
		p.screen.viewers.poke()
	case *rtcp.ReceiverReport:
		for _, b := range r.Reports {
			p.rate.loss(float64(b.FractionLost)/256, now)
		}
	}
}

// summary draws one feedback from a report's packets; ok is false if none arrived. Arrivals are told from the zero time on, which is too far
// from ours for one Duration: departures are told from epoch on.
func summary(packets []rtpfb.PacketReport, epoch time.Time) (f feedback, ok bool) {
	var sum time.Duration
	var first, last time.Time
	n := 0
	for _, r := range packets {
		if !r.Arrived || r.Arrival.IsZero() {
			continue
		}
		if n == 0 || r.Arrival.Before(first) {
			first = r.Arrival
		}
		if r.Arrival.After(last) {
			last = r.Arrival
		}
		sum += r.Arrival.Sub(time.Time{}) - r.Departure.Sub(epoch)
		f.Bytes += r.Size
		n++
	}
	if n == 0 {
		return f, false
	}
	f.Delay, f.Span = sum/time.Duration(n), last.Sub(first)
	return f, true
}
