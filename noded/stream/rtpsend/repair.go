package rtpsend

import (
	"math"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/flexfec"
	"github.com/pion/rtp"
)

// repairBlock is how many packets one set against loss covers (FlexFEC-03, which Chromium takes).
const repairBlock = 40

// repair makes packets from which the viewer restores what was lost, a frame at a time.
type repair struct {
	ssrc    uint32
	payload uint8
	encoder *flexfec.FlexEncoder03
	block   []rtp.Packet
	ready   []rtp.Packet
	sent    uint64
}

// newRepair is nil where the viewer takes no such packets.
func newRepair(info *interceptor.StreamInfo) *repair {
	if info.SSRCForwardErrorCorrection == 0 || info.PayloadTypeForwardErrorCorrection == 0 {
		return nil
	}
	r := &repair{ssrc: info.SSRCForwardErrorCorrection, payload: info.PayloadTypeForwardErrorCorrection}
	r.encoder = flexfec.NewFlexEncoder03(r.payload, r.ssrc)
	return r
}

// push takes in a video packet that will be sent. share is what part of it and its like is repeated; 0 for none.
func (r *repair) push(l *lane, k *keptPacket, share float64) {
	if r == nil {
		return
	}
	if share == 0 {
		r.block = r.block[:0]
		return
	}
	r.block = append(r.block, rtp.Packet{Header: l.headerOf(k), Payload: k.payload})
	if !k.header.Marker && len(r.block) < repairBlock {
		return
	}
	n := uint32(math.Ceil(float64(len(r.block)) * share))
	for _, p := range r.encoder.EncodeFec(r.block, n) {
		p.Timestamp = k.header.Timestamp
		r.ready = append(r.ready, p)
	}
	r.block = r.block[:0]
}

// clear forgets what waits.
func (r *repair) clear() {
	if r != nil {
		r.block, r.ready = r.block[:0], nil
	}
}

// sendRepair sends one packet against loss, and tells whether there was one.
func (p *Pacer) sendRepair(now time.Time) bool {
	// They go after the frame that they are for.
	if p.repair == nil || len(p.repair.ready) == 0 || p.video == nil || p.video.waiting() > 0 {
		return false
	}
	packet := p.repair.ready[0]
	p.repair.ready = p.repair.ready[1:]
	if l := p.video; l.twcc != 0 {
		_ = packet.SetExtension(l.twcc, make([]byte, 2))
	}
	p.repair.sent++
	p.write(p.video, &packet.Header, packet.Payload, departure{more: true}, now)
	return true
}
