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
			if f, ok := summary(r.PacketReports); ok {
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
		p.keyWanted.Store(true)
		p.worker.viewers.poke()
	case *rtcp.ReceiverReport:
		for _, b := range r.Reports {
			p.rate.loss(float64(b.FractionLost)/256, now)
			heard := b.LastSequenceNumber & 0xffff
			if b.FractionLost > 0 {
				heard = 1 << 16
			}
			p.heard.Store(heard)
		}
	}
}

// summary draws one feedback from a report's packets; ok is false if none arrived.
func summary(packets []rtpfb.PacketReport) (f feedback, ok bool) {
	var sum time.Duration
	var first, last time.Time
	n := 0
	for _, r := range packets {
		if !r.Arrived {
			continue
		}
		if n == 0 || r.Arrival.Before(first) {
			first = r.Arrival
		}
		if r.Arrival.After(last) {
			last = r.Arrival
		}
		sum += r.Arrival.Sub(r.Departure)
		f.Bytes += r.Size
		n++
	}
	if n == 0 {
		return f, false
	}
	f.Delay, f.Span = sum/time.Duration(n), last.Sub(first)
	return f, true
}
