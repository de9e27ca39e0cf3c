package tiletest

import "testing"

// FuzzDecode: whatever comes, the reader stays within the tile.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{0, 0xfe, 1, 2, 3, 0xdf, 0xff, 3}, uint8(64), uint8(16))
	f.Add([]byte{1, 0xfd, 0, 4}, uint8(64), uint8(16))
	f.Add([]byte{2, 1, 2, 3}, uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, columns, rows uint8) {
		c, r := int(columns)%CellWidth+1, int(rows)%CellHeight+1
		pix := make([]uint32, c*r+1)
		pix[c*r] = 0xdeadbeef
		_ = Decode(b, c, r, pix)
		if pix[c*r] != 0xdeadbeef {
			t.Fatal("a pixel beyond the tile was written")
		}
		for _, v := range pix[:c*r] {
			if v > 0xffffff {
				t.Fatalf("a pixel is %#x", v)
			}
		}
	})
}
