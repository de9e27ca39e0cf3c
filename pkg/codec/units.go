package codec

import (
	"bytes"
	"encoding/binary"
)

// NAL unit types that a viewer has no use for.
const (
	nalSEI       = 6
	nalDelimiter = 9
	nalFiller    = 12
)

func wantedNAL(nal []byte) bool {
	switch nal[0] & 31 {
	case nalSEI, nalDelimiter, nalFiller: // SEI is x264's note about itself
		return false
	}
	return true
}

// splitLengths appends the NAL units of a frame that has the length of each, of four bytes, before it.
func splitLengths(to [][]byte, b []byte) [][]byte {
	const prefix = 4
	for len(b) > prefix {
		n := int(binary.BigEndian.Uint32(b))
		b = b[prefix:]
		if n < 1 || n > len(b) {
			return to
		}
		if wantedNAL(b[:n]) {
			to = append(to, b[:n])
		}
		b = b[n:]
	}
	return to
}

// splitAnnexB appends the NAL units of a stream that has start codes, of three or four bytes, before each.
func splitAnnexB(to [][]byte, b []byte) [][]byte {
	start := []byte{0, 0, 1}
	at := bytes.Index(b, start)
	for at >= 0 {
		b = b[at+len(start):]
		at = bytes.Index(b, start)
		nal := b
		if at >= 0 {
			nal = b[:at]
		}
		nal = bytes.TrimRight(nal, "\x00") // of the next start code; a NAL unit ends in a bit that is set
		if len(nal) > 0 && wantedNAL(nal) {
			to = append(to, nal)
		}
	}
	return to
}

// An OBU's header (AV1, section 5.3).
const (
	obuType      = 0x78
	obuExtension = 0x04
	obuHasSize   = 0x02
	obuDelimiter = 2 << 3
)

// splitOBUs appends the OBUs of a temporal unit, each without its size, as RTP carries them: the header moves up to the payload, so b is changed.
func splitOBUs(to [][]byte, b []byte) [][]byte {
	for len(b) > 0 {
		head := 1
		if b[0]&obuExtension != 0 {
			head = 2
		}
		if b[0]&obuHasSize == 0 || len(b) < head {
			return append(to, b) // the last one needs no size
		}
		size, n := binary.Uvarint(b[head:])
		if n <= 0 || size > uint64(len(b)-head-n) {
			return to
		}
		kind, end := b[0]&obuType, head+n+int(size)
		copy(b[n:], b[:head])
		b[n] &^= obuHasSize
		if kind != obuDelimiter {
			to = append(to, b[n:end:end])
		}
		b = b[end:]
	}
	return to
}
