package rtpsend

import (
	"errors"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// track is the picture's RTP stream to one viewer. Unlike pion's own track it may change the payload type from packet to packet, among those that
// were agreed on: that is how a stream goes over from one codec to another without a new offer. It is safe for several goroutines.
type track struct {
	mu     sync.Mutex
	ssrc   webrtc.SSRC
	writer webrtc.TrackLocalWriter
}

var errNoCodec = errors.New("no codec was agreed on")

// Bind is called once the connection stands.
func (t *track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	codecs := c.CodecParameters()
	if len(codecs) == 0 {
		return webrtc.RTPCodecParameters{}, errNoCodec
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ssrc, t.writer = c.SSRC(), c.WriteStream()
	return codecs[0], nil
}

func (t *track) Unbind(webrtc.TrackLocalContext) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writer = nil
	return nil
}

func (*track) ID() string                { return "screen" }
func (*track) RID() string               { return "" }
func (*track) StreamID() string          { return "easel" }
func (*track) Kind() webrtc.RTPCodecType { return webrtc.RTPCodecTypeVideo }

// WriteRTP sends a packet, whose header has its payload type. Before the connection stands, it goes nowhere.
func (t *track) WriteRTP(p *rtp.Packet) error {
	t.mu.Lock()
	ssrc, w := t.ssrc, t.writer
	t.mu.Unlock()
	if w == nil {
		return nil
	}
	p.Header.SSRC = uint32(ssrc)
	_, err := w.WriteRTP(&p.Header, p.Payload)
	return err
}
