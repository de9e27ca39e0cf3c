package congestion

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// FuzzFeedback: whatever a viewer sends as feedback is read or refused, in bounds.
func FuzzFeedback(f *testing.F) {
	good := rtcp.TransportLayerCC{
		Header: rtcp.Header{Type: rtcp.TypeTransportSpecificFeedback, Count: rtcp.FormatTCC, Length: 5}, BaseSequenceNumber: 7, PacketStatusCount: 2, ReferenceTime: 9,
		PacketChunks: []rtcp.PacketStatusChunk{&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketReceivedSmallDelta, RunLength: 2}},
		RecvDeltas:   []*rtcp.RecvDelta{{Type: rtcp.TypeTCCPacketReceivedSmallDelta, Delta: 1000}, {Type: rtcp.TypeTCCPacketReceivedSmallDelta, Delta: 250}},
	}
	b, err := good.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(make([]byte, feedbackHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		if _, err := parseFeedback(b, func(uint16, bool, time.Duration) { n++ }); err != nil && n > 0 {
			t.Fatalf("%d packets were told of by what was refused: %v", n, err)
		}
		if n > MaxFeedback {
			t.Fatalf("%d packets were told of", n)
		}
	})
}

func TestFeedbackIsReadAsPionWritesIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		type one struct {
			came  bool
			after time.Duration
		}
		var want []one
		fb := rtcp.TransportLayerCC{Header: rtcp.Header{Type: rtcp.TypeTransportSpecificFeedback, Count: rtcp.FormatTCC}, BaseSequenceNumber: uint16(r.Uint32()), ReferenceTime: r.Uint32() >> 8}
		at := time.Duration(0)
		var symbols []uint16
		for range 1 + r.IntN(60) {
			if r.IntN(4) == 0 {
				want, symbols = append(want, one{}), append(symbols, symbolMissing)
				continue
			}
			delta := time.Duration(r.IntN(4000)-1000) * feedbackTick
			at += delta
			want, symbols = append(want, one{true, at}), append(symbols, symbolLarge)
			fb.RecvDeltas = append(fb.RecvDeltas, &rtcp.RecvDelta{Type: rtcp.TypeTCCPacketReceivedLargeDelta, Delta: delta.Microseconds()})
		}
		fb.PacketStatusCount = uint16(len(symbols))
		for len(symbols) > 0 {
			n := min(symbolsTwoBits, len(symbols))
			fb.PacketChunks = append(fb.PacketChunks, &rtcp.StatusVectorChunk{Type: rtcp.TypeTCCStatusVectorChunk, SymbolSize: rtcp.TypeTCCSymbolSizeTwoBit, SymbolList: pad(symbols[:n])})
			symbols = symbols[n:]
		}
		fb.Header.Length = uint16(fb.MarshalSize()/4 - 1)
		fb.Header.Padding = fb.MarshalSize() > 20+2*len(fb.PacketChunks)+2*len(fb.RecvDeltas)
		b, err := fb.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		epoch, err := parseFeedback(b, func(seq uint16, came bool, after time.Duration) {
			if seq != fb.BaseSequenceNumber+uint16(i) || came != want[i].came || came && after != want[i].after {
				t.Fatalf("packet %d: %v after %v, want %+v", seq, came, after, want[i])
			}
			i++
		})
		if err != nil || i != len(want) || epoch != fb.ReferenceTime {
			t.Fatalf("%d packets of %d, epoch %d of %d: %v", i, len(want), epoch, fb.ReferenceTime, err)
		}
	}
}

func pad(s []uint16) []uint16 {
	for len(s) < symbolsTwoBits {
		s = append(slices.Clone(s), symbolMissing)
	}
	return s
}
