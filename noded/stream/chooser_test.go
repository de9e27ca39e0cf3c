package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"slices"
	"strings"
	"testing"
	"time"
)

// choice is a chooser whose world the test makes.
type choice struct {
	t       *testing.T
	c       *chooser
	takes   takes
	now     time.Time
	still   time.Time
	kbps    int
	loss    float64
	asked   int
	frames  int
	decoded float64
}

func takesFormats(all ...Format) takes {
	t := make(takes, len(all))
	for i, f := range all {
		t[i].format, t[i].payload = f, 96
	}
	return t
}

func newChoice(t *testing.T, all ...Format) *choice {
	now := time.Now()
	return &choice{t: t, c: newChooser(UsualRoom()), takes: takesFormats(all...), now: now, still: now, kbps: 20000, loss: 0.1}
}

func (c *choice) want(want Format) {
	c.t.Helper()
	loss := func() float64 { c.asked++; return c.loss }
	if got := c.c.choose(c.takes, scene{still: c.still, kbps: c.kbps, loss: loss}, c.now); got != want {
		c.t.Fatalf("the choice is %s, want %s (%s)", got, want, c.c.why)
	}
}

// moves lets the picture change and be still again.
func (c *choice) moves() { c.still = c.now; c.now = c.now.Add(2 * chooseCalm) }

func (c *choice) encodes(f Format, ms float64) { c.makes(f, ms, 100, usableQP) }

// makes has large frames take so long and so many kbit at a quantiser.
func (c *choice) makes(f Format, ms, kbit float64, qp int) {
	for range 30 {
		c.c.encoded(f, 100, 100, Packet{Bytes: int(kbit * 1000 / 8), QP: qp}, 1, time.Duration(ms*float64(time.Millisecond)))
	}
}

func (c *choice) decodes(ms float64) {
	c.decoded += ms * 50
	c.frames += 50
	said := json.RawMessage(fmt.Sprintf(`{"frames":%d,"decode":%f}`, c.frames, c.decoded/float64(c.frames)))
	c.c.figures(&said)
}

func TestFullColourIsChosenWhereItCanBeHad(t *testing.T) {
	c := newChoice(t, VP9, H264444, H264)
	c.want(H264) // nothing is known
	c.encodes(H264, 2)
	c.decodes(3)
	c.want(H264) // somebody would see it
	c.now = c.now.Add(chooseCalm)
	c.want(H264444)
	c.encodes(H264444, 3)
	c.decodes(5)
	c.moves()
	c.want(H264444)

	// The viewer takes too long.
	c.decodes(40)
	c.want(H264)
	if !strings.Contains(c.c.why, "the viewer 40") {
		t.Errorf("it was given up because %q", c.c.why)
	}
	c.decodes(3)
	c.moves()
	c.want(H264) // for a while
	c.now = c.now.Add(chooseRest)
	c.want(H264444)
	if c.c.why != "" {
		t.Errorf("%q is still told", c.c.why)
	}

	// The host does.
	c.encodes(H264444, 30)
	c.want(H264)
	c.now = c.now.Add(chooseRest)
	c.moves()
	c.want(H264) // longer than the first time
	c.now = c.now.Add(chooseRest)
	c.moves()
	c.want(H264444)

	// The link is slow.
	c.kbps = UsualRoom().Least - 1
	c.want(H264)
	c.now = c.now.Add(chooseRestMax)
	c.moves()
	c.kbps = UsualRoom().Kbps - 1
	c.want(H264)
	c.kbps = UsualRoom().Kbps
	c.moves()
	c.want(H264444)

	// Another viewer has proven nothing.
	c.c.again()
	c.frames, c.decoded = 0, 0
	c.moves()
	c.want(H264)
}

