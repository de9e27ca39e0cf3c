package stream

import (
	"image"
	"log/slog"
	"slices"
	"time"
)

// Timing and sizes of exact tiles.
const (
	// tileStill is how long a cell must not have changed before its exact pixels are worth their bytes.
	tileStill = 90 * time.Millisecond
	// tileBatch is how much goes into one message of still tiles, so that a change never waits for long behind one.
	tileBatch = 24 << 10
	maxStill  = 256 // cells of it: some milliseconds of the page's time
	// tilePace is the shortest time between two changes that go by tiles.
	tilePace = 4 * time.Millisecond
	// maxTileCells is how many cells one message may bring: the viewer makes room for all of it at once.
	maxTileCells = 640
	// tileSoon is how long tiles may take to make a still picture exact before the video sharpens it first.
	tileSoon = 400 * time.Millisecond
	// tileGuess is the bytes that a tile takes until some were sent.
	tileGuess = 300
	// largeShare is the part of the screen from which on a change leaves nothing above the video, and nothing is made exact beside it.
	largeShare = 2
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
	large   time.Time   // when much of the screen changed last
	missing int         // cells that the video shows
	cursor  int         // where to look for the next still one
	due     time.Time   // when to look: zero for never
	blocked bool        // there was no room for still ones
	average float64     // bytes that a still tile took
	bad     uint32
	doubted bool     // the viewer read a tile wrong
	moved   []uint16 // cells that the last look at the screen found changed
	covered []uint16 // that a frame takes the place of
	build   tileBuilder
}

// newTiling tells the viewer the screen's size and begins with a picture that is the video's alone. after is the frame from which on that is so.
func newTiling(coder TileCoder, flow *tileFlow, size image.Point, after uint32, now time.Time, log *slog.Logger) (*tiling, error) {
	n := coder.Count()
	t := &tiling{
		coder: coder, flow: flow, size: size, log: log, sent: make([]uint32, n), changed: make([]time.Time, n), missing: n,
		due: now.Add(tileStill), average: tileGuess, covered: make([]uint16, 0, n),
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
	}
	return len(t.build.buf), t.flow.send(t.build.bytes(), true, now)
}

// bring notes that message n brings a cell's present pixels.
func (t *tiling) bring(c int, n uint32) {
	if t.sent[c] == 0 {
		t.missing--
	}
	t.sent[c] = n
}

// video gives what has just changed to a frame that is about to be encoded, and tells the viewer which tiles it takes the place of. stamp is called
// when the generation is known, and gives the frame's timestamp.
func (t *tiling) video(stamp func() uint32, now time.Time) (bytes int, err error) {
	t.take(now)
	if len(t.covered) == 0 {
		stamp()
		return 0, nil
	}
	t.flow.gen++
	return t.cover(stamp(), now)
}

// take finds the tiles that a frame takes the place of.
func (t *tiling) take(now time.Time) {
	t.covered = t.covered[:0]
	large := len(t.moved)*largeShare > len(t.sent)
	if large {
		t.large = now
	}
	for _, c := range t.moved {
		t.changed[c] = now
		t.uncover(c)
	}
	// With most of the screen in motion, a few tiles would have the whole canvas be in its way.
	if large || t.doubted || t.flow.full() {
		t.doubted = false
		for c := range t.sent {
			t.uncover(uint16(c))
		}
		slices.Sort(t.covered)
	}
	if t.missing > 0 && t.due.IsZero() {
		t.due = now.Add(tileStill)
	}
}

func (t *tiling) uncover(c uint16) {
	if t.sent[c] != 0 {
		t.sent[c] = 0
		t.missing++
		t.covered = append(t.covered, c)
	}
}

// cover tells the viewer of the cells that the video shows once a frame is on show.
func (t *tiling) cover(frame uint32, now time.Time) (bytes int, err error) {
	t.flow.n++
	t.build.begin(videoMessage, t.flow.n, t.flow.gen, &frame)
	runs(t.covered, t.build.run)
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
	if ready := t.large.Add(tileStill); ready.After(now) {
		t.due = ready
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
			} else if len(t.build.buf) >= limit || t.build.count == maxStill {
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
