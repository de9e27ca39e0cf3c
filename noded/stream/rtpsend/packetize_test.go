package rtpsend

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

func TestPacketsReassembleToTheNALUnits(t *testing.T) {
	nals := [][]byte{{0x67, 1, 2}, {0x68, 3}, bytes.Repeat([]byte{0x65, 9, 8, 7}, 2000), {}, append([]byte{0x41}, bytes.Repeat([]byte{5}, rtpPayload-1)...), append([]byte{0x41}, bytes.Repeat([]byte{6}, rtpPayload)...)}
	var p packetizer
	var got [][]byte
	var last rtp.Header
	markers := 0
	err := p.packets(Frame{Format: H264, PayloadType: 96, Units: nals, Timestamp: 77}, func(h rtp.Header, b []byte) error {
		if len(b) > rtpPayload+2 || h.Timestamp != 77 || (last.Version != 0 && h.SequenceNumber != last.SequenceNumber+1) {
			t.Fatalf("packet %+v of %d bytes after %+v", h, len(b), last)
		}
		last = h
		if h.Marker {
			markers++
		}
		switch {
		case b[0]&31 != nalFUA:
			got = append(got, slices.Clone(b))
		case b[1]&fuStart != 0:
			got = append(got, append([]byte{b[0]&0xe0 | b[1]&31}, b[2:]...))
		default:
			got[len(got)-1] = append(got[len(got)-1], b[2:]...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(nals), func(b []byte) bool { return len(b) == 0 })
	if !slices.EqualFunc(got, want, bytes.Equal) || markers != 1 || !last.Marker {
		t.Fatalf("%d NAL units of %d, %d markers", len(got), len(want), markers)
	}
}

// frame is one frame of random-looking units.
func frame(key bool, sizes ...int) Frame {
	f := Frame{Key: key, PayloadType: 45, Timestamp: 99}
	for i, n := range sizes {
		u := make([]byte, n)
		for j := range u {
			u[j] = byte(i*7 + j*13)
		}
		f.Units = append(f.Units, u)
	}
	return f
}

// cut packs a frame, and looks at what is the same for all formats.
func cut(t *testing.T, p *packetizer, by PayloadFormat, f Frame) [][]byte {
	t.Helper()
	var out [][]byte
	marked := false
	f.Format = by
	err := p.packets(f, func(h rtp.Header, b []byte) error {
		if len(b) > rtpPayload || h.Timestamp != 99 || h.PayloadType != 45 || marked {
			t.Errorf("packet %+v of %d bytes, after a last one: %v", h, len(b), marked)
		}
		marked = h.Marker
		out = append(out, bytes.Clone(b))
		return nil
	})
	if err != nil || !marked {
		t.Errorf("cut a frame: %v, with a last packet: %v", err, marked)
	}
	return out
}

func TestVP9PacketsReassemble(t *testing.T) {
	var p packetizer
	for i, size := range []int{1, rtpPayload - vp9Header, rtpPayload - vp9Header + 1, 50_000} {
		f := frame(i == 0, size)
		var got []byte
		packets := cut(t, &p, VP9, f)
		for j, b := range packets {
			var d codecs.VP9Packet
			part, err := d.Unmarshal(b)
			if err != nil {
				t.Fatal(err)
			}
			if d.P == f.Key || d.B != (j == 0) || d.E != (j == len(packets)-1) || !d.I || int(d.PictureID) != i+1 || d.L || d.F || d.V {
				t.Errorf("packet %d of picture %d: %+v", j, i, d)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, f.Units[0]) {
			t.Errorf("a frame of %d bytes came out as %d", size, len(got))
		}
	}
}

func TestAV1PacketsReassemble(t *testing.T) {
	const (
		most    = rtpPayload - 1
		header  = 6 << 3 // of a frame, without its size
		hasSize = 2
	)
	var p packetizer
	for _, sizes := range [][]int{{2}, {most}, {most + 1}, {12, 50_000}, {12, 5, 50_000}, {12, 5, 8, 9, 10, 300}, {12, most - 14}, {most - 3, 7}, {most, 7}, {3 * most, 3 * most}} {
		f := frame(len(sizes) > 1, sizes...)
		var got, want []byte
		for _, u := range f.Units {
			u[0] = header
			want = append(binary.AppendUvarint(append(want, header|hasSize), uint64(len(u)-1)), u[1:]...)
		}
		var d codecs.AV1Depacketizer
		for i, b := range cut(t, &p, AV1, f) {
			part, err := d.Unmarshal(b)
			if err != nil {
				t.Fatalf("%v: packet %d: %v", sizes, i, err)
			}
			if d.N != (f.Key && i == 0) {
				t.Errorf("%v: packet %d says that a sequence begins: %v", sizes, i, d.N)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v came out as %d bytes, want %d", sizes, len(got), len(want))
		}
	}
}
