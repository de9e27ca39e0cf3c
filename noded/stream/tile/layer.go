package tile

import (
	"errors"
	"image"
	"log/slog"
	"slices"
	"time"
)

// Timing and sizes of exact tiles.
const (
	// stillFor is how long a cell must not have changed before its exact pixels are worth their bytes.
	stillFor = 90 * time.Millisecond
	// StillTime is how much of the rate goes into one message of still tiles, and how far they may be ahead of the rate: a change never waits for long
	// behind them. A message has at least leastStill bytes and no more than stillBatch, which is some milliseconds of the page's time.
	StillTime  = 20 * time.Millisecond
	leastStill = 2 << 10
	stillBatch = 24 << 10
	stillCells = 256
	// Pace is the shortest time between two changes that go by tiles.
	Pace = 4 * time.Millisecond
	// MaxCells is how many cells one message may bring that are not of one colour: the viewer makes room for all of it at once.
	MaxCells = 640
	// Soon is how long tiles may take to make a still picture exact before the video sharpens it first.
	Soon = 400 * time.Millisecond
	// guessBytes is what a tile takes until some were sent.
	guessBytes = 300
	// largeShare is the part of the screen from which on a change leaves nothing above the video, and nothing is made exact beside it.
	largeShare = 2
	// leastRoom is how much room still tiles want: a tile takes up to 3 kB.
	leastRoom = 7 << 10
	// maxDoubts is how often a viewer may say that it has read tiles wrong, each time having all coded and shown anew.
	maxDoubts = 8
)

var errDoubts = errors.New("the viewer reads tiles wrong again and again")

// Layer is what the viewer shows of each cell: the video, or exact pixels on a canvas above it. It belongs to the painter, for one viewer
// and one size of the screen.
type Layer struct {
	sheet *Sheet
	flow  *Flow
	size  image.Point
	log   *slog.Logger

	sent    []uint32    // the message that brought the cell's present pixels; 0: the video shows it
	has     []uint32    // the version of each cell that the viewer has, be it on show or not
	changed []time.Time // when it last changed
	large   time.Time   // when much of the screen changed last
	coded   time.Time   // when the last change that went as tiles was
	missing int         // cells that the video shows
	cursor  int         // where to look for the next still one
	due     time.Time   // when to look: zero for never
	blocked bool        // there was no room for still ones
	average float64     // bytes that a still tile took
	bad     uint32
	doubts  int      // how often the viewer had read some wrong
	doubted bool     // it has, since the last frame
	moved   []uint16 // cells that have changed and that neither tiles nor a frame have brought
	waits   []bool   // whether a cell is one of these
	covered []uint16 // that a frame takes the place of
	shift   shift
	// unproven says which cells came by being moved, and have not been proven by their hash since; proofs is how many.
	unproven []bool
	proofs   int
	build    builder
}

// NewLayer tells the viewer the screen's size and begins with a picture that is the video's alone. after is the frame from which on that is so.
func NewLayer(sheet *Sheet, flow *Flow, size image.Point, after uint32, now time.Time, log *slog.Logger) (*Layer, error) {
	n := len(sheet.version)
	l := &Layer{
		sheet: sheet, flow: flow, size: size, log: log, sent: make([]uint32, n), has: make([]uint32, n), changed: make([]time.Time, n), missing: n,
		due: now.Add(stillFor), average: guessBytes, moved: make([]uint16, 0, n), waits: make([]bool, n), covered: make([]uint16, 0, n),
		shift: shift{average: guessShiftBytes, rest: shiftRest}, unproven: make([]bool, n),
	}
	for i := range l.changed {
		l.changed[i] = now
	}
	_, l.bad = flow.confirmed()
	flow.n++
	l.build.begin(SizeMessage, flow.n, flow.gen, &after)
	l.build.size(size.X, size.Y)
	return l, flow.send(l.build.bytes(), true, now)
}

// Of tells whether the layer shows cells of this sheet.
func (l *Layer) Of(s *Sheet) bool { return l != nil && l.sheet == s }

// Look notes which cells the sheet has just found changed.
func (l *Layer) Look(now time.Time) {
	l.shift.sight = unseen
	for _, c := range l.sheet.moved {
		l.changed[c] = now
		if !l.waits[c] {
			l.waits[c] = true
			l.moved = append(l.moved, c)
		}
	}
	if len(l.moved) > 0 && l.due.IsZero() {
		l.due = now.Add(stillFor)
	}
}