// Over a narrow way the codec that makes fewer bits of what is on the screen takes over, if it does: of text and panels AV1, of a photograph's noise none.
func TestCodecThatSparesBitsIsChosenByWhatIsOnTheScreen(t *testing.T) {
	c := newChoice(t, H264, H264444, VP9, AV1)
	c.kbps = 2000
	c.want(H264)
	c.makes(H264, 6, 21, usableQP) // noise, 95 frames a second
	c.decodes(3)
	c.moves()
	c.want(H264)
	c.makes(H264, 6, 230/4., usableQP+12) // a scrolled screen at a coarser quantiser: 8 frames a second that can be read
	c.want(H264)
	c.moves()
	c.want(AV1)
	c.makes(AV1, 15, 57/2., usableQP+6) // 35 frames
	c.decodes(4)
	c.moves()
	c.want(AV1)
	c.kbps = UsualRoom().Kbps // the way is wide again
	c.want(H264)
	if c.c.why != "" {
		t.Errorf("%q is told", c.c.why)
	}
	c.kbps = 2000
	c.moves()
	c.want(AV1)
	for name, dear := range map[string]func(){
		"shows no more than h264": func() { c.makes(AV1, 15, 400, usableQP) },
		"takes this host 80":      func() { c.makes(AV1, 80, 20, usableQP) },
		"takes the viewer 40":     func() { c.decodes(40) },
	} {
		dear()
		c.want(H264)
		if !strings.HasPrefix(c.c.why, "codec: av1 ") || !strings.Contains(c.c.why, name) {
			t.Errorf("it was given up because %q, not because it %s", c.c.why, name)
		}
		c.decodes(3)
		c.moves()
		c.want(H264) // it rests
		c.now = c.now.Add(chooseRestMax)
		c.moves()
		c.want(AV1)
		if c.c.why != "" {
			t.Errorf("%q is still told", c.c.why)
		}
	}
}

func TestCodecThatSparesBitsIsNotChosen(t *testing.T) {
	for name, c := range map[string]struct {
		takes              []Format
		host, viewer, kbit float64
		kbps               int
		want               Format
	}{
		"the host has no time":       {[]Format{H264, AV1}, millis(UsualRoom().Spare)/spareFactor + 1, 3, 300, 2000, H264},
		"the viewer has no time":     {[]Format{H264, AV1}, 6, 10, 300, 2000, H264},
		"the way carries enough":     {[]Format{H264, AV1}, 6, 3, 90, 2000, H264},
		"the way is wide":            {[]Format{H264, AV1}, 6, 3, 1000, UsualRoom().Kbps, H264},
		"nothing else is taken":      {[]Format{H264}, 6, 3, 300, 2000, H264},
		"it is the usual one":        {[]Format{AV1}, 6, 3, 300, 2000, AV1},
		"one is taken without H.264": {[]Format{VP9, AV1}, 6, 3, 300, 2000, AV1},
		"VP9 is what else there is":  {[]Format{H264, VP9}, 6, 3, 300, 2000, VP9},
		"4:4:4 is no matter for it":  {[]Format{H264, H264444}, 1, 1, 300, 2000, H264},
	} {
		t.Run(name, func(t *testing.T) {
			x := newChoice(t, c.takes...)
			x.kbps = c.kbps
			base := x.takes.best()
			x.want(base)
			x.makes(base, c.host, c.kbit, usableQP)
			x.decodes(c.viewer)
			x.moves()
			x.want(c.want)
		})
	}
}

func TestFullColourIsNotChosen(t *testing.T) {
	for name, c := range map[string]struct {
		takes []Format
		host  float64
		is    float64
		loss  float64
		want  Format
	}{
		"the host would not have the time":   {[]Format{H264, H264444}, millis(UsualRoom().Host)/fullFactor + 0.1, 2, 0.1, H264},
		"the viewer would not have the time": {[]Format{H264, H264444}, 1, millis(UsualRoom().Viewer)/fullFactor + 0.1, 0.1, H264},
		"there is nothing to see of it":      {[]Format{H264, H264444}, 1, 2, fullLoss / 2, H264},
		"the viewer does not take it":        {[]Format{VP9, AV1}, 1, 2, 0.1, VP9},
		"it is of another codec":             {[]Format{H264, VP9444}, 1, 2, 0.1, H264},
		"nothing else is taken":              {[]Format{AV1444}, 100, 100, 0, AV1444},
	} {
		t.Run(name, func(t *testing.T) {
			x := newChoice(t, c.takes...)
			x.loss = c.loss
			x.want(c.want)
			x.encodes(c.want, c.host)
			x.decodes(c.is)
			x.moves()
			x.want(c.want)
			x.want(c.want)
			if x.asked > 1 {
				t.Errorf("the picture was looked at %d times in one stillness", x.asked)
			}
		})
	}
}

