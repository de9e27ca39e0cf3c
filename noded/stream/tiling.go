package stream

import (
	"image"
	"log/slog"
	"time"
)

// Timing and sizes of exact tiles.
const (
	// tileStill is how long a cell must not have changed before its exact pixels are worth their bytes.
	tileStill = 90 * time.Millisecond
	// tileBatch is how much goes into one message of still tiles, so that a change never waits for long behind one.
	tileBatch = 24 << 10
	// tileBack is how long after the last change that went by tiles the video catches up: what it shows below them can then take their place at once.
	tileBack = 100 * time.Millisecond
	// tilePace is the shortest time between two changes that go by tiles.
	tilePace = 4 * time.Millisecond
	// maxTileCells is how many cells one message may bring: the viewer makes room for all of it at once.
	maxTileCells = 640
	// tileSoon is how long tiles may take to make a still picture exact before the video sharpens it first.
	tileSoon = 400 * time.Millisecond
	// tileGuess is the bytes that a tile takes until some were sent.
	tileGuess = 300
	// leastRoom is how much room still tiles want: a tile takes up to 3 kB.
	leastRoom = 7 << 10
)

// tiling is what the viewer shows of each cell: the video, or exact pixels on a canvas above it. It belongs to the painter, for one viewer
// and one size of the screen.
type tiling struct {
	coder TileCoder
	flow  *tileFlow
	size  image.Point
	log   *slog.Logger

	sent    []uint32    // the message that brought the cell's present pixels; 0: the video shows it
	changed []time.Time // when the video last changed it
	ahead   []bool      // changed by tiles since the last frame
	backAt  time.Time   // when the video should catch up with them: zero for never
	missing int         // cells that the video shows
	cursor  int         // where to look for the next still one
	due     time.Time   // when to look: zero for never
	blocked bool        // there was no room for still ones
	average float64     // bytes that a still tile took
	bad     uint32
	doubted bool     // the viewer read a tile wrong
	moved   []uint16 // cells that the last look at the screen found changed
	early   []uint16 // that a frame takes the place of, and that the frame before shows as the tiles do
	late    []uint16 // that it takes the place of as well
	build   tileBuilder
}

// newTiling tells the viewer the screen's size and begins with a picture that is the video's alone. after is the frame from which on that is so.
func newTiling(coder TileCoder, flow *tileFlow, size image.Point, after uint32, now time.Time, log *slog.Logger) (*tiling, error) {
	n := coder.Count()
	t := &tiling{
		coder: coder, flow: flow, size: size, log: log, sent: make([]uint32, n), changed: make([]time.Time, n), missing: n,
		due: now.Add(tileStill), average: tileGuess, ahead: make([]bool, n), early: make([]uint16, 0, n), late: make([]uint16, 0, n),
	}
	coder.Reset()
	coder.Changed()
	for i := range t.changed {
		t.changed[i] = now
	}
	_, t.bad = flow.confirmed()
	flow.n++
	t.build.begin(sizeMessage, flow.n, flow.gen, &after)
	t.build.size(size.X, size.Y)
	return t, flow.send(t.build.bytes(), true, now)
}

// look notes which cells have just changed.
func (t *tiling) look() { t.moved = t.coder.Changed() }

// exact tells whether the viewer has confirmed every cell, and how many it has.
func (t *tiling) exact() (cells int, all bool) {
	acked, _ := t.flow.confirmed()
	for _, n := range t.sent {
		if n != 0 && !after(n, acked) {
			cells++
		}
	}
	return cells, cells == len(t.sent)
}

// change sends what has just changed as tiles if that is dearer than limit allows neither in bytes nor the viewer too far behind. after is the
// video frame before it.
func (t *tiling) change(limit int, after *uint32, now time.Time) (bytes int, err error) {
	limit = min(limit, t.flow.room(true), maxTileMessage-tileHeader)
	t.build.begin(tilesMessage, t.flow.n+1, t.flow.gen+1, after)
	for i, c := range t.moved {
		t.build.tile(t.coder, int(c))
		if len(t.build.buf) > limit {
			for _, c := range t.moved[:i+1] { // the viewer will not hear of them
				t.coder.Forget(int(c))
			}
			return 0, nil
		}
	}
	t.flow.n++
	t.flow.gen++
	for _, c := range t.moved {
		t.bring(int(c), t.flow.n)
		t.ahead[c] = true
	}
	t.backAt = now.Add(tileBack)
	return len(t.build.buf), t.flow.send(t.build.bytes(), true, now)
}

