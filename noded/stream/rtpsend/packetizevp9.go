package rtpsend

import "encoding/binary"

// VP9 over RTP (RFC 9628), one layer, each frame predicted from the one before: no layer indices, no references.
const (
	vp9PictureID = 0x80
	vp9Predicted = 0x40
	vp9Begins    = 0x08
	vp9Ends      = 0x04
	// vp9Header is the descriptor and a picture's number of 15 bits.
	vp9Header = 3
)

func (p *packetizer) vp9(f Frame, send packetSender) error {
	p.picture = (p.picture + 1) & 0x7fff
	flags := byte(vp9PictureID | vp9Begins)
	if !f.Key {
		flags |= vp9Predicted
	}
	for i, frame := range f.Units {
		for len(frame) > 0 {
			n := copy(p.buf[vp9Header:], frame)
			frame = frame[n:]
			last := len(frame) == 0 && i == len(f.Units)-1
			if last {
				flags |= vp9Ends
			}
			p.buf[0] = flags
			binary.BigEndian.PutUint16(p.buf[1:], 0x8000|p.picture)
			if err := send(p.header(f.Timestamp, last), p.buf[:vp9Header+n]); err != nil {
				return err
			}
			flags &^= vp9Begins
		}
	}
	return nil
}
