package rtpsend

import (
	"crypto/subtle"
	"encoding/binary"
	"math"
)

// cover says which of a block's packets each parity is made of. With two parities to a packet, as a table's row and column, Chromium restores one packet
// and from it the next; lost for good is a packet with both of its parities, or two packets that share both. Few parities share the packets out instead.
type cover struct{ packets, parities, rows int }

func coverOf(packets, parities int) cover {
	c := cover{packets: packets, parities: parities}
	if parities > 2 || parities == 2 && packets <= 4 {
		c.rows = parities / 2
	}
	return c
}

// wholeBlocks is how many blocks of all may still lack something.
const wholeBlocks = 0.01

// enough is the least cover with which hardly a block lacks something, where this part of the packets is lost; or the best with at most so many parities to
// a packet.
func enough(packets int, loss, share float64) cover {
	most := min(int(math.Ceil(float64(packets)*share)), packets)
	for n := range most {
		if c := coverOf(packets, n); c.lacks(loss) <= wholeBlocks {
			return c
		}
	}
	return coverOf(packets, most)
}

// covers tells whether a parity is made of the packet at a place of its block.
func (c cover) covers(parity, at int) bool {
	switch {
	case c.rows == 0:
		return at%c.parities == parity
	case parity < c.rows:
		return at%c.rows == parity
	default: // each row begins a column further on, so that no column stays empty
		return (at%c.rows+at/c.rows)%(c.parities-c.rows) == parity-c.rows
	}
}

// lacks is about how many blocks of all lack something, where this part of the packets is lost: by the fewest losses that do it.
func (c cover) lacks(loss float64) float64 {
	n, pairs := float64(c.packets), func(n float64) float64 { return n * (n - 1) / 2 }
	switch {
	case c.parities == 0:
		return n * loss
	case c.rows == 0: // two of a parity and what it is made of
		return float64(c.parities) * pairs(n/float64(c.parities)+1) * loss * loss
	}
	rows, columns := float64(c.rows), float64(c.parities-c.rows)
	places := rows * columns
	shared := places * pairs(max(n/places, 1))
	corners := pairs(rows) * pairs(columns) * math.Pow(min(n/places, 1), 4)
	return shared*loss*loss + n*math.Pow(loss, 3) + corners*math.Pow(loss, 4)
}

// RTP's fixed header; in FlexFEC's the places of its two masks, and its end.
const (
	rtpHeader = 12
	fecMask   = 18 // 15 packets
	fecMask2  = 20 // 31 more
	fecEnd    = 24
)

// flexFEC is the payload of one parity, by draft-ietf-payload-flexible-fec-scheme-03, section 4.2: the exclusive or of the packets that it covers, up to 46.
type flexFEC []byte

// newFlexFEC begins the parity of a block, of a stream, that begins with the packet of this number. It uses memory again.
func newFlexFEC(memory []byte, stream uint32, first uint16) flexFEC {
	if cap(memory) < fecEnd+maxPacket {
		memory = make([]byte, fecEnd+maxPacket)
	}
	f := flexFEC(memory[:fecEnd+maxPacket])
	clear(f)
	f[8] = 1 // stream
	binary.BigEndian.PutUint32(f[12:], stream)
	binary.BigEndian.PutUint16(f[16:], first)
	f[fecMask2] = 0x80 // no mask follows
	return f[:fecEnd]
}

// add covers a packet too, the one at this place of the block.
func (f flexFEC) add(at int, packet []byte) flexFEC {
	if at < 15 {
		binary.BigEndian.PutUint16(f[fecMask:], binary.BigEndian.Uint16(f[fecMask:])|1<<(14-at))
	} else {
		binary.BigEndian.PutUint32(f[fecMask2:], binary.BigEndian.Uint32(f[fecMask2:])|1<<(45-at))
	}
	f[0] = (f[0] ^ packet[0]) & 0x3f // of the first byte all but the version
	f[1] ^= packet[1]
	binary.BigEndian.PutUint16(f[2:], binary.BigEndian.Uint16(f[2:])^uint16(len(packet)-rtpHeader))
	for i := 4; i < 8; i++ { // the time stamp
		f[i] ^= packet[i]
	}
	body := packet[rtpHeader:]
	f = f[:max(len(f), fecEnd+len(body))]
	subtle.XORBytes(f[fecEnd:], f[fecEnd:fecEnd+len(body)], body)
	return f
}
