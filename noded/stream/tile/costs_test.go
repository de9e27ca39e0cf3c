package tile

import (
	"testing"
	"time"
)

func TestCostsChooseByWhatWasMeasured(t *testing.T) {
	var c Costs
	brush := Change{Cells: 10, VideoKbps: 20_000, TileKbps: 20_000, SinceFrame: time.Second}
	if room := c.room(guessed(), brush); room < 2000 {
		t.Fatalf("a brush of 10 cells may take %d bytes as tiles", room)
	}
	slow := brush
	slow.TileKbps = 1000
	if room, less := c.room(guessed(), brush), c.room(guessed(), slow); less >= room {
		t.Fatalf("a slow way has room for %d bytes, a fast one for %d", less, room)
	}
	early := brush
	early.SinceFrame = 0
	if room, less := c.room(guessed(), brush), c.room(guessed(), early); less >= room {
		t.Fatalf("right behind a frame, which they must wait for, tiles have room for %d bytes, later for %d", less, room)
	}
	for range 50 {
		c.Encoded(10, 500*time.Microsecond, 100)
	}
	viewer := client{video: time.Millisecond, tiles: 30 * time.Millisecond, cell: guessed().cell}
	if room := c.room(viewer, brush); room > 0 {
		t.Fatalf("a viewer that is slow with tiles is sent %d bytes of them", room)
	}
	brush.SinceTiles = time.Minute
	if again, slow := c.room(viewer, brush), c.room(viewer, slow); again <= slow {
		t.Fatalf("after a minute without tiles, which may be quicker by now, they have room for %d bytes, before for %d", again, slow)
	}
}
