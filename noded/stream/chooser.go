package stream

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// When a colour for each pixel (4:4:4) takes the place of one for four (4:2:0), which costs the host and the viewer about twice as much.
const (
	// fullFactor is what 4:4:4 is taken to cost of 4:2:0, on either side, before it was measured.
	fullFactor = 2
	// chooseCalm is how long nothing may have changed before it is gone over to, so that nobody sees the keyframe that it begins with.
	chooseCalm = time.Second
	// fullLoss is the part of the screen that 4:2:0 must show in a visibly wrong colour to be worth it.
	fullLoss = 0.001
	// chooseRest is how long a format that proved too dear is left alone; doubles up to chooseRestMax.
	chooseRest, chooseRestMax = time.Minute, 16 * time.Minute
	// enoughFrames is how many large frames tell what they cost, fewFrames how many decoded ones do.
	enoughFrames, fewFrames = 3, 20
	// news is how much of a new measurement is believed.
	news = 0.2
)

// Room is what a picture of 4:4:4 may take.
type Room struct {
	// Host and Viewer are how long it may take the one to encode a large frame, the other to decode any.
	Host, Viewer time.Duration
	// Kbps is the rate from which it is gone over to, Least the one below which it is given up: where bits are few they are better spent on luma.
	Kbps, Least int
}

// UsualRoom is that of sixty frames a second, of which the host wants two thirds for reading, sending and other sessions.
func UsualRoom() Room {
	const frame = time.Second / 60
	return Room{Host: frame / 3, Viewer: frame, Kbps: 8000, Least: 4000}
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

// chooser decides in which of the formats that all who watch take the picture goes to them, by what it costs host and viewer: measured, not guessed,
// but for what has not been tried. It is for one goroutine.
type chooser struct {
	room    Room
	present Format
	host    map[Format]*timing // of large frames, to encode
	viewer  map[Format]*timing // of any, to decode
	barred  time.Time          // until when 4:4:4 is left alone
	rest    time.Duration
	why     string           // that it was given up
	open    bool             // there is a 4:4:4 that all take
	asked   time.Time        // the stillness in which it was last looked at
	heard   *json.RawMessage // the viewer's last figures
	before  decoded
}

// timing is a mean of late, and of how many.
type timing struct {
	ms float64
	n  int
}

func (s *timing) add(ms float64, n int) {
	s.n += n
	if s.n == n {
		s.ms = ms
		return
	}
	s.ms += (ms - s.ms) * (1 - math.Pow(1-news, float64(n)))
}

// decoded is what a viewer's figures say of its decoder, since its connection began.
type decoded struct {
	Frames int     `json:"frames"`
	Mean   float64 `json:"decode"` // ms
}

func newChooser(r Room) *chooser {
	return &chooser{room: r, host: map[Format]*timing{}, viewer: map[Format]*timing{}, rest: chooseRest}
}

// again is for another viewer: what the host can do is known, what the viewer can is not.
func (c *chooser) again() {
	c.viewer, c.heard, c.before, c.present = map[Format]*timing{}, nil, decoded{}, ""
	c.barred, c.rest, c.why, c.asked = time.Time{}, chooseRest, "", time.Time{}
}

// encoded takes in what a frame took in which so many of all cells changed; a small one says nothing.
func (c *chooser) encoded(f Format, changed, cells int, key bool, took time.Duration) {
	if !key && changed*4 < cells {
		return
	}
	of(c.host, f).add(took.Seconds()*1000, 1)
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

func of(m map[Format]*timing, f Format) *timing {
	if m[f] == nil {
		m[f] = &timing{}
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
	full := base.full()
	if _, c.open = t.payload(full); !c.open {
		c.present = base
		return base
	}
	if c.present == full {
		if c.why = c.tooDear(full, s.kbps); c.why != "" {
			c.barred, c.rest = now.Add(c.rest), min(c.rest*2, chooseRestMax)
			c.present = base
		}
		return c.present
	}
	c.present = base
	if due := c.due(s.still); due.IsZero() || now.Before(due) {
		return base
	}
	c.asked = s.still
	if c.affords(base, full) && s.kbps >= c.room.Kbps && s.loss() >= fullLoss {
		c.present, c.why = full, ""
		delete(c.host, full) // what it once was may be so no longer
		delete(c.viewer, full)
	}
	return c.present
}

// due is when it is to be looked at whether 4:4:4 fits, once in each stillness: zero for never.
func (c *chooser) due(still time.Time) time.Time {
	if !c.open || c.present.full() == "" || still.IsZero() || still.Equal(c.asked) {
		return time.Time{}
	}
	return latest(still.Add(chooseCalm), c.barred)
}

// affords tells whether host and viewer will have the time, by what they take now.
func (c *chooser) affords(base, full Format) bool {
	host, viewer := of(c.host, base), of(c.viewer, base)
	return host.n >= enoughFrames && host.ms*fullFactor <= millis(c.room.Host) &&
		viewer.n >= fewFrames && viewer.ms*fullFactor <= millis(c.room.Viewer)
}

// tooDear says why a format cannot stay, "" if it can.
func (c *chooser) tooDear(f Format, kbps int) string {
	host, viewer := of(c.host, f), of(c.viewer, f)
	switch {
	case host.n >= enoughFrames && host.ms > millis(c.room.Host):
		return fmt.Sprintf("4:4:4 takes this host %.1f ms a frame, and it has %.1f", host.ms, millis(c.room.Host))
	case viewer.n >= fewFrames && viewer.ms > millis(c.room.Viewer):
		return fmt.Sprintf("4:4:4 takes the viewer %.1f ms a frame, and it has %.1f", viewer.ms, millis(c.room.Viewer))
	case kbps < c.room.Least:
		return "4:4:4 wants a faster link"
	}
	return ""
}
