package display

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"

	"github.com/jezek/xgb/xfixes"
)

// maxCursor bounds a cursor's side in pixels; browsers take no larger one either (128), but themes may have it.
const maxCursor = 256

// Cursor is the pointer's picture. ID is equal for equal pictures.
type Cursor struct {
	ID            uint32
	HotX, HotY    int
	Width, Height int
	PNG           []byte
}

// Cursor reads what the pointer looks like now.
func (d *Display) Cursor() (Cursor, error) {
	var reply *xfixes.GetCursorImageReply
	err := d.call("read the cursor", func() (err error) {
		reply, err = xfixes.GetCursorImage(d.xc).Reply()
		return err
	})
	if err != nil {
		return Cursor{}, err
	}
	return cursorOf(int(reply.Width), int(reply.Height), int(reply.Xhot), int(reply.Yhot), reply.CursorImage)
}

// cursorOf makes a Cursor of premultiplied ARGB words.
func cursorOf(w, h, hotX, hotY int, argb []uint32) (Cursor, error) {
	if w < 1 || h < 1 || w > maxCursor || h > maxCursor || len(argb) < w*h {
		return Cursor{}, fmt.Errorf("read the cursor: %w: %dx%d in %d words", errHostile, w, h, len(argb))
	}
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i, p := range argb[:w*h] {
		img.Set(i%w, i/w, color.RGBA{A: uint8(p >> 24), R: uint8(p >> 16), G: uint8(p >> 8), B: uint8(p)})
	}
	hotX, hotY = min(hotX, w-1), min(hotY, h-1)
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return Cursor{}, fmt.Errorf("write the cursor as PNG: %w", err)
	}
	sum := fnv.New32a()
	fmt.Fprintf(sum, "%d,%d;", hotX, hotY)
	_, _ = sum.Write(b.Bytes())
	return Cursor{ID: sum.Sum32(), HotX: hotX, HotY: hotY, Width: w, Height: h, PNG: b.Bytes()}, nil
}