// Moved is how many cells have changed that the viewer has neither by tiles nor by a frame.
func (l *Layer) Moved() int { return len(l.moved) }

// Dear is how many of these are not of one colour, more or less.
func (l *Layer) Dear() int { return l.sheet.coder.Detailed(l.moved) }

// brought notes that the viewer is sent what has changed.
func (l *Layer) brought() {
	for _, c := range l.moved {
		l.waits[c] = false
	}
	l.moved = l.moved[:0]
}

// Due is when to look for still cells: zero for never.
func (l *Layer) Due() time.Time { return l.due }

// Whole tells whether there is no cell left that the video shows, that has changed since or that is to be proven.
func (l *Layer) Whole() bool { return l.missing+len(l.moved)+l.proofs == 0 }

// Exact tells how many cells there are, and how many of them the viewer has confirmed.
func (l *Layer) Exact() (confirmed, cells int) {
	acked, _ := l.flow.confirmed()
	for c, n := range l.sent {
		if n != 0 && !after(n, acked) && !l.unproven[c] {
			confirmed++
		}
	}
	return confirmed, len(l.sent)
}

// Change sends what has just changed as tiles if that is dearer than limit allows neither in bytes nor the viewer too far behind, and tells whether it did: where
// something moved, the viewer may only have been told that. after is the video frame before it.
func (l *Layer) Change(limit int, after *uint32, now time.Time) (shows bool, bytes int, err error) {
	room, shifts := l.flow.room(true), l.shift.sight == ready
	if l.shift.sight == found || shifts && room <= 0 {
		return false, 0, nil // it follows the frame
	}
	l.build.begin(TilesMessage, l.flow.n+1, l.flow.gen+1, after)
	slices.Sort(l.moved) // neighbours of one colour are one record
	tiles := l.moved
	if shifts {
		l.shift.sight = told
		room += shiftShare
		tiles = l.beginShift()
	}
	limit = min(limit, room, MaxMessage-HeaderBytes)
	for i, c := range tiles {
		l.build.tile(l.sheet, int(c), l.has[c])
		if len(l.build.buf) <= limit && l.build.dear <= MaxCells {
			continue
		}
		if !shifts {
			return false, 0, nil
		}
		for _, sent := range tiles[:i+1] { // a frame shows it, but the viewer had better have what was coded
			l.has[sent] = l.sheet.version[sent]
		}
		l.forgetLost()
		bytes, err = l.endKept(now)
		return false, bytes, err
	}
	l.flow.n++
	l.flow.Next()
	for _, c := range tiles {
		l.bring(int(c), l.flow.n)
	}
	if shifts {
		l.endShift(l.flow.n, len(l.build.buf), now)
	}
	l.brought()
	l.coded = time.Now()
	return true, len(l.build.buf), l.flow.send(l.build.bytes(), true, now)
}

// Coded is when the last change that went as tiles was coded, and its sending began.
func (l *Layer) Coded() time.Time { return l.coded }

// bring notes that message n brings a cell's present pixels.
func (l *Layer) bring(c int, n uint32) {
	if l.sent[c] == 0 {
		l.missing--
	}
	l.sent[c], l.has[c] = n, l.sheet.version[c]
	l.proven(c)
}

// proven notes that a cell need not be proven, or no longer.
func (l *Layer) proven(c int) {
	if l.unproven[c] {
		l.unproven[c] = false
		l.proofs--
	}
}

// Video gives what has just changed to a frame that is about to be encoded, and tells the viewer which tiles it takes the place of. stamp is called
// when the generation is known, and gives the frame's timestamp.
func (l *Layer) Video(stamp func() uint32, now time.Time) (bytes int, err error) {
	if l.doubts > maxDoubts {
		stamp()
		return 0, errDoubts
	}
	l.take(now)
	if len(l.covered) == 0 {
		stamp()
		return 0, nil
	}
	l.flow.Next()
	return l.cover(stamp(), now)
}

