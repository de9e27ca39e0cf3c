package rtpsend

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

// TestRepairRestoresALostPacket: a viewer that lacks one packet of those that a packet of FlexFEC-03 covers has it from the others, byte for byte, as Chromium
// counts them: without the transport-wide number, which a packet gets as it leaves.
func TestRepairRestoresALostPacket(t *testing.T) {
	info := &interceptor.StreamInfo{SSRC: 1, SSRCForwardErrorCorrection: 2, PayloadTypeForwardErrorCorrection: 49, RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{ID: 4, URI: sdp.TransportCCURI}}}
	l, r := &lane{info: info, twcc: 4, kept: make([]keptPacket, keptPackets)}, newRepair(info)
	var packets packetizer
	const n = 9
	sent := map[uint16][]byte{} // what the viewer makes of each
	for i := range n {
		h := packets.header(3000, i == n-1)
		h.SSRC, h.PayloadType = 1, 102
		_ = h.SetExtension(5, []byte{0, 0, 0})
		l.keep(&h, bytes.Repeat([]byte{byte(i + 1)}, 100+i*37))
		k := l.at(h.SequenceNumber)
		zeroed := rtp.Packet{Header: l.headerOf(k), Payload: k.payload}
		b, err := zeroed.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		sent[h.SequenceNumber] = b
		k.number = [2]byte{9, byte(i)} // it has left meanwhile
		r.push(l, k, 0.3)
	}
	if len(r.ready) != 3 {
		t.Fatalf("%d packets for %d, want 3", len(r.ready), n)
	}
	restored := map[uint16]bool{}
	for _, p := range r.ready {
		const header = 20 // with one mask of 15 bits
		seqs := covered(p.Payload)
		for _, missing := range seqs {
			length, rest := binary.BigEndian.Uint16(p.Payload[2:]), bytes.Clone(p.Payload[header:])
			for _, s := range seqs {
				if s == missing {
					continue
				}
				length ^= uint16(len(sent[s]) - 12)
				for i, b := range sent[s][12:] {
					rest[i] ^= b
				}
			}
			if want := sent[missing][12:]; int(length) != len(want) || !bytes.Equal(rest[:length], want) {
				t.Fatalf("packet %d is restored wrong", missing)
			}
			restored[missing] = true
		}
	}
	if len(restored) != n {
		t.Fatalf("%d packets of %d can be restored", len(restored), n)
	}
}
