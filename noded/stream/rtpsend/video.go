package rtpsend

import (
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Header extensions of video that a viewer may take.
const (
	PlayoutDelayURI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	// AbsCaptureURI is the one by which a frame says when the picture was as it shows it.
	AbsCaptureURI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
)

// Frame is one encoded frame.
type Frame struct {
	Format      PayloadFormat
	PayloadType uint8
	Units       [][]byte
	Key         bool
	Timestamp   uint32
	Captured    [8]byte // as the extension wants it
}

// Video is the picture's way to one viewer: frames are cut into packets, which wait in the pacer. Its track is safe for several goroutines, Send is for one.
type Video struct {
	track   track
	pacer   *Pacer
	packets packetizer

	playout, capture uint8                // header extensions; 0: the viewer takes none
	noDelay          [3]byte              // minimum and maximum delay 0: show at once
	captures         [keptPackets][8]byte // of frames, where the pacer keeps their first packets
}

// NewVideo makes one whose connection has the pacer.
func NewVideo(p *Pacer) *Video { return &Video{pacer: p} }

// Track is what a connection takes.
func (v *Video) Track() webrtc.TrackLocal { return &v.track }

// Extends says which header extensions the viewer takes.
func (v *Video) Extends(by []webrtc.RTPHeaderExtensionParameter) {
	for _, h := range by {
		switch h.URI {
		case PlayoutDelayURI:
			v.playout = uint8(h.ID)
		case AbsCaptureURI:
			v.capture = uint8(h.ID)
		}
	}
}

// Send hands a frame to the pacer, which copies it. A packet that can't be sent is for the viewer to ask for again; after ErrQueueFull only a keyframe helps.
func (v *Video) Send(f Frame) error {
	first := v.packets.seq + 1
	if f.Key {
		v.pacer.begins(first)
	}
	var captured []byte
	if v.capture != 0 { // of the frame's first packet
		v.captures[first%keptPackets] = f.Captured
		captured = v.captures[first%keptPackets][:]
	}
	return v.packets.packets(f, func(h rtp.Header, payload []byte) error {
		if captured != nil {
			_ = h.SetExtension(v.capture, captured)
			captured = nil
		}
		if v.playout != 0 {
			_ = h.SetExtension(v.playout, v.noDelay[:])
		}
		return v.track.WriteRTP(v.packets.whole(h, payload))
	})
}
