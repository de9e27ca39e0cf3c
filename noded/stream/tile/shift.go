package tile

import (
	"image"
	"slices"
	"time"
)

// When it is looked whether the screen scrolls.
const (
	// leastShift is how many cells of more than one colour must have changed at once.
	leastShift = 128
	// shiftRest is how long it is not looked again after it did not; doubles up to shiftRestMax while it never does.
	shiftRest, shiftRestMax = 100 * time.Millisecond, 3200 * time.Millisecond
	// guessShiftBytes is what a cell beside those that only moved takes, until some were sent.
	guessShiftBytes = 300
	// lostBytes is taken for what one takes more that is coded whole.
	lostBytes = 1500
	// proofBytes is what it takes to prove a cell that the viewer has.
	proofBytes = RecordBytes + 4
	// shiftShare is how much more room than another change it has at once: a frame of video is no less.
	shiftShare = 32 << 10
)

// shift is a part of the picture that moved as a whole, as it does when somebody scrolls.
type shift struct {
	of image.Rectangle // pixels
	by image.Point     // from where each is to where it was

	changed image.Rectangle // the cells about all that have changed
	same    []bool          // of each of these, whether it is what was so far away
	had     []uint16        // those that changed and that the viewer has as they were in one picture of before
	tiles   []uint16        // cells that are to be sent beside it, in order
	lost    []uint16        // those of them for which what the viewer has is of no use
	only    int             // those that changed by moving only

	sight  sight
	lacks  bool // the viewer has nothing by which it is seen from where anything comes
	seeded bool // it was given some cells for that
	fed    int  // how often it was given cells of what moves, and had never enough

	next    time.Time // before which it is not looked
	rest    time.Duration
	average float64 // bytes that one of tiles took
}

// sight is what is made of how the present picture moved.
type sight int

const (
	unseen sight = iota
	found        // the viewer may be told behind a frame
	ready        // the viewer may be told instead of a frame
	told
)

// Shift looks whether what has changed, of which so many cells are Dear, only moved for the most part, and tells how many cells must be sent beside that which
// are not of one colour. Change sends it as that. It is for a sheet that no other layer shows.
func (l *Layer) Shift(changed int, now time.Time) (cells, dear int, shifts bool) {
	s := &l.shift
	if changed < leastShift || now.Before(s.next) {
		return 0, 0, false
	}
	if !l.find() {
		if s.lacks = !s.seeded; s.lacks {
			s.next = now.Add(shiftRest)
		} else {
			s.vain(now)
		}
		return 0, 0, false
	}
	s.sight, s.lacks, s.seeded, s.rest = found, false, false, shiftRest
	if s.only*2 < len(l.moved) {
		return 0, 0, false
	}
	dear = l.sheet.coder.Detailed(s.tiles)
	if bytes := float64(dear)*s.average + float64(len(s.lost)*lostBytes); dear > MaxCells || bytes > MaxMessage {
		s.average *= 0.9 // it may be less another time
		return 0, 0, false
	}
	s.sight = ready
	return s.only, dear, true
}

// vain has it not be looked for a while.
func (s *shift) vain(now time.Time) {
	s.next, s.seeded, s.fed = now.Add(s.rest), false, 0
	s.rest = min(2*s.rest, shiftRestMax)
}

// find finds what moved, and which cells did not.
func (l *Layer) find() bool {
	s := &l.shift
	slices.Sort(l.moved)
	l.listHad()
	by, found := l.sheet.coder.Find(s.had)
	if !found {
		return false
	}
	s.by, s.changed = by, image.Rectangle{}
	for _, c := range l.moved {
		s.changed = s.changed.Union(l.sheet.at(int(c)))
	}
	n := s.changed.Dx() * s.changed.Dy()
	s.same = slices.Grow(s.same[:0], n)[:n]
	l.sheet.coder.Same(s.changed, by, s.same)
	s.of, s.only = image.Rectangle{}, 0
	for _, c := range l.moved {
		if pixels := l.pixels(int(c)); s.came(l.sheet.at(int(c)).Min) && l.hasFrom(int(c), pixels) {
			s.of = s.of.Union(pixels)
			s.only++
		}
	}
	if s.tiles, s.lost = s.tiles[:0], s.lost[:0]; s.only > 0 {
		s.of = l.sheet.coder.Grow(s.of, by)
		l.beside()
	}
	return true
}

