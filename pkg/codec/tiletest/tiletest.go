// Package tiletest reads exact tiles as the viewer does (pkg/viewer/src/tiles/tile.ts), for tests of who makes them.
package tiletest

import (
	"encoding/binary"
	"errors"
)

// Cell is how large a tile is, in pixels, unless the picture ends before.
const (
	CellWidth  = 64
	CellHeight = 16
)

var (
	errShort = errors.New("read a tile: it ends too early")
	errLong  = errors.New("read a tile: it goes on after its last pixel")
	errCode  = errors.New("read a tile: a code is unknown or reaches too far")
)

// Decode reads a tile of columns × rows pixels over what pix, 0x00BBGGRR, held before.
func Decode(coded []byte, columns, rows int, pix []uint32) error {
	n := columns * rows
	if len(coded) == 0 || len(pix) < n || columns < 1 {
		return errShort
	}
	switch mode := coded[0]; mode {
	case 0, 1:
		return decode(coded[1:], columns, pix[:n], mode == 1)
	case 2:
		if len(coded) != 1+3*n {
			return errShort
		}
		for i := range n {
			pix[i] = rgb(coded[1+3*i:])
		}
		return nil
	case 3:
		if len(coded) != 4 {
			return errShort
		}
		for i := range n {
			pix[i] = rgb(coded[1:])
		}
		return nil
	}
	return errCode
}

func rgb(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }

func decode(b []byte, columns int, pix []uint32, delta bool) error {
	var cache [64]uint32
	var last uint32
	for i := 0; i < len(pix); {
		if len(b) == 0 {
			return errShort
		}
		op := b[0]
		if need := length(op); need == 0 {
			return errCode
		} else if len(b) < need {
			return errShort
		} else {
			if run, copied := count(b); run > 0 {
				if i+run > len(pix) {
					return errCode
				}
				for range run {
					switch {
					case !copied:
						pix[i] = last
					case !delta && i >= columns:
						pix[i] = pix[i-columns]
					case !delta:
						pix[i] = last
					}
					i++
				}
				last = pix[i-1]
			} else {
				up, left := last, last
				if i >= columns {
					up = pix[i-columns]
				}
				if i%columns == 0 {
					left = up
				}
				guess := left&up + ((left^up)&0xfefefe)>>1
				last = pixel(b, guess, &cache)
				pix[i] = last
				i++
			}
			b = b[need:]
		}
	}
	if len(b) > 0 {
		return errLong
	}
	return nil
}

// length is how many bytes a code takes; 0 for none that there is.
func length(op byte) int {
	switch {
	case op < 0x80:
		return 1
	case op < 0xc0:
		return 2
	case op == 0xdf, op == 0xfd:
		return 3
	case op < 0xfd:
		return 1
	case op == 0xfe:
		return 4
	}
	return 0
}

// count is how many pixels a run has, and whether they are copied from the reference.
func count(b []byte) (n int, copied bool) {
	switch op := b[0]; {
	case op == 0xdf, op == 0xfd:
		return max(int(binary.LittleEndian.Uint16(b[1:])), 1), op == 0xfd
	case op >= 0xc0 && op < 0xdf:
		return int(op-0xc0) + 1, false
	case op >= 0xe0 && op < 0xfd:
		return int(op-0xe0) + 1, true
	}
	return 0, false
}

func pixel(b []byte, guess uint32, cache *[64]uint32) uint32 {
	op := b[0]
	if op < 0x40 {
		return cache[op]
	}
	var r, g, d byte // differences
	v := uint32(0)
	switch {
	case op < 0x80:
		r, g, d = op>>4&3-2, op>>2&3-2, op&3-2
		v = add(guess, r, g, d)
	case op < 0xc0:
		g = op&0x3f - 32
		r, d = g+b[1]>>4-8, g+b[1]&15-8
		v = add(guess, r, g, d)
	default:
		v = rgb(b[1:])
	}
	cache[v*0x9e3779b1>>26] = v
	return v
}

func add(v uint32, r, g, b byte) uint32 {
	return uint32(byte(v)+r) | uint32(byte(v>>8)+g)<<8 | uint32(byte(v>>16)+b)<<16
}

// HashOf is the hash that goes with a coded tile, of which Decode has made these pixels: a cell of one colour is hashed by that.
func HashOf(cell int, coded []byte, pix []uint32) uint32 {
	if len(coded) > 0 && coded[0] == 3 {
		pix = pix[:1]
	}
	return Hash(cell, pix)
}

// Hash is the hash of a cell's pixels.
func Hash(cell int, pix []uint32) uint32 {
	h := 0x811c9dc5 ^ uint32(cell)
	for _, v := range pix {
		h = (h ^ v) * 0x01000193
	}
	return h
}
