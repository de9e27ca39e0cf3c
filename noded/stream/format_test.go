package stream

import (
	"testing"

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
