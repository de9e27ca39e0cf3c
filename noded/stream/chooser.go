package stream

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"easel/noded/stream/congestion"
)

// When another format takes the place of the usual one: a colour for each pixel (4:4:4) instead of one for four (4:2:0), which costs host and viewer about
// twice as much; or a codec that makes fewer bits of a screen, and takes more time for it, where the way carries too few of the usual one's frames.
const (
	// fullFactor is what 4:4:4 is taken to cost of 4:2:0, on either side, before it was measured.
	fullFactor = 2
	// spareFactor is what a codec that spares bits is taken to cost the host before it was measured, and spareViewer the viewer.
	spareFactor, spareViewer = 5, 2
	// chooseCalm is how long nothing may have changed before it is gone over to, so that nobody sees the keyframe that it begins with.
	chooseCalm = time.Second
	// fullLoss is the part of the screen that 4:2:0 must show in a visibly wrong colour to be worth it.
	fullLoss = 0.001
	// chooseRest is how long a format that proved too dear is left alone; doubles up to chooseRestMax.
	chooseRest, chooseRestMax = time.Minute, 16 * time.Minute
	// enoughFrames is how many large frames tell what they cost, fewFrames how many decoded ones do, and manyFrames how many large ones tell that a codec spares
	// nothing: its first ones make up for a coarse keyframe.
	enoughFrames, fewFrames, manyFrames = 3, 20, 30
	// usableQP is the quantiser, as coarse as text can still be read with, at which codecs are compared, and usable how many times the bits at the coarsest one are
	// those: what the coarsest makes of a screen says little of how it looks.
	usableQP = congestion.CoarsestQP - 18
	usable   = 8
	// news is how much of a new measurement is believed.
	news = 0.2
)

// Room is what a picture of 4:4:4 may take.
type Room struct {
	// Host and Viewer are how long it may take the one to encode a large frame, the other to decode any.
	Host, Viewer time.Duration
	// Kbps is the rate from which it is gone over to, Least the one below which it is given up: where bits are few they are better spent on luma.
	Kbps, Least int
	// A codec that spares bits is tried where the way carries fewer than Frames large ones a second of the usual codec's, and may take the host as long as
	// Spare for one.
	Frames int
	Spare  time.Duration
}

// UsualRoom is that of sixty frames a second, of which the host wants two thirds for reading, sending and other sessions.
func UsualRoom() Room {
	const frame = time.Second / 60
	return Room{Host: frame / 3, Viewer: frame, Kbps: 8000, Least: 4000, Frames: 20, Spare: time.Second / 20}
}

// full is the same codec with a colour for each pixel: "" where there is none.
func (f Format) full() Format {
	switch f {
	case H264:
		return H264444
	case VP9:
		return VP9444
	case AV1:
		return AV1444
	}
	return ""
}

// spare is the codec, of those that a viewer takes, that makes the fewest bits of a screen: "" where that is the usual one.
func (t takes) spare() Format {
	for _, f := range []Format{AV1, VP9} {
		if _, ok := t.payload(f); ok && f != t.best() {
			return f
		}
	}
	return ""
}

// chooser decides in which of the formats that all who watch take the picture goes to them, by what it costs host, viewer and way: measured, not guessed,
// but for what has not been tried. It is for one goroutine.
type chooser struct {
	room    Room
	present Format
	host    map[Format]*mean     // ms of large frames, to encode
	viewer  map[Format]*mean     // ms of any, to decode
	bits    map[Format]*mean     // kbit of large frames at usableQP
	rests   map[Format]*rest     // those that are left alone
	why     string               // that one was given up
	others  []Format             // than the usual one, that all take
	asked   map[Format]time.Time // the stillness in which each was last looked at
	heard   *json.RawMessage     // the viewer's last figures
	before  decoded
}

// mean is one of late, and of how many.
type mean struct {
	v float64
	n int
}

