package tile_test

import (
	"bytes"
	"testing"
	"time"

	"easel/noded/stream/tile"
	"easel/noded/stream/tile/tiletest"
)

func FuzzParseReport(f *testing.F) {
	f.Add(tiletest.Report(tile.Report{N: 1, Shown: 2, Bad: 3, Video: 4, Tile: 5, Cell: 6}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := tile.ParseReport(b)
		if err == nil && !bytes.Equal(tiletest.Report(r)[2:], b[2:]) {
			t.Fatalf("%x was read as %+v", b, r)
		}
		flow := tile.NewFlow(func(int, time.Time) {})
		if err == nil && r.N != 0 && flow.Take(r, time.Now()) == nil {
			t.Fatal("what was never sent was confirmed")
		}
	})
}
