package stream

import (
	"slices"
	"strings"

	"easel/noded/stream/congestion"
	"easel/noded/stream/rtpsend"

	"github.com/pion/webrtc/v4"
)

// Format is a codec with its chroma, as the page's address names it (`?codec=`).
type Format string

const (
	H264    Format = "h264"
	H264444 Format = "h264-444"
	VP9     Format = "vp9"
	VP9444  Format = "vp9-444"
	AV1     Format = "av1"
	AV1444  Format = "av1-444"
)

// payloadFormat is how its frames are cut into packets.
func (f Format) payloadFormat() rtpsend.PayloadFormat {
	switch f {
	case VP9, VP9444:
		return rtpsend.VP9
	case AV1, AV1444:
		return rtpsend.AV1
	}
	return rtpsend.H264
}

// Coding is what an encoder makes for a viewer.
type Coding struct {
	Format Format
	// Short is the short range of colours, 16 to 235, for a browser that takes every picture to have it.
	Short bool
	// Scale is how large the video is beside the screen.
	Scale congestion.Scale
}

// whole is the same at the screen's own size.
func (c Coding) whole() Coding {
	c.Scale = congestion.Whole
	return c
}

// formats are how browsers offer each, by MIME type and parameters, those first that cost the host least.
var formats = []struct {
	format Format
	mime   string
	fmtp   []string
}{
	{H264, webrtc.MimeTypeH264, []string{h264Fmtp + "42e01f", h264Fmtp + "42001f"}},
	{H264444, webrtc.MimeTypeH264, []string{h264Fmtp + "f4001f"}},
	{VP9, webrtc.MimeTypeVP9, []string{"profile-id=0"}},
	{VP9444, webrtc.MimeTypeVP9, []string{"profile-id=1"}},
	{AV1, webrtc.MimeTypeAV1, []string{"level-idx=5;profile=0;tier=0"}},
	{AV1444, webrtc.MimeTypeAV1, []string{"level-idx=5;profile=1;tier=0"}},
}

const h264Fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="

// formatOf tells the format of a codec that was agreed on; "" is one that this node does not make.
func formatOf(c webrtc.RTPCodecCapability) Format {
	for _, f := range formats {
		if strings.EqualFold(c.MimeType, f.mime) && slices.ContainsFunc(f.fmtp, func(want string) bool { return sameProfile(c.SDPFmtpLine, want) }) {
			return f.format
		}
	}
	return ""
}

// profileKeys are the parameters that name a codec's profile, with what is meant where one is missing.
var profileKeys = []struct{ key, otherwise string }{
	{"profile-level-id", ""}, {"packetization-mode", "0"}, {"profile-id", "0"}, {"profile", "0"},
}

// sameProfile compares two lines of parameters as far as they name the profile; of H.264's profile-level-id without the level, which is asymmetric.
func sameProfile(a, b string) bool {
	for _, k := range profileKeys {
		x, y := parameter(a, k.key, k.otherwise), parameter(b, k.key, k.otherwise)
		if k.key == "profile-level-id" && len(x) == 6 && len(y) == 6 {
			x, y = x[:4], y[:4]
		}
		if !strings.EqualFold(x, y) {
			return false
		}
	}
	return true
}

func parameter(line, key, otherwise string) string {
	for part := range strings.SplitSeq(line, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok && strings.EqualFold(k, key) {
			return v
		}
	}
	return otherwise
}

// offersVideo tells whether an offer names any codec of ours, before it is read in full.
func offersVideo(offer string) bool {
	offer = strings.ToUpper(offer)
	return slices.ContainsFunc([]string{"H264/90000", "VP9/90000", "AV1/90000"}, func(codec string) bool { return strings.Contains(offer, codec) })
}

// rangeLine is what the viewer adds to the offer of a browser that heeds the range that a stream tells of. Others take every picture to have the short
// one, as Firefox does.
const rangeLine = "a=x-easel-range:told"

func tellsRange(offer string) bool {
	for line := range strings.Lines(offer) {
		if strings.TrimRight(line, "\r\n") == rangeLine {
			return true
		}
	}
	return false
}

// takes are the formats that a viewer and this node agreed on, with the payload type of each, in the order that the browser offered them.
type takes []taken

type taken struct {
	format  Format
	payload webrtc.PayloadType
}

func takesOf(codecs []webrtc.RTPCodecParameters, makes func(Format) bool) takes {
	var t takes
	for _, c := range codecs {
		f := formatOf(c.RTPCodecCapability)
		if f == "" || !makes(f) {
			continue
		}
		if _, ok := t.payload(f); !ok { // a browser offers H.264 several times
			t = append(t, taken{f, c.PayloadType})
		}
	}
	return t
}

// payload is the payload type of a format; ok is false for one that was not agreed on.
func (t takes) payload(f Format) (payload webrtc.PayloadType, ok bool) {
	for _, one := range t {
		if one.format == f {
			return one.payload, true
		}
	}
	return 0, false
}

// and leaves of the formats those that others take too.
func (t takes) and(others takes) takes {
	var both takes
	for _, one := range t {
		if _, ok := others.payload(one.format); ok {
			both = append(both, one)
		}
	}
	return both
}

// best is the one that costs the host least.
func (t takes) best() Format {
	for _, f := range formats {
		if _, ok := t.payload(f.format); ok {
			return f.format
		}
	}
	return ""
}

// made are those that are still made: an encoder may have failed its proof since.
func (t takes) made(by *encoders) takes {
	gone := func(one taken) bool { return !by.makes(one.format) }
	if !slices.ContainsFunc(t, gone) {
		return t
	}
	return slices.DeleteFunc(slices.Clone(t), gone)
}
