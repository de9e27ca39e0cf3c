package stream

import (
	"context"
	"image"
	"testing"
	"time"

	"easel/integration/lossylink"
	"easel/noded/stream/input/inputtest"

	"github.com/chromedp/chromedp"
	"github.com/jezek/xgb/xproto"
)

// scroller shows a detailed page that moves as a whole.
type scroller struct {
	a     *artist
	sheet xproto.Pixmap
	size  image.Point
	at    int
	by    int // pixels a step
}

// newScroller draws the page, which is twice as high as the screen, out of sight.
func newScroller(t *testing.T, a *artist, size image.Point, page []byte) *scroller {
	t.Helper()
	p, err := xproto.NewPixmapId(a.xc)
	if err != nil {
		t.Fatal(err)
	}
	if err := xproto.CreatePixmapChecked(a.xc, 24, p, xproto.Drawable(a.root), uint16(size.X), uint16(2*size.Y)).Check(); err != nil {
		t.Fatal(err)
	}
	a.put(t, xproto.Drawable(p), image.Rect(0, 0, size.X, 2*size.Y), page)
	xproto.ChangeGC(a.xc, a.gc, xproto.GcGraphicsExposures, []uint32{0}) // an event for each copy, that nobody reads, would end in a standstill
	return &scroller{a: a, sheet: p, size: size, by: 37}
}

// step moves the page on, by one request.
func (s *scroller) step(t *testing.T) {
	t.Helper()
	s.at = (s.at + s.by) % s.size.Y
	err := xproto.CopyAreaChecked(s.a.xc, xproto.Drawable(s.sheet), xproto.Drawable(s.a.root), s.a.gc, 0, int16(s.at), 0, 0, uint16(s.size.X), uint16(s.size.Y)).Check()
	if err != nil {
		t.Fatal(err)
	}
}

// until scrolls until the page says so.
func (s *scroller) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited 90 s for %s", what)
		}
		for range 4 {
			s.step(t)
			time.Sleep(16 * time.Millisecond)
		}
	}
}

// narrow shows a session of 1280x720 over 2 Mbit/s, and scrolls until its video is smaller.
func narrow(t *testing.T, s *session, query string) (*lossylink.Link, context.Context, *scroller) {
	t.Helper()
	a := newArtist(t, s.x)
	s.ready(t)
	link := linked(t, s, 3)
	link.Delay(10 * time.Millisecond)
	link.Narrow(2000, narrowQueue)
	ctx := watch(t, s, "size=1280x720&"+query)
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1280") })
	page := newScroller(t, a, image.Pt(1280, 720), noise(1280, 1440, 5))
	page.until(t, "smaller video", func() bool { w := videoWidth(t, ctx); return w > 0 && w < 1280 })
	return link, ctx, page
}

const narrowQueue = 200 * time.Millisecond

func videoWidth(t *testing.T, ctx context.Context) int {
	t.Helper()
	return evaluate[int](t, ctx, "document.querySelector('video').videoWidth")
}

// TestNarrowWayGetsSmallerVideo scrolls in real Chromium over 2 Mbit/s: the video gets smaller while the screen, the pointer and the exact tiles keep their
// places, what is still is exact at the screen's size, and with room the video is whole again.
func TestNarrowWayGetsSmallerVideo(t *testing.T) {
	for _, codec := range []string{"h264", "vp9", "av1"} {
		t.Run(codec, func(t *testing.T) {
			s := startSession(t)
			link, ctx, page := narrow(t, s, "codec="+codec)
			if st := numbersOf(t, s); st.Scale >= 1 || st.Width != 1280 {
				t.Errorf("the stats tell of a scale of %v and a screen %d wide", st.Scale, st.Width)
			}
			if l := s.health(t, 0).Link; l.Target <= 0 || l.Scale >= 1 || !l.Valid() {
				t.Errorf("the health tells of the link as %+v", l)
			}
			s.await(t, "the page to keep the screen's place", func() bool {
				return evaluate[string](t, ctx, "JSON.stringify([window.easel.screen, document.querySelector('video').getBoundingClientRect().toJSON()].map(({w, h, width, height}) => [w ?? width, h ?? height]))") == "[[1280,720],[1280,720]]"
			})
			if err := chromedp.Do(ctx, chromedp.MouseEvent("mouseMoved", 600, 400)); err != nil {
				t.Fatal(err)
			}
			for {
				if r := s.pen.Next(t); r.Kind == inputtest.Motion && r.X == 600<<8 && r.Y == 400<<8 {
					break
				}
			}
			still := func(colour uint32) {
				t.Helper()
				page.a.fill(t, image.Rectangle{Max: page.size}, colour)
				page.a.put(t, page.a.screen(), image.Rect(301, 203, 401, 263), noise(100, 60, uint64(colour)))
				s.await(t, "an exact picture", func() bool {
					becomesExact(t, ctx)
					return same(t, ctx, page.a, page.size) == nil
				})
			}
			still(0x30a050)
			t.Logf("at 2 Mbit/s the video is %d pixels wide when the picture is exact", videoWidth(t, ctx))
			link.Narrow(50_000, narrowQueue)
			page.until(t, "the whole video", func() bool { return videoWidth(t, ctx) == page.size.X })
			still(0x5030a0)
			if st := numbersOf(t, s); st.Scale != 1 {
				t.Errorf("the stats tell of a scale of %v", st.Scale)
			}
		})
	}
}

// TestStillVideoIsWholeWithoutTiles: in a browser that takes none, what is still is sharpened by video of the screen's own size, and what moves is smaller.
func TestStillVideoIsWholeWithoutTiles(t *testing.T) {
	s := startSession(t)
	s.noTiles = true
	_, ctx, page := narrow(t, s, "")
	if n := evaluate[int](t, ctx, "window.easel.stats().tiles"); n != 0 {
		t.Fatalf("the page has %d tiles", n)
	}
	s.await(t, "still video of the screen's size", func() bool { return videoWidth(t, ctx) == page.size.X })
	page.until(t, "smaller video that moves", func() bool { return videoWidth(t, ctx) < page.size.X })
}
