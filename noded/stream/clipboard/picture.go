package clipboard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of a picture that crosses by the clipboard. A PNG of a few kilobytes can say that it is of any size, and who shows it takes
// memory for all of that.
const (
	maxSide   = 32767
	maxPixels = 64 << 20
	pngHead   = 8 + 8 + 8 // signature, the first chunk's head, width and height
)

var errPicture = errors.New("what is said to be a picture is no PNG")

// errPixels is a picture of too many pixels.
var errPixels = fmt.Errorf("the picture is larger than %d pixels a side, or %d megapixels", maxSide, maxPixels>>20)

// checkPicture looks at the beginning of a PNG. With less than pngHead bytes of it, it says nothing yet.
func checkPicture(b []byte) error {
	const start = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	if n := min(len(b), len(start)); !bytes.Equal(b[:n], []byte(start[:n])) {
		return errPicture
	}
	if len(b) < pngHead {
		return nil
	}
	w, h := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
	switch {
	case w == 0 || h == 0:
		return errPicture
	case w > maxSide || h > maxSide || uint64(w)*uint64(h) > maxPixels:
		return errPixels
	}
	return nil
}
