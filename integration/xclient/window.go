package xclient

import (
	"fmt"
	"image"

	"github.com/jezek/xgb/xproto"
)

// window is a window above everything else, out of the window manager's reach, so that nothing moves or covers it.
type window struct {
	*Screen
	id   xproto.Window
	gc   xproto.Gcontext
	size image.Point
}

// cover makes and maps a window over r.
func (s *Screen) cover(r image.Rectangle, events uint32) (*window, error) {
	id, err := xproto.NewWindowId(s.conn)
	if err != nil {
		return nil, fmt.Errorf("make window: %w", err)
	}
	gc, err := xproto.NewGcontextId(s.conn)
	if err != nil {
		return nil, fmt.Errorf("make window: %w", err)
	}
	err = xproto.CreateWindowChecked(s.conn, s.info.RootDepth, id, s.info.Root, int16(r.Min.X), int16(r.Min.Y),
		uint16(r.Dx()), uint16(r.Dy()), 0, xproto.WindowClassInputOutput, s.info.RootVisual,
		xproto.CwBackPixel|xproto.CwOverrideRedirect|xproto.CwEventMask, []uint32{0x404040, 1, events}).Check()
	if err != nil {
		return nil, fmt.Errorf("make window %v: %w", r, err)
	}
	if err := xproto.CreateGCChecked(s.conn, gc, xproto.Drawable(id), xproto.GcGraphicsExposures, []uint32{0}).Check(); err != nil {
		return nil, fmt.Errorf("make graphics context: %w", err)
	}
	if err := xproto.MapWindowChecked(s.conn, id).Check(); err != nil {
		return nil, fmt.Errorf("show window: %w", err)
	}
	xproto.ConfigureWindow(s.conn, id, xproto.ConfigWindowStackMode, []uint32{xproto.StackModeAbove})
	return &window{Screen: s, id: id, gc: gc, size: r.Size()}, s.sync()
}

// close takes the window away again.
func (w *window) close() {
	xproto.FreeGC(w.conn, w.gc)
	xproto.DestroyWindow(w.conn, w.id)
	_ = w.sync()
}

// coverAll covers the whole screen.
func (s *Screen) coverAll(events uint32) (*window, error) {
	size, err := s.Size()
	if err != nil {
		return nil, err
	}
	return s.cover(image.Rectangle{Max: size}, events)
}

// pixmap uploads a picture (BGRX rows without padding) and returns the server's copy of it.
func (w *window) pixmap(width, height int, bgrx []byte) (xproto.Pixmap, error) {
	id, err := xproto.NewPixmapId(w.conn)
	if err != nil {
		return 0, fmt.Errorf("make pixmap: %w", err)
	}
	if err := xproto.CreatePixmapChecked(w.conn, w.info.RootDepth, id, xproto.Drawable(w.id), uint16(width), uint16(height)).Check(); err != nil {
		return 0, fmt.Errorf("make pixmap of %dx%d: %w", width, height, err)
	}
	// A request carries at most 256 KiB without the BIG-REQUESTS extension.
	rows := max(1, 200_000/(width*4))
	for y := 0; y < height && len(bgrx) > 0; y += rows {
		n := min(rows, height-y)
		err := xproto.PutImageChecked(w.conn, xproto.ImageFormatZPixmap, xproto.Drawable(id), w.gc, uint16(width), uint16(n),
			0, int16(y), 0, w.info.RootDepth, bgrx[y*width*4:(y+n)*width*4]).Check()
		if err != nil {
			return 0, fmt.Errorf("upload picture: %w", err)
		}
	}
	return id, nil
}
