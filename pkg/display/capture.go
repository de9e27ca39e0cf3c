package display

import (
	"errors"
	"fmt"
	"image"
	"slices"

	"github.com/jezek/xgb/shm"
	"github.com/jezek/xgb/xproto"
	"golang.org/x/sys/unix"
)

// zPixmap is the image format in which pixels lie whole, one after the other.
const zPixmap = 2

// maxBands bounds how many separate bands one frame is read in. Large ones are cut every bandRows, so that one piece can be worked on while
// the X server writes the next; bandAlign is what pieces begin and end on, for whoever compares blocks of rows.
const (
	maxBands  = 4
	bandRows  = 288
	bandAlign = 16
)

// ErrSize means that the screen no longer has the size that the frame was made for.
var ErrSize = errors.New("the screen has another size now")

// Frame is an output's pixels in SysV shared memory, written by the X server: BGRX, rows without gaps. Unlike a mapped file,
// such memory can't be cut short by the session while it is read. What is in it may change at any time.
type Frame struct {
	Size image.Point
	Pix  []byte

	o   *Output
	d   *Display
	seg shm.Seg
	frameReader
}

type band struct{ y0, y1 int }

// NewFrame makes a frame for the output as it is now.
func (o *Output) NewFrame() (*Frame, error) {
	d := o.d
	f := &Frame{Size: o.Size(), o: o, d: d}
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, f.Size.X*f.Size.Y*4, unix.IPC_CREAT|0o666)
	if err != nil {
		return nil, fmt.Errorf("make %v of shared memory: %w", f.Size, err)
	}
	// Marked at once to go with its last user, so that no crash leaves it behind; Linux still lets the X server attach.
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	if f.Pix, err = unix.SysvShmAttach(id, 0, 0); err != nil {
		return nil, fmt.Errorf("attach %v of shared memory: %w", f.Size, err)
	}
	err = d.call("attach shared memory to the X server", func() error {
		if f.seg, err = shm.NewSegId(d.xc); err != nil {
			return err
		}
		return shm.AttachChecked(d.xc, f.seg, uint32(id), false).Check()
	})
	if err != nil {
		_ = unix.SysvShmDetach(f.Pix)
		return nil, err
	}
	f.start(f.read)
	return f, nil
}

// Read has the X server write the rows that the rectangles touch into the frame. It calls arrived, if not nil, for each piece as soon as it is
// there, one after the other; pieces don't overlap.
func (f *Frame) Read(rects []image.Rectangle, arrived func(piece image.Rectangle)) error {
	at := f.o.Rect()
	if at.Size() != f.Size {
		return ErrSize
	}
	err := f.d.await("read the screen", func() bool {
		f.bands = cut(bandsOf(f.bands[:0], rects, f.Size.Y))
		return len(f.bands) > 0 && f.begin(at.Min, arrived)
	}, f.done, f.timer)
	f.forget()
	if err == nil {
		if f.o.Rect() != at {
			return ErrSize // it may be another part of the screen by now
		}
		return nil
	}
	// A screen that shrank under our feet makes the read a mismatch.
	if match := (xproto.MatchError{}); errors.As(err, &match) {
		return ErrSize
	}
	return err
}

// read asks for all bands at once, and tells of each as it comes.
func (f *Frame) read() error {
	f.cookies = f.cookies[:0]
	for _, b := range f.bands {
		f.cookies = append(f.cookies, shm.GetImage(f.d.xc, xproto.Drawable(f.d.root), int16(f.at.X), int16(f.at.Y+b.y0), uint16(f.Size.X), uint16(b.y1-b.y0),
			0xffffffff, zPixmap, f.seg, uint32(b.y0*f.Size.X*4)))
	}
	for i, c := range f.cookies {
		if _, err := c.Reply(); err != nil {
			return err
		}
		f.tell(image.Rect(0, f.bands[i].y0, f.Size.X, f.bands[i].y1))
	}
	return nil
}

// Close gives the memory back.
func (f *Frame) Close() {
	f.stop(f.d.dead.Load())
	select {
	case <-f.d.done:
	default:
		shm.Detach(f.d.xc, f.seg)
	}
	_ = unix.SysvShmDetach(f.Pix)
	f.Pix = nil
}

// bandsOf finds at most maxBands bands of rows that cover the rectangles, joining those with the smallest gaps.
func bandsOf(bands []band, rects []image.Rectangle, height int) []band {
	for _, r := range rects {
		if y0, y1 := max(r.Min.Y, 0), min(r.Max.Y, height); y0 < y1 && !r.Empty() {
			bands = append(bands, band{y0 - y0%bandAlign, min(y1+bandAlign-1-(y1+bandAlign-1)%bandAlign, height)})
		}
	}
	if len(bands) < 2 {
		return bands
	}
	slices.SortFunc(bands, func(a, b band) int { return a.y0 - b.y0 })
	n := 1
	for _, b := range bands[1:] {
		if last := &bands[n-1]; b.y0 <= last.y1 {
			last.y1 = max(last.y1, b.y1)
			continue
		}
		bands[n] = b
		n++
	}
	bands = bands[:n]
	for len(bands) > maxBands {
		at := 1
		for i := range bands[1:] {
			if bands[i+1].y0-bands[i].y1 < bands[at].y0-bands[at-1].y1 {
				at = i + 1
			}
		}
		bands[at-1].y1 = bands[at].y1
		bands = slices.Delete(bands, at, at+1)
	}
	return bands
}

// cut cuts bands into pieces of at most bandRows.
func cut(bands []band) []band {
	for i := 0; i < len(bands); i++ {
		if b := bands[i]; b.y1-b.y0 > bandRows {
			bands[i].y1 = b.y0 + bandRows
			bands = slices.Insert(bands, i+1, band{b.y0 + bandRows, b.y1})
		}
	}
	return bands
}
