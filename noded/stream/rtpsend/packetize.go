package rtpsend

import "github.com/pion/rtp"

// rtpPayload is how many bytes of a frame one packet carries: with RTP, its extensions, SRTP, UDP and IPv6 it stays below 1280.
const rtpPayload = 1180

// maxExtensions is how many header extensions a packet may have: capture time, playout delay, transport-wide number.
const maxExtensions = 4

// H.264 over RTP (RFC 6184, section 5.8).
const (
	nalFUA  = 28
	fuStart = 0x80
	fuEnd   = 0x40
)

// packetSender takes one packet of a frame. The payload is good until it returns.
type packetSender func(h rtp.Header, payload []byte) error

// packetizer cuts frames into RTP packets. Packets of all formats are of one stream. It is for one goroutine.
type packetizer struct {
	seq     uint16
	payload uint8 // the payload type of the present frame
	picture uint16
	buf     [rtpPayload]byte
	// The memory of each packet: whoever keeps one copies it.
	extensions [maxExtensions]rtp.Extension
	packet     rtp.Packet
}

// PayloadFormat is by which RFC a codec's frames are cut into packets.
type PayloadFormat uint8

const (
	H264 PayloadFormat = iota
	VP9
	AV1
)

// packets calls send for each packet of a frame, in order.
func (p *packetizer) packets(f Frame, send packetSender) error {
	p.payload = f.PayloadType
	switch f.Format {
	case VP9:
		return p.vp9(f, send)
	case AV1:
		return p.av1(f, send)
	}
	return p.h264(f.Units, f.Timestamp, send)
}

func (p *packetizer) h264(nals [][]byte, timestamp uint32, send packetSender) error {
	for i, nal := range nals {
		if len(nal) == 0 {
			continue
		}
		last := i == len(nals)-1
		if len(nal) <= rtpPayload {
			if err := send(p.header(timestamp, last), nal); err != nil {
				return err
			}
			continue
		}
		if err := p.fragments(nal, timestamp, last, send); err != nil {
			return err
		}
	}
	return nil
}

// fragments sends one NAL unit as FU-A packets.
func (p *packetizer) fragments(nal []byte, timestamp uint32, last bool, send packetSender) error {
	indicator, kind := nal[0]&0xe0|nalFUA, nal[0]&0x1f
	flag := byte(fuStart)
	for rest := nal[1:]; len(rest) > 0; {
		n := copy(p.buf[2:], rest)
		rest = rest[n:]
		if len(rest) == 0 {
			flag |= fuEnd
		}
		p.buf[0], p.buf[1] = indicator, flag|kind
		flag = 0
		if err := send(p.header(timestamp, last && len(rest) == 0), p.buf[:2+n]); err != nil {
			return err
		}
	}
	return nil
}

// whole is a packet of a header and a payload, good until the next one.
func (p *packetizer) whole(h rtp.Header, payload []byte) *rtp.Packet {
	p.packet = rtp.Packet{Header: h, Payload: payload}
	return &p.packet
}

func (p *packetizer) header(timestamp uint32, marker bool) rtp.Header {
	p.seq++
	return rtp.Header{Version: 2, PayloadType: p.payload, SequenceNumber: p.seq, Timestamp: timestamp, Marker: marker, Extensions: p.extensions[:0]}
}
