package stream

import "github.com/pion/rtp"

// rtpPayload is how many bytes of H.264 one packet carries: with RTP, its extensions, SRTP, UDP and IPv6 it stays below 1280.
const rtpPayload = 1180

// H.264 over RTP (RFC 6184, section 5.8).
const (
	nalFUA     = 28
	fuStart    = 0x80
	fuEnd      = 0x40
	nalTypeSPS = 7
)

// packetizer cuts H.264 NAL units into RTP payloads. It is for one goroutine.
type packetizer struct {
	seq uint16
	buf [rtpPayload]byte
}

// packets calls send for each packet of a frame, in order. The payload is good until send returns.
func (p *packetizer) packets(nals [][]byte, timestamp uint32, send func(h rtp.Header, payload []byte) error) error {
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
func (p *packetizer) fragments(nal []byte, timestamp uint32, last bool, send func(h rtp.Header, payload []byte) error) error {
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

func (p *packetizer) header(timestamp uint32, marker bool) rtp.Header {
	p.seq++
	return rtp.Header{Version: 2, SequenceNumber: p.seq, Timestamp: timestamp, Marker: marker}
}
