package codec

import "unsafe"

// Planes are a picture's Y, U and V, packed.
func Planes(p *Picture) [][]byte {
	w, h := p.size.X, p.size.Y
	cw, ch := w/2, h/2
	if p.colours.Chroma == Chroma444 {
		cw, ch = w, h
	}
	var out [][]byte
	for i, s := range []struct{ w, h int }{{w, h}, {cw, ch}, {cw, ch}} {
		out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(p.c.plane[i])), s.w*s.h))
	}
	return out
}

// Held tells whether the picture's memory is still there.
func Held(p *Picture) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.c != nil
}
