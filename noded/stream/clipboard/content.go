package clipboard

import "bytes"

// blockBytes is how much of a content lies together. One that grows is not copied, and takes no more memory than it has.
const blockBytes = 64 << 10

// content is the bytes of a text or picture, as they come.
type content struct {
	blocks [][]byte // all but the last have blockBytes
	size   int
}

func (c *content) add(b []byte) {
	for len(b) > 0 {
		at := c.size % blockBytes
		switch {
		case c.size == 0: // it may stay small
			c.blocks = append(c.blocks, nil)
		case at == 0:
			c.blocks = append(c.blocks, make([]byte, 0, blockBytes))
		}
		last := &c.blocks[len(c.blocks)-1]
		n := min(len(b), blockBytes-at)
		*last = append(*last, b[:n]...)
		b = b[n:]
		c.size += n
	}
}

// from is what lies together from a place on; nothing at the end.
func (c *content) from(at int) []byte {
	if at >= c.size {
		return nil
	}
	return c.blocks[at/blockBytes][at%blockBytes:]
}

// head is as much of the beginning as tells of a picture.
func (c *content) head() []byte {
	b := c.from(0)
	return b[:min(len(b), pngHead)]
}

// whole is all of it in one piece, for texts.
func (c *content) whole() []byte { return bytes.Join(c.blocks, nil) }