func (s *mean) add(v float64, n int) {
	s.n += n
	if s.n == n {
		s.v = v
		return
	}
	s.v += (v - s.v) * (1 - math.Pow(1-news, float64(n)))
}

// rest is how long a format that was given up is left alone.
type rest struct {
	until time.Time
	long  time.Duration // the next time
}

// decoded is what a viewer's figures say of its decoder, since its connection began.
type decoded struct {
	Frames int     `json:"frames"`
	Mean   float64 `json:"decode"` // ms
}

func newChooser(r Room) *chooser {
	return &chooser{room: r, host: map[Format]*mean{}, viewer: map[Format]*mean{}, bits: map[Format]*mean{}, rests: map[Format]*rest{}, asked: map[Format]time.Time{}}
}

// again is for another viewer: what the host can do is known, what the viewer can is not.
func (c *chooser) again() {
	c.viewer, c.heard, c.before, c.present = map[Format]*mean{}, nil, decoded{}, ""
	c.rests, c.why, c.asked = map[Format]*rest{}, "", map[Format]time.Time{}
}

// encoded takes in what a frame took in which so many of all cells changed, and how many pixels it has for one of the screen; a small one says nothing.
func (c *chooser) encoded(f Format, changed, cells int, pkt Packet, pixels float64, took time.Duration) {
	if !pkt.Key && changed*4 < cells {
		return
	}
	of(c.host, f).add(took.Seconds()*1000, 1)
	if !pkt.Key {
		of(c.bits, f).add(usable*congestion.AtCoarsest(pkt.Bytes, pkt.QP)*8/1000/pixels, 1)
	}
}

// figures takes in what the viewer last said of itself, all of it since its connection began, and believes what can be.
func (c *chooser) figures(said *json.RawMessage) {
	if said == nil || said == c.heard {
		return
	}
	c.heard = said
	var now decoded
	if json.Unmarshal(*said, &now) != nil || now.Frames < 0 || now.Frames > 1<<40 || !(now.Mean >= 0 && now.Mean < 10_000) {
		return
	}
	frames := now.Frames - c.before.Frames
	took := now.Mean*float64(now.Frames) - c.before.Mean*float64(c.before.Frames)
	if frames > 0 && took >= 0 {
		of(c.viewer, c.present).add(took/float64(frames), frames)
	}
	if frames != 0 {
		c.before = now
	}
}

func of(m map[Format]*mean, f Format) *mean {
	if m[f] == nil {
		m[f] = &mean{}
	}
	return m[f]
}

// scene is what a choice looks at beside what was measured.
type scene struct {
	still time.Time // since when nothing changes
	kbps  int
	// loss is the part of the screen that 4:2:0 shows in a visibly wrong colour. It takes milliseconds.
	loss func() float64
}

// choose gives the format from now on.
func (c *chooser) choose(t takes, s scene, now time.Time) Format {
	base := t.best()
	c.others = c.others[:0]
	for _, f := range []Format{base.full(), t.spare()} {
		if _, ok := t.payload(f); ok {
			c.others = append(c.others, f)
		}
	}
	if slices.Contains(c.others, c.present) && c.stays(base, s.kbps, now) {
		return c.present
	}
	c.present = base
	for _, f := range c.others {
		if due := c.dueOf(f, s.still); due.IsZero() || now.Before(due) {
			continue
		}
		if c.asked[f] = s.still; !c.gains(base, f, s) {
			continue
		}
		c.present, c.why = f, ""
		for _, m := range []map[Format]*mean{c.host, c.viewer, c.bits} {
			delete(m, f) // what it once was may be so no longer
		}
		break
	}
	return c.present
}

