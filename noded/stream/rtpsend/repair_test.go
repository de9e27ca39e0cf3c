package rtpsend

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

// block gives a repair a block of packets of many sizes, as they are kept, and what the viewer makes of each.
func block(t *testing.T, packets int) (*repair, [][]byte) {
	t.Helper()
	info := &interceptor.StreamInfo{SSRC: 1, SSRCForwardErrorCorrection: 2, PayloadTypeForwardErrorCorrection: 49, RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{ID: 4, URI: sdp.TransportCCURI}}}
	l, r := &lane{info: info, twcc: 4, kept: make([]keptPacket, keptPackets)}, newRepair(info, 4)
	var stream packetizer
	seen := make([][]byte, packets)
	for i := range packets {
		h := stream.header(3000, i == packets-1)
		h.SSRC, h.PayloadType = 1, 102
		_ = h.SetExtension(5, []byte{0, 0, 0})
		l.keep(&h, bytes.Repeat([]byte{byte(i + 1)}, 100+i*23%rtpPayload))
		k := l.at(h.SequenceNumber)
		b, err := (&rtp.Packet{Header: k.header, Payload: k.payload}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		seen[i] = b
		k.number = [2]byte{9, byte(i)} // it has left meanwhile
		r.block = append(r.block, k)
	}
	return r, seen
}

// restore does what a viewer does: as long as a packet against loss lacks but one of those that it covers, that one is made from it. lost is of the packets.
func restore(t *testing.T, first uint16, lost map[int]bool, seen [][]byte, parities [][]byte) {
	t.Helper()
	for again := true; again; {
		again = false
		for _, p := range parities {
			lacks, missing := 0, 0
			all := covered(p)
			for _, s := range all {
				if at := int(s - first); lost[at] {
					lacks, missing = lacks+1, at
				}
			}
			if lacks != 1 {
				continue
			}
			head, body := bytes.Clone(p[:8]), bytes.Clone(p[fecEnd:])
			for _, s := range all {
				if at := int(s - first); at != missing {
					b := seen[at]
					binary.BigEndian.PutUint16(head[2:], binary.BigEndian.Uint16(head[2:])^uint16(len(b)-rtpHeader))
					for i := range 8 {
						if i != 2 && i != 3 {
							head[i] ^= b[i]
						}
					}
					for i, v := range b[rtpHeader:] {
						body[i] ^= v
					}
				}
			}
			length, want := binary.BigEndian.Uint16(head[2:]), seen[missing]
			if int(length) != len(want)-rtpHeader || !bytes.Equal(body[:length], want[rtpHeader:]) || head[0]&0x3f != want[0]&0x3f || head[1] != want[1] || !bytes.Equal(head[4:], want[4:8]) {
				t.Fatalf("packet %d is restored wrong", missing)
			}
			delete(lost, missing)
			again = true
		}
	}
}

// A viewer that lacks packets has them from those against loss, byte for byte, as Chromium counts them: without the transport-wide number, which a packet
// gets as it leaves. As many are sent as leave few blocks with a hole, and no more than may be.
func TestRepairRestoresLostPackets(t *testing.T) {
	const tries = 2000
	for _, c := range []struct {
		packets     int
		loss, share float64
		least, most int     // parities
		holes       float64 // of all blocks, at most
	}{
		{1, 0.05, 1, 1, 1, 0.01},
		{3, 0.05, 1, 2, 3, 0.02},
		{9, 0.01, 1, 1, 2, 0.01},
		{9, 0.05, 1, 4, 6, 0.02},
		{9, 0.10, 1, 6, 9, 0.03},
		{9, 0.10, 0.25, 3, 3, 0.30},
		{40, 0.05, 1, 10, 20, 0.02},
		{40, 0.10, 1, 20, 40, 0.05},
		{5, 0.2, 1, 5, 5, 0.06},
		{40, 0.10, 0, 0, 0, 1},
		{40, 0, 1, 0, 0, 1},
	} {
		r, seen := block(t, c.packets)
		cover := enough(c.packets, c.loss, c.share)
		if cover.parities < c.least || cover.parities > c.most {
			t.Errorf("%d packets, %g lost, %g may be repeated: %d against loss, want %d to %d", c.packets, c.loss, c.share, cover.parities, c.least, c.most)
		}
		first := r.block[0].seq
		r.cover(cover)
		random := rand.New(rand.NewPCG(1, 2))
		holes := 0
		for range tries {
			lost := map[int]bool{}
			for i := range c.packets {
				if random.Float64() < c.loss {
					lost[i] = true
				}
			}
			var arrived [][]byte
			for _, p := range r.ready {
				if random.Float64() >= c.loss {
					arrived = append(arrived, p.payload)
				}
			}
			if restore(t, first, lost, seen, arrived); len(lost) > 0 {
				holes++
			}
		}
		t.Logf("%d packets, %g lost: %d against loss, %.2f %% of the blocks have holes", c.packets, c.loss, cover.parities, float64(holes)*100/tries)
		if got := float64(holes) / tries; got > c.holes {
			t.Errorf("%d packets, %g lost, %g may be repeated: %.3f of the blocks have holes with %d against loss, want %g at most", c.packets, c.loss, c.share, got, cover.parities, c.holes)
		}
	}
}
