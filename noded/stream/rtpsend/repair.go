package rtpsend

import (
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
)

// repairBlock is the most packets that one set against loss covers.
const repairBlock = 40

// repair makes packets from which the viewer restores what was lost, a frame at a time (FlexFEC-03, which Chromium takes).
type repair struct {
	header rtp.Header // of the next one
	number [2]byte    // its transport-wide one
	block  []*keptPacket
	ready  []parity
	spare  [][]byte // memory of those that were sent
	whole  []byte   // a packet as it goes over
	sent   uint64
}

// parity is one packet against loss that waits.
type parity struct {
	payload   flexFEC
	timestamp uint32
}

// newRepair is nil where the viewer takes no such packets. twcc is the extension for transport-wide numbers, 0 for none.
func newRepair(info *interceptor.StreamInfo, twcc uint8) *repair {
	if info.SSRCForwardErrorCorrection == 0 || info.PayloadTypeForwardErrorCorrection == 0 {
		return nil
	}
	r := &repair{header: rtp.Header{Version: 2, PayloadType: info.PayloadTypeForwardErrorCorrection, SSRC: info.SSRCForwardErrorCorrection}}
	if twcc != 0 {
		_ = r.header.SetExtension(twcc, r.number[:])
	}
	return r
}

// push takes in a video packet that will be sent. Those against loss are made with the last one of a frame, as the rate allows.
func (r *repair) push(k *keptPacket, rate *congestion.Control, now time.Time) {
	if r == nil {
		return
	}
	if n := len(r.block); n > 0 && r.block[n-1].seq+1 != k.seq {
		r.block = r.block[:0] // the rest of that frame was left out
	}
	r.block = append(r.block, k)
	if !k.header.Marker && len(r.block) < repairBlock {
		return
	}
	loss, share := rate.Repair(now)
	r.cover(enough(len(r.block), loss, share))
	r.block = r.block[:0]
}

// cover makes the parities of the block.
func (r *repair) cover(c cover) {
	if c.parities == 0 {
		return
	}
	first, last := r.block[0], r.block[len(r.block)-1]
	begin := len(r.ready)
	for range c.parities {
		r.ready = append(r.ready, parity{newFlexFEC(r.memory(), first.header.SSRC, first.seq), last.header.Timestamp})
	}
	for at, k := range r.block {
		r.whole = k.asCounted(r.whole[:0])
		for i := range c.parities {
			if c.covers(i, at) {
				p := &r.ready[begin+i]
				p.payload = p.payload.add(at, r.whole)
			}
		}
	}
}

// memory is that of a parity that was sent, if there is one.
func (r *repair) memory() []byte {
	n := len(r.spare)
	if n == 0 {
		return nil
	}
	last := r.spare[n-1]
	r.spare = r.spare[:n-1]
	return last
}

// clear forgets what waits.
func (r *repair) clear() {
	if r != nil {
		r.block, r.ready = r.block[:0], r.ready[:0]
	}
}

// asCounted appends a packet as the viewer's error correction counts it: without its transport-wide number, which it gets as it leaves.
func (k *keptPacket) asCounted(b []byte) []byte {
	number := k.number
	k.number = [2]byte{}
	size := k.header.MarshalSize()
	if cap(b) < size+len(k.payload) {
		b = make([]byte, 0, maxPacket)
	}
	n, _ := k.header.MarshalTo(b[:size]) // errs where the memory is too small
	k.number = number
	return append(b[:n], k.payload...)
}

// sendRepair sends one packet against loss, and tells whether there was one.
func (p *Pacer) sendRepair(now time.Time) bool {
	r := p.repair
	// They go after the frame that they are for.
	if r == nil || len(r.ready) == 0 || p.video == nil || p.video.waiting() > 0 {
		return false
	}
	next := r.ready[0]
	r.ready = r.ready[:copy(r.ready, r.ready[1:])]
	r.header.SequenceNumber++
	r.header.Timestamp = next.timestamp
	r.sent++
	p.write(p.video, &r.header, next.payload, departure{more: true}, now)
	r.spare = append(r.spare, next.payload)
	return true
}
