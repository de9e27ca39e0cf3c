package xclient

import (
	"image"
	"image/color"
	"testing"

	"github.com/jezek/xgb/xproto"
)

// A marker that is misread would turn a slow frame into a quick one.
func TestMarkerReadsBackEveryCounterAndRefusesDamage(t *testing.T) {
	for c := 0; c < 1<<16; c += 97 {
		img := image.NewGray(MarkerRect())
		bits := markerBits(uint16(c))
		for i, on := range bits {
			if on {
				img.SetGray(i*CellSize+CellSize/2, CellSize/2, color.Gray{Y: 255})
			}
		}
		got, err := ReadMarker(img)
		if err != nil || got != uint16(c) {
			t.Fatalf("counter %d reads as %d, %v", c, got, err)
		}
		for i := range bits {
			x, y := i*CellSize+CellSize/2, CellSize/2
			was := img.GrayAt(x, y)
			img.SetGray(x, y, color.Gray{Y: 255 - was.Y})
			if got, err := ReadMarker(img); err == nil {
				t.Fatalf("counter %d with cell %d flipped reads as %d", c, i, got)
			}
			img.SetGray(x, y, was)
		}
	}
	if _, err := ReadMarker(image.NewGray(MarkerRect())); err == nil {
		t.Fatal("a black picture reads as a marker")
	}
}

func TestCookieParser(t *testing.T) {
	entry := func(name string, data string) []byte {
		b := []byte{0xff, 0xff}
		for _, f := range []string{"", "0", name, data} {
			b = append(b, byte(len(f)>>8), byte(len(f)))
			b = append(b, f...)
		}
		return b
	}
	good := entry(cookieName, "0123456789abcdef")
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"one entry", good, "0123456789abcdef"},
		{"other kind first", append(entry("XDM-AUTHORIZATION-1", "x"), good...), "0123456789abcdef"},
		{"empty", nil, ""},
		{"cut short", good[:len(good)-1], ""},
		{"wrong length", entry(cookieName, "short"), ""},
	} {
		got, err := parseCookie(c.in)
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestKeysymFollowsShiftGroupAndLevel(t *testing.T) {
	a := []xproto.Keysym{'a', 'A', 0x6c6, 0x6e6, 0xe6, 0xc6} // a A, Cyrillic ef, ae
	for _, c := range []struct {
		state uint16
		want  uint32
	}{
		{0, 'a'},
		{xproto.ModMaskShift, 'A'},
		{xproto.ModMaskLock, 'A'},
		{xproto.ModMaskShift | xproto.ModMaskLock, 'a'},
		{1 << 13, 0x6c6},
		{1<<13 | xproto.ModMaskShift, 0x6e6},
		{xproto.ModMask5, 0xe6},
		{xproto.ModMask5 | xproto.ModMaskShift, 0xc6},
	} {
		if got := pick(a, c.state); got != c.want {
			t.Errorf("state %#x gives %#x, want %#x", c.state, got, c.want)
		}
	}
}
