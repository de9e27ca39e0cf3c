package stream

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

func TestFormatsAreToldByMimeAndProfile(t *testing.T) {
	codec := func(mime, fmtp string) webrtc.RTPCodecCapability {
		return webrtc.RTPCodecCapability{MimeType: mime, ClockRate: 90000, SDPFmtpLine: fmtp}
	}
	for _, c := range []struct {
		mime, fmtp string
		want       Format
	}{
		{"video/H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", H264},
		{"video/h264", "profile-level-id=42E034; packetization-mode=1", H264}, // another level, as Safari writes it
		{"video/H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f", H264},
		{"video/H264", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f", ""}, // whole NAL units only
		{"video/H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f", ""},
		{"video/H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f", H264444},
		{"video/VP9", "profile-id=0", VP9},
		{"video/VP9", "max-fs=12288;max-fr=60", VP9}, // Firefox
		{"video/VP9", "profile-id=1", VP9444},
		{"video/VP9", "profile-id=2", ""}, // ten bits
		{"video/AV1", "level-idx=5;profile=0;tier=0", AV1},
		{"video/AV1", "", AV1},
		{"video/AV1", "level-idx=5;profile=1;tier=0", AV1444},
		{"video/AV1", "level-idx=5;profile=2;tier=0", ""},
		{"video/VP8", "", ""},
		{"video/rtx", "apt=96", ""},
	} {
		if got := formatOf(codec(c.mime, c.fmtp)); got != c.want {
			t.Errorf("%s %s is %q, want %q", c.mime, c.fmtp, got, c.want)
		}
	}
}

// frame is one frame of random-looking units.
func frame(key bool, sizes ...int) Packet {
	p := Packet{Key: key}
	for i, n := range sizes {
		u := make([]byte, n)
		for j := range u {
			u[j] = byte(i*7 + j*13)
		}
		p.Units = append(p.Units, u)
	}
	return p
}

// cut packs a frame, and looks at what is the same for all formats.
func cut(t *testing.T, p *packetizer, f Format, pkt Packet) [][]byte {
	t.Helper()
	var out [][]byte
	marked := false
	err := p.packets(f, 45, pkt, 99, func(h rtp.Header, b []byte) error {
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
		pkt := frame(i == 0, size)
		var got []byte
		packets := cut(t, &p, VP9, pkt)
		for j, b := range packets {
			var d codecs.VP9Packet
			part, err := d.Unmarshal(b)
			if err != nil {
				t.Fatal(err)
			}
			if d.P == pkt.Key || d.B != (j == 0) || d.E != (j == len(packets)-1) || !d.I || int(d.PictureID) != i+1 || d.L || d.F || d.V {
				t.Errorf("packet %d of picture %d: %+v", j, i, d)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, pkt.Units[0]) {
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
		pkt := frame(len(sizes) > 1, sizes...)
		var got, want []byte
		for _, u := range pkt.Units {
			u[0] = header
			want = append(binary.AppendUvarint(append(want, header|hasSize), uint64(len(u)-1)), u[1:]...)
		}
		var d codecs.AV1Depacketizer
		for i, b := range cut(t, &p, AV1, pkt) {
			part, err := d.Unmarshal(b)
			if err != nil {
				t.Fatalf("%v: packet %d: %v", sizes, i, err)
			}
			if d.N != (pkt.Key && i == 0) {
				t.Errorf("%v: packet %d says that a sequence begins: %v", sizes, i, d.N)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v came out as %d bytes, want %d", sizes, len(got), len(want))
		}
	}
}