func TestFiguresThatCannotBeChangeNothing(t *testing.T) {
	c := newChoice(t, H264, H264444)
	c.want(H264)
	c.encodes(H264, 1)
	for _, said := range []string{`x`, `{}`, `{"frames":-5,"decode":1}`, `{"frames":50,"decode":-1}`, `{"frames":50,"decode":1e300}`, `{"frames":1e300,"decode":1}`, `[]`, `null`} {
		b := json.RawMessage(said)
		c.c.figures(&b)
		c.moves()
		c.want(H264)
	}
}

// lines draws fine lines of colour, which 4:2:0 loses, all over the screen, which says what a frame costs, again and again with rests between, until
// something has come of it.
func lines(t *testing.T, s *session, a *artist, ctx context.Context, what string, done func() bool) {
	t.Helper()
	until := time.Now().Add(4 * time.Minute)
	for i := 0; !done(); {
		if time.Now().After(until) {
			t.Fatalf("no %s within 4 min: %+v; %+v", what, numbersOf(t, s), s.health(t, 0).Degraded)
		}
		for range 30 {
			i++
			for x := 0; x < 640; x += 2 {
				a.fill(t, image.Rect(x, 0, x+1, 360), []uint32{0xff0000, 0x0000ff, 0x00c000}[(x/2+i)%3])
			}
		}
		rested := time.Now().Add(2500 * time.Millisecond) // long enough for a choice to be made
		for !done() && time.Now().Before(rested) {
			evaluate[int](t, ctx, "new Promise((ok) => setTimeout(() => ok(window.easel.stats().frames), 200))")
		}
	}
}

// heavy is a codec that takes its time for AV1, whatever this machine does meanwhile.
type heavy struct{ Codec }

type heavyEncoder struct{ Encoder }

func (h heavy) Open(size image.Point, c Coding, q Quality, from Encoder) (Encoder, error) {
	if before, ok := from.(heavyEncoder); ok {
		from = before.Encoder
	}
	e, err := h.Codec.Open(size, c, q, from)
	if err == nil && c.Format == AV1 {
		e = heavyEncoder{e}
	}
	return e, err
}

func (h heavyEncoder) Encode(key bool, qp int) (Packet, error) {
	time.Sleep(200 * time.Millisecond)
	return h.Encoder.Encode(key, qp)
}

// Where the way carries too few frames AV1 is tried, in the middle of the stream and in a stillness, and measured: here it shows no more, and H.264 is
// back. Neither change spoils the picture.
func TestStreamTriesTheCodecThatSparesBits(t *testing.T) {
	narrow := Room{Host: time.Nanosecond, Viewer: time.Hour, Kbps: 1 << 30, Frames: 1 << 30, Spare: time.Hour}
	s := startSessionWith(t, "127.0.0.1", Encoding{Codecs: []Codec{heavy{testCodec{}}}, Room: narrow})
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=640x360")
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 640") })
	lines(t, s, a, ctx, "AV1", func() bool { return numbersOf(t, s).Codec == "AV1" })
	showsExactly(t, ctx, a, image.Pt(640, 360))
	lines(t, s, a, ctx, "H.264", func() bool { return numbersOf(t, s).Codec == "H264" })
	showsExactly(t, ctx, a, image.Pt(640, 360))
	if d := s.health(t, 0).Degraded; !slices.ContainsFunc(d, func(text string) bool { return strings.HasPrefix(text, "codec: av1 shows no more than h264") }) {
		t.Errorf("the session is degraded by %q", d)
	}
}

// A viewer that takes both gets 4:4:4 once it is proven that all have the time, and in a stillness: the picture stays, and what is shown of it is exact.
// How much time that is the test says, so that it does not hang on how quick this machine is.
func TestStreamGoesOverToFullColour(t *testing.T) {
	s := startSessionWith(t, "127.0.0.1", Encoding{Codecs: []Codec{testCodec{}}, Room: Room{Host: time.Hour, Viewer: time.Hour}})
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=640x360")
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 640") })
	lines(t, s, a, ctx, "4:4:4", func() bool { return numbersOf(t, s).Chroma == "4:4:4" })
	st := numbersOf(t, s)
	if st.Codec != "H264" || st.Profile != "high-4:4:4-predictive" {
		t.Errorf("the stream is %s, %s", st.Codec, st.Profile)
	}
	size := image.Pt(640, 360)
	showsExactly(t, ctx, a, size)
	a.fill(t, image.Rectangle{Max: size}, 0x336699)
	showsExactly(t, ctx, a, size)
}