// stays tells whether the present format does, which is not the usual one.
func (c *chooser) stays(base Format, kbps int, now time.Time) bool {
	full := c.present == base.full()
	if !full && kbps >= c.room.Kbps {
		return false // there is room for the usual one's
	}
	if full {
		c.why = c.tooDear(kbps)
	} else {
		c.why = c.sparesNothing(base, kbps)
	}
	if c.why == "" {
		return true
	}
	r := c.rests[c.present]
	if r == nil {
		r = &rest{long: chooseRest}
		c.rests[c.present] = r
	}
	r.until, r.long = now.Add(r.long), min(r.long*2, chooseRestMax)
	return false
}

// due is when another format is to be looked at: zero for never.
func (c *chooser) due(still time.Time) time.Time {
	var due time.Time
	for _, f := range c.others {
		if f == c.present {
			return time.Time{}
		}
		due = sooner(due, c.dueOf(f, still))
	}
	return due
}

// dueOf is when one is, once in each stillness.
func (c *chooser) dueOf(f Format, still time.Time) time.Time {
	if still.IsZero() || still.Equal(c.asked[f]) {
		return time.Time{}
	}
	due := still.Add(chooseCalm)
	if r := c.rests[f]; r != nil {
		due = latest(due, r.until)
	}
	return due
}

// gains tells whether another format than the usual one is worth trying.
func (c *chooser) gains(base, f Format, s scene) bool {
	if f == base.full() {
		return c.affords(base, fullFactor, c.room.Host, fullFactor) && s.kbps >= c.room.Kbps && s.loss() >= fullLoss
	}
	return c.affords(base, spareFactor, c.room.Spare, spareViewer) && s.kbps < c.room.Kbps && c.fps(base, s.kbps) < float64(c.room.Frames)
}

// affords tells whether host and viewer will have the time, by what the usual format takes them now.
func (c *chooser) affords(base Format, hostFactor float64, room time.Duration, viewerFactor float64) bool {
	host, viewer := of(c.host, base), of(c.viewer, base)
	return host.n >= enoughFrames && host.v*hostFactor <= millis(room) &&
		viewer.n >= fewFrames && viewer.v*viewerFactor <= millis(c.room.Viewer)
}

// fps is how many large frames a second can be made and sent at usableQP: more than enough until that is known.
func (c *chooser) fps(f Format, kbps int) float64 {
	bits := of(c.bits, f)
	if bits.n < enoughFrames {
		return math.Inf(1)
	}
	return 1000 / max(of(c.host, f).v, bits.v*1000/float64(max(kbps, 1)), 1)
}

// tooDear says why 4:4:4 cannot stay, "" if it can.
func (c *chooser) tooDear(kbps int) string {
	if why := c.tooSlow("chroma: 4:4:4", c.room.Host); why != "" || kbps >= c.room.Least {
		return why
	}
	return "chroma: 4:4:4 wants a faster link"
}

// sparesNothing says why a codec that was to spare bits cannot stay, "" if it can.
func (c *chooser) sparesNothing(base Format, kbps int) string {
	f := c.present
	if why := c.tooSlow("codec: "+string(f), c.room.Spare); why != "" {
		return why
	}
	if now, before := c.fps(f, kbps), c.fps(base, kbps); now <= before && of(c.bits, f).n >= manyFrames {
		return fmt.Sprintf("codec: %s shows no more than %s over this link: %.0f frames a second, not %.0f", f, base, now, before)
	}
	return ""
}

// tooSlow says for whom the present format takes too long.
func (c *chooser) tooSlow(name string, room time.Duration) string {
	host, viewer := of(c.host, c.present), of(c.viewer, c.present)
	switch {
	case host.n >= enoughFrames && host.v > millis(room):
		return fmt.Sprintf("%s takes this host %.1f ms a frame, and it has %.1f", name, host.v, millis(room))
	case viewer.n >= fewFrames && viewer.v > millis(c.room.Viewer):
		return fmt.Sprintf("%s takes the viewer %.1f ms a frame, and it has %.1f", name, viewer.v, millis(c.room.Viewer))
	}
	return ""
}