// bring notes that message n brings a cell's present pixels.
func (t *tiling) bring(c int, n uint32) {
	if t.sent[c] == 0 {
		t.missing--
	}
	t.sent[c] = n
}

// video gives what has just changed to a frame that is about to be encoded, and tells the viewer which tiles it takes the place of: at once
// where the frame before shows the same, so that they are gone when the new one comes, else together with it. stamp is called when the
// generation is known, and gives the frame's timestamp.
func (t *tiling) video(before uint32, stamp func() uint32, now time.Time) (bytes int, err error) {
	t.take(now)
	if len(t.early) > 0 {
		t.flow.gen++
		bytes, err = t.cover(t.early, before, now)
	}
	if len(t.late) > 0 {
		t.flow.gen++
	}
	frame := stamp()
	if len(t.late) > 0 && err == nil {
		var n int
		n, err = t.cover(t.late, frame, now)
		bytes += n
	}
	clear(t.ahead)
	t.backAt = time.Time{}
	return bytes, err
}

// take finds the tiles that a frame takes the place of.
func (t *tiling) take(now time.Time) {
	t.early, t.late = t.early[:0], t.late[:0]
	if t.doubted || t.flow.full() {
		t.doubted = false
		for c, n := range t.sent {
			if n != 0 {
				t.sent[c], t.changed[c] = 0, now
				t.late = append(t.late, uint16(c))
			}
		}
	}
	for _, c := range t.moved {
		t.changed[c] = now
		switch {
		case t.sent[c] == 0:
			continue
		case t.ahead[c]:
			t.late = append(t.late, c)
		default:
			t.early = append(t.early, c)
		}
		t.sent[c] = 0
	}
	t.missing += len(t.early) + len(t.late)
	if t.missing > 0 && t.due.IsZero() {
		t.due = now.Add(tileStill)
	}
}

// cover tells the viewer of cells that the video shows once a frame is on show.
func (t *tiling) cover(cells []uint16, frame uint32, now time.Time) (bytes int, err error) {
	t.flow.n++
	t.build.begin(videoMessage, t.flow.n, t.flow.gen, &frame)
	runs(cells, t.build.run)
	return len(t.build.buf), t.flow.send(t.build.bytes(), true, now)
}

// still sends one message of cells that have not changed for a while, if there are some and there is room.
func (t *tiling) still(after *uint32, now time.Time) (bytes int, err error) {
	if t.missing == 0 {
		t.due = time.Time{}
		return 0, nil
	}
	room := t.flow.room(false)
	if t.blocked = room < leastRoom; t.blocked {
		t.due = now.Add(tileStill)
		return 0, nil
	}
	next := now.Add(tileStill)
	limit := min(tileBatch, room-leastRoom/2)
	t.build.begin(tilesMessage, t.flow.n+1, t.flow.gen, after)
	for range t.sent {
		c := t.cursor
		if t.sent[c] == 0 {
			if ready := t.changed[c].Add(tileStill); ready.After(now) {
				if ready.Before(next) {
					next = ready
				}
			} else if len(t.build.buf) >= limit || t.build.count == maxTileCells {
				next = now
				break
			} else {
				t.build.tile(t.coder, c)
				t.bring(c, t.flow.n+1)
			}
		}
		if t.cursor++; t.cursor == len(t.sent) {
			t.cursor = 0
		}
	}
	t.due = next
	if t.build.count == 0 {
		return 0, nil
	}
	t.flow.n++
	t.average += (float64(len(t.build.buf))/float64(t.build.count) - t.average) / 4
	return len(t.build.buf), t.flow.send(t.build.bytes(), false, now)
}

// soon tells whether still tiles will have made the picture exact shortly, at kbps.
func (t *tiling) soon(kbps int) bool {
	left := time.Duration(float64(t.missing) * t.average * 8 / float64(max(kbps, 1)) * float64(time.Millisecond))
	return left < tileSoon
}

// ready tells whether still tiles are due.
func (t *tiling) ready(now time.Time) bool {
	if t.blocked && t.flow.room(false) >= leastRoom {
		t.due = now
	}
	return !t.due.IsZero() && !now.Before(t.due)
}

// doubt has the next video frame take the place of all tiles, and all be coded anew, when the viewer has read one wrong: it does not say which.
func (t *tiling) doubt() bool {
	if _, bad := t.flow.confirmed(); bad != t.bad {
		t.log.Warn("the viewer read tiles wrong: all are sent again", "tiles", bad-t.bad)
		t.bad, t.doubted = bad, true
		t.coder.Reset()
	}
	return t.doubted
}
