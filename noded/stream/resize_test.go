package stream

import (
	"fmt"
	"image"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jezek/xgb/xproto"
)

// backdrop covers the screen with a window of one colour, whatever size the screen gets.
func (a *artist) backdrop(t testing.TB, colour uint32) {
	t.Helper()
	w, err := xproto.NewWindowId(a.xc)
	if err != nil {
		t.Fatal(err)
	}
	const side = 4096
	err = xproto.CreateWindowChecked(a.xc, 24, w, a.root, 0, 0, side, side, 0, xproto.WindowClassInputOutput, 0,
		xproto.CwBackPixel|xproto.CwOverrideRedirect, []uint32{colour, 1}).Check()
	if err != nil {
		t.Fatal(err)
	}
	if err := xproto.MapWindowChecked(a.xc, w).Check(); err != nil {
		t.Fatal(err)
	}
}

// TestPictureFollowsADraggedEdgeWithoutFlicker drags the edge of the viewer's window: whatever moment it is looked at, there is a picture, sizes
// on the way are shown too, and in the end it is exact.
func TestPictureFollowsADraggedEdgeWithoutFlicker(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	a.backdrop(t, 0x30a050)
	ctx := watch(t, s, "")
	resize := func(w, h int64) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(w, h)); err != nil {
			t.Fatal(err)
		}
	}
	resize(800, 600)
	s.await(t, "the first size", func() bool { return evaluate[int](t, ctx, "document.querySelector('video').videoWidth") == 800 })
	s.await(t, "the colour", func() bool { return evaluate[bool](t, ctx, flickers+"look() === ''") })
	evaluate[int](t, ctx, flickers+"watchFlicker();0")
	for i := range int64(40) {
		resize(800+i*8, 600+i*4)
		time.Sleep(15 * time.Millisecond)
	}
	resize(1125, 763) // odd: the picture is as near as it gets
	s.await(t, "the last size", func() bool { return evaluate[int](t, ctx, "document.querySelector('video').videoWidth") == 1124 })
	s.await(t, "an exact picture of the last size", func() bool {
		becomesExact(t, ctx)
		return same(t, ctx, a, image.Pt(1124, 762)) == nil
	})
	bad := evaluate[[]string](t, ctx, "window.flicker.bad")
	looks, sizes := evaluate[int](t, ctx, "window.flicker.looks"), evaluate[[]string](t, ctx, "[...window.flicker.sizes]")
	if len(bad) > 0 {
		t.Errorf("%d of %d looks saw no picture; the first: %s", len(bad), looks, bad[0])
	}
	if looks < 5 || len(sizes) < 3 {
		t.Errorf("in %d looks the sizes were %v: the edge was not followed", looks, sizes)
	}
	t.Logf("%d looks, sizes %v", looks, sizes)
}

// flickers looks at a place that every size has: "" while the colour is there.
const flickers = `
window.look = () => {
  const v = document.querySelector('video'), box = v.getBoundingClientRect();
  if (!v.checkVisibility({visibilityProperty: true}) || box.width < 300) return 'hidden, ' + box.width;
  const c = new OffscreenCanvas(1, 1).getContext('2d');
  c.drawImage(v, 300, 200, 1, 1, 0, 0, 1, 1);
  const [r, g, b] = c.getImageData(0, 0, 1, 1).data;
  return Math.abs(r - 0x30) + Math.abs(g - 0xa0) + Math.abs(b - 0x50) < 40 ? '' : [r, g, b, v.videoWidth].join();
};
window.watchFlicker = () => {
  window.flicker = {bad: [], looks: 0, sizes: new Set()};
  const v = document.querySelector('video');
  const frame = () => {
    requestAnimationFrame(frame);
    window.flicker.looks++;
    window.flicker.sizes.add(v.videoWidth + 'x' + v.videoHeight);
    const what = window.look();
    if (what !== '') window.flicker.bad.push(what);
  };
  requestAnimationFrame(frame);
};
`

// BenchmarkResize is from a viewer's wish for another size to the last packet of the first picture of it.
func BenchmarkResize(b *testing.B) {
	s := startSession(b)
	s.ready(b)
	v := connect(b, s)
	n := 0 // every size is another than the one before
	for _, size := range []image.Point{{1280, 720}, {1920, 1080}, {3840, 2160}, {8192, 4320}} {
		b.Run(fmt.Sprintf("%dx%d", size.X, size.Y), func(b *testing.B) {
			for range b.N {
				n++
				w := size.X - 2*(n%2+1)
				_, keys := v.count()
				v.say(b, fmt.Sprintf(`{"t":"resize","w":%d,"h":%d,"scale":100}`, w, size.Y))
				until(b, fmt.Sprintf("a picture of %dx%d", w, size.Y), func() bool { _, now := v.count(); return v.has(w, size.Y) && now > keys })
				v.say(b, `{"t":"seen","rtp":1}`)
				b.StopTimer()
				time.Sleep(resizeRate * 2) // it is not the rate that is measured
				b.StartTimer()
			}
		})
	}
}

// until looks more often than session.await does.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(500 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}
