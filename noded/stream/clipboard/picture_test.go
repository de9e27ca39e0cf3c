package clipboard

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/png"
	"testing"
)

// bomb is a PNG that says it is of any size.
func bomb(w, h uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	b = binary.BigEndian.AppendUint32(b, w)
	b = binary.BigEndian.AppendUint32(b, h)
	return append(b, 8, 6, 0, 0, 0, 1, 2, 3, 4)
}

func TestPicturesOfAnySensibleSizePass(t *testing.T) {
	for _, size := range []image.Point{{8192, 8192}, {32767, 2000}} {
		if err := checkPicture(bomb(uint32(size.X), uint32(size.Y))); err != nil {
			t.Errorf("%v: %v", size, err)
		}
	}
}

func FuzzCheckPicture(f *testing.F) {
	f.Add(bomb(60000, 60000))
	f.Add(bomb(1, 1)[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkPicture(b) != nil || len(b) < pngHead {
			return
		}
		if c, err := png.DecodeConfig(bytes.NewReader(b)); err == nil && (c.Width > maxSide || c.Height > maxSide || c.Width*c.Height > maxPixels) {
			t.Fatalf("a picture of %dx%d passes", c.Width, c.Height)
		}
	})
}
