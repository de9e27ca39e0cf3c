package sound

import (
	"fmt"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Format is how sound goes to browsers. Its payload type is the browser's to choose.
var Format = webrtc.RTPCodecParameters{
	RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: sampleRate, Channels: channels, SDPFmtpLine: "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
	},
	PayloadType: 111,
}

// Out is the sound's way to one viewer: a track in a stream of its own, or browsers would hold back the picture to keep lips and voices together.
type Out struct {
	track *webrtc.TrackLocalStaticRTP

	mu  sync.Mutex
	seq uint16
}

// Add adds the track to a connection whose viewer offers to hear it. It returns nil where there is nothing to hear.
func (s *Sound) Add(pc *webrtc.PeerConnection, offer string) (*Out, error) {
	if !s.May() || !strings.Contains(offer, "\nm=audio ") {
		return nil, nil
	}
	track, err := webrtc.NewTrackLocalStaticRTP(Format.RTPCodecCapability, "sound", "easel-sound")
	if err == nil {
		_, err = pc.AddTrack(track)
	}
	if err != nil {
		return nil, fmt.Errorf("add the sound: %w", err)
	}
	return &Out{track: track}, nil
}

// send sends a packet that belongs at that time.
func (o *Out) send(packet []byte, at stamp) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	// A viewer that is out of touch misses it.
	_ = o.track.WriteRTP(&rtp.Packet{
		Header: rtp.Header{Version: 2, Marker: at.first, SequenceNumber: o.seq, Timestamp: at.samples}, Payload: packet,
	})
}