// take finds the tiles that a frame takes the place of.
func (l *Layer) take(now time.Time) {
	l.covered = l.covered[:0]
	large := len(l.moved)*largeShare > len(l.sent)
	if large {
		l.large = now
	}
	slices.Sort(l.moved)
	for _, c := range l.moved {
		l.uncover(c)
	}
	l.brought()
	// With most of the screen in motion, a few tiles would have the whole canvas be in its way.
	if large || l.doubted || l.flow.full() {
		l.doubted = false
		for c := range l.sent {
			l.uncover(uint16(c))
		}
		slices.Sort(l.covered)
	}
	if l.missing > 0 && l.due.IsZero() {
		l.due = now.Add(stillFor)
	}
}

func (l *Layer) uncover(c uint16) {
	if l.sent[c] != 0 {
		l.sent[c] = 0
		l.missing++
		l.covered = append(l.covered, c)
		l.proven(int(c))
	}
}

// cover tells the viewer of the cells that the video shows once a frame is on show.
func (l *Layer) cover(frame uint32, now time.Time) (bytes int, err error) {
	l.flow.n++
	l.build.begin(VideoMessage, l.flow.n, l.flow.gen, &frame)
	runs(l.covered, l.build.run)
	return len(l.build.buf), l.flow.send(l.build.bytes(), true, now)
}

// Still sends one message of cells that have not changed for a while, if there are some and there is room, by a way that carries kbps. Who has been shown
// no frame of what changed gets that too.
func (l *Layer) Still(after *uint32, kbps int, now time.Time) (bytes int, err error) {
	if l.Whole() {
		l.due = time.Time{}
		return 0, nil
	}
	room := l.flow.room(false)
	if l.blocked = room < leastRoom; l.blocked {
		l.due = now.Add(stillFor)
		return 0, nil
	}
	if ready := l.large.Add(stillFor); ready.After(now) {
		l.due = ready
		return 0, nil
	}
	next := now.Add(stillFor)
	limit := min(batch(kbps, stillBatch), room-leastRoom/2)
	l.build.begin(TilesMessage, l.flow.n+1, l.flow.gen, after)
	for range l.sent {
		c := l.cursor
		if l.sent[c] == 0 || l.waits[c] || l.unproven[c] {
			if ready := l.changed[c].Add(stillFor); ready.After(now) {
				if ready.Before(next) {
					next = ready
				}
			} else if len(l.build.buf) >= limit || l.build.dear == stillCells {
				next = now
				break
			} else {
				l.build.tile(l.sheet, c, l.has[c])
				l.bring(c, l.flow.n+1)
				l.waits[c] = false
			}
		}
		if l.cursor++; l.cursor == len(l.sent) {
			l.cursor = 0
		}
	}
	l.due = next
	if l.build.count == 0 {
		return 0, nil
	}
	l.moved = slices.DeleteFunc(l.moved, func(c uint16) bool { return !l.waits[c] })
	l.flow.n++
	l.average += (float64(len(l.build.buf))/float64(l.build.cells) - l.average) / 4
	return len(l.build.buf), l.flow.send(l.build.bytes(), false, now)
}

// batch is how many bytes one message of what can wait has, by a way that carries kbps.
func batch(kbps, most int) int {
	return min(max(kbps*int(StillTime/time.Millisecond)/8, leastStill), most)
}

// Soon tells whether still tiles will have made the picture exact shortly, at kbps.
func (l *Layer) Soon(kbps int) bool {
	bytes := float64(l.missing+len(l.moved))*l.average + float64(l.proofs*proofBytes)
	left := time.Duration(bytes * 8 / float64(max(kbps, 1)) * float64(time.Millisecond))
	return left < Soon
}

// Ready tells whether still tiles are due.
func (l *Layer) Ready(now time.Time) bool {
	if l.blocked && l.flow.room(false) >= leastRoom {
		l.due = now
	}
	return !l.due.IsZero() && !now.Before(l.due)
}

// RescueAt is when the video must show what tiles should have, because the viewer read one wrong or those sent after its last frame are
// late: zero for never. Of wrong ones the viewer does not say which they are: that frame takes the place of all, and all are coded anew.
func (l *Layer) RescueAt(frame time.Time) time.Time {
	if _, bad := l.flow.confirmed(); bad != l.bad {
		l.log.Warn("the viewer read tiles wrong: all are sent again", "tiles", bad-l.bad)
		l.bad, l.doubted = bad, true
		l.doubts++
		clear(l.has)
	}
	if l.doubted {
		return frame
	}
	return l.flow.overdue(frame)
}