// listHad lists the cells that the viewer has as they were in one picture, the last of which it has enough to see where they went.
func (l *Layer) listHad() {
	const leastHad, looks = 8, 64
	var count [looks]int
	age := func(c uint16) int { return int(min(l.sheet.looks-l.sheet.until[c], looks) - 1) }
	for _, c := range l.moved {
		if l.hasNow(int(c)) {
			count[age(c)]++
		}
	}
	last := 0
	for last < looks-1 && count[last] < leastHad {
		last++
	}
	l.shift.had = l.shift.had[:0]
	for _, c := range l.moved {
		if l.hasNow(int(c)) && age(c) == last {
			l.shift.had = append(l.shift.had, c)
		}
	}
}

// came tells whether a cell is what was so far away.
func (s *shift) came(at image.Point) bool {
	p := at.Sub(s.changed.Min)
	return at.In(s.changed) && s.same[p.Y*s.changed.Dx()+p.X]
}

// beside lists the cells that are to be sent: what changed elsewhere, and what would be wrong.
func (l *Layer) beside() {
	s := &l.shift
	for c := range l.sent {
		part := l.pixels(c).Intersect(s.of)
		if part.Empty() {
			if l.waits[c] {
				s.tiles = append(s.tiles, uint16(c))
			}
			continue
		}
		has := l.hasFrom(c, part)
		if has && part == l.pixels(c) && s.came(l.sheet.at(c).Min) {
			continue
		}
		s.tiles = append(s.tiles, uint16(c))
		if !has {
			s.lost = append(s.lost, uint16(c))
		}
	}
}

// pixels are those of a cell.
func (l *Layer) pixels(c int) image.Rectangle {
	at := l.sheet.at(c).Min
	return image.Rect(at.X*CellWidth, at.Y*CellHeight, (at.X+1)*CellWidth, (at.Y+1)*CellHeight).Intersect(image.Rectangle{Max: l.size})
}

// hasFrom tells whether the viewer has all that a cell consists of once a part of it has come from elsewhere.
func (l *Layer) hasFrom(c int, part image.Rectangle) bool {
	if part != l.pixels(c) && !l.hasNow(c) {
		return false
	}
	for from := range l.sheet.touched(part.Add(l.shift.by)) {
		if !l.hasNow(from) {
			return false
		}
	}
	return true
}

// hasNow tells whether the viewer has a cell as it was coded last.
func (l *Layer) hasNow(c int) bool { return l.has[c] != 0 && l.has[c] == l.sheet.version[c] }

// beginShift begins the message with what moved, and gives the cells that are to follow. They are coded against what the viewer has then.
func (l *Layer) beginShift() []uint16 {
	s := &l.shift
	if s.only == 0 {
		return nil
	}
	l.build.shift(s.of, s.by)
	l.sheet.shift(s.of, s.by, s.tiles, s.lost)
	for c := range l.sheet.touched(s.of) {
		l.has[c] = l.sheet.version[c]
	}
	return s.tiles
}

// endShift notes that message n, of so many bytes, brings cells by moving them. What they are is proven once they rest.
func (l *Layer) endShift(n uint32, bytes int, now time.Time) {
	s := &l.shift
	s.fed = 0
	s.average += (float64(bytes)/float64(max(l.build.dear, 1)) - s.average) / 8
	tiles := s.tiles
	for c := range l.sheet.touched(s.of) {
		for len(tiles) > 0 && int(tiles[0]) < c {
			tiles = tiles[1:]
		}
		if len(tiles) > 0 && int(tiles[0]) == c {
			continue
		}
		l.bring(c, n)
		l.changed[c], l.unproven[c] = now, true
		l.proofs++
	}
	if l.due.IsZero() {
		l.due = now.Add(stillFor)
	}
}
