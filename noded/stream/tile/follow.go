package tile

import (
	"image"
	"iter"
	"time"
)

// What the video shows scrolling, the viewer is given beneath it: cells that it keeps, and is told how they move, until it has enough to be told
// nothing else.
const (
	// seeds is how many cells the first message of those has, and seedBatch bounds its bytes.
	seeds     = 24
	seedBatch = 16 << 10
	// FollowTime is how far they may be ahead of the rate, and how much of it may be on its way.
	FollowTime = 40 * time.Millisecond
	// mostFed is how often that is in vain: more comes into sight than they bring.
	mostFed = 90
	// gainsFor is how often, at most, it is soon over.
	gainsFor = 24
)

// Follow sends the viewer what it needs to be told how the picture moves that a frame has just shown, in no more than so many bytes: cells that it keeps and
// does not show. moving tells that others were shown right before it. It is for right after that frame.
func (l *Layer) Follow(limit int, moving bool, now time.Time) (bytes int, err error) {
	s := &l.shift
	moves := s.sight == found || s.sight == ready
	seeds := s.lacks && moving && len(l.sheet.moved) >= leastShift
	limit = min(limit, l.flow.roomIn(limit)) - leastRoom/2
	if !moves && !seeds || limit < leastRoom/2 {
		return 0, nil
	}
	l.beginKept()
	if !moves {
		l.seed(min(limit, seedBatch))
		s.lacks, s.seeded, s.next = false, true, now
		return l.endKept(now)
	}
	s.sight = told
	if s.fed++; s.fed > mostFed {
		s.vain(now)
		return 0, nil
	}
	l.beginShift()
	for c := range l.entering() {
		if bytes+len(l.build.buf) >= limit {
			break
		}
		if len(l.build.buf) >= MaxMessage-leastRoom/2 || l.build.dear >= stillCells {
			n, err := l.endKept(now)
			if bytes += n; err != nil {
				return bytes, err
			}
			l.beginKept()
		}
		l.keep(c)
	}
	l.forgetLost()
	n, err := l.endKept(now)
	return bytes + n, err
}

// Gains tells whether the viewer, given cells behind the last frames, will soon be told of all that now moves without any.
func (l *Layer) Gains() bool {
	return l.shift.sight != unseen && l.shift.fed > 0 && l.shift.fed < gainsFor
}

func (l *Layer) beginKept() { l.build.begin(TilesMessage, l.flow.n+1, l.flow.gen, nil) }

// seed codes some of the cells that have changed, from all over the screen.
func (l *Layer) seed(limit int) {
	moved := l.sheet.moved
	for i := range seeds {
		from, to := i*len(moved)/seeds, (i+1)*len(moved)/seeds
		for ; from < to; from++ {
			if l.sheet.coder.Detailed(moved[from:from+1]) > 0 {
				l.keep(int(moved[from]))
				break
			}
		}
		if len(l.build.buf) >= limit {
			return
		}
	}
}

// keep codes a cell that the viewer does not have as it is.
func (l *Layer) keep(c int) {
	if l.hasNow(c) && !l.sheet.stale[c] {
		return
	}
	if !l.hasNow(c) {
		l.sheet.coder.Forget(c)
		l.has[c] = l.sheet.version[c]
	}
	l.build.tile(l.sheet, c, l.has[c])
	l.has[c] = l.sheet.version[c]
}

// forgetLost has the viewer have nothing of those cells that were lost in the last move and that no message brings.
func (l *Layer) forgetLost() {
	for _, c := range l.shift.lost {
		if l.sheet.stale[c] {
			l.has[c] = 0
		}
	}
}

// endKept sends the message as one of cells that are only kept.
func (l *Layer) endKept(now time.Time) (bytes int, err error) {
	if l.build.count == 0 {
		return 0, nil
	}
	l.flow.n++
	l.build.keep(l.flow.gen)
	return len(l.build.buf), l.flow.send(l.build.bytes(), false, now)
}

// entering are the cells about all that have changed, from where what comes into sight does: so what is kept of them is lost to no further move.
func (l *Layer) entering() iter.Seq[int] {
	of, by, wide := l.shift.changed, l.shift.by, l.sheet.wide
	last := of.Max.Sub(image.Pt(1, 1))
	return func(yield func(int) bool) {
		for n := range of.Dx() * of.Dy() {
			x, y := of.Min.X+n%of.Dx(), of.Min.Y+n/of.Dx()
			switch {
			case by.Y > 0:
				y = last.Y - n/of.Dx()
			case by.Y == 0 && by.X > 0:
				x, y = last.X-n/of.Dy(), of.Min.Y+n%of.Dy()
			case by.Y == 0:
				x, y = of.Min.X+n/of.Dy(), of.Min.Y+n%of.Dy()
			}
			if !yield(y*wide + x) {
				return
			}
		}
	}
}
