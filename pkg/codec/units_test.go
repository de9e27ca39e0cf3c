package codec

import (
	"bytes"
	"testing"
)

func TestAnnexBIsSplit(t *testing.T) {
	stream := []byte{0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x06, 9, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 0, 0, 3, 1, 5}
	want := [][]byte{{0x67, 1, 2}, {0x68, 3}, {0x65, 0, 0, 3, 1, 5}} // without the note of type 6
	got := splitAnnexB(nil, stream)
	if len(got) != len(want) {
		t.Fatalf("%d units, want %d: %x", len(got), len(want), got)
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("unit %d is %x, want %x", i, got[i], want[i])
		}
	}
}

func FuzzSplitAnnexB(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 7})
	f.Add([]byte{0, 0, 1, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, nal := range splitAnnexB(nil, b) {
			if len(nal) == 0 || nal[len(nal)-1] == 0 || bytes.Contains(nal, []byte{0, 0, 1}) {
				t.Errorf("a unit is %x", nal)
			}
			n += len(nal) + 3
		}
		if n > len(b) {
			t.Errorf("%d bytes came out of %d", n, len(b))
		}
	})
}
