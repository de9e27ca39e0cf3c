package stream

import (
	"image"
	"sync"
	"testing"
	"time"

	"easel/noded/stream/contract"

	"github.com/jezek/xgb/xproto"
)

// TestGuestOnANarrowLinkDelaysNobody shows a session in real Chromium over a link of 2 Mbit/s, while the picture changes faster than that carries: the guest
// has few of these pictures, the owner as many as without a guest, and as soon all of the last one; which in the end is exact for the guest too.
func TestGuestOnANarrowLinkDelaysNobody(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	const pictures = 40
	area := image.Rect(0, 0, 400, 200)
	sheet, err := xproto.NewPixmapId(a.xc)
	if err != nil {
		t.Fatal(err)
	}
	if err := xproto.CreatePixmapChecked(a.xc, 24, sheet, xproto.Drawable(a.root), uint16(area.Dx()), uint16(area.Dy())).Check(); err != nil {
		t.Fatal(err)
	}
	draw := func(seed int) { // at once
		t.Helper()
		a.put(t, xproto.Drawable(sheet), area, noise(area.Dx(), area.Dy(), uint64(seed)))
		err := xproto.CopyAreaChecked(a.xc, xproto.Drawable(sheet), xproto.Drawable(a.root), a.gc, 0, 0, 0, 0, uint16(area.Dx()), uint16(area.Dy())).Check()
		if err != nil {
			t.Fatal(err)
		}
	}
	// changes shows the owner one picture after the other, and gives how many frames there were, and how long after the last one all was exact.
	changes := func(seed int) (frames int, exact time.Duration) {
		t.Helper()
		owner.awaitPicture(t, a, "the owner's exact picture")
		before, _ := owner.count()
		for i := range pictures {
			draw(seed + i)
			time.Sleep(25 * time.Millisecond)
		}
		drawn := time.Now()
		owner.awaitPicture(t, a, "the owner's exact picture")
		n, _ := owner.count()
		return n - before, time.Since(drawn)
	}
	before, alone := changes(0)
	link := linked(t, s, 3)
	link.Delay(10 * time.Millisecond)
	link.Narrow(2000, 300*time.Millisecond)
	ctx := watchAs(t, s, guest(1, contract.RoleView), "size=1280x720")
	became := func() {
		t.Helper()
		began := time.Now()
		defer func() { t.Logf("the guest's picture was exact after %v", time.Since(began)) }()
		becomesExact(t, ctx)
		s.await(t, "the guest's exact picture", func() bool { return same(t, ctx, a, image.Pt(1280, 720)) == nil })
	}
	became()
	seen := evaluate[int](t, ctx, "window.easel.stats().frames")
	with, beside := changes(1000)
	shown := evaluate[int](t, ctx, "window.easel.stats().frames") - seen
	t.Logf("the owner was sent %d frames alone and %d beside the guest, and all was exact after %v and %v; the guest was shown %d", before, with, alone, beside, shown)
	// By the guest's line alone, the pictures would take more than six seconds.
	if beside > 3*alone+2*time.Second {
		t.Errorf("the owner's picture was exact after %v alone, and after %v beside the guest", alone, beside)
	}
	if with < before/2 {
		t.Errorf("the owner was sent %d frames alone, and %d beside the guest", before, with)
	}
	if shown >= with*3/4 {
		t.Errorf("the guest was shown %d frames of %d: the link was not narrow, and the test shows nothing", shown, with)
	}
	became()
}

// restless shows ever other noise in a part of the screen, 40 times a second, until it is stopped.
func (a *artist) restless(t *testing.T, area image.Rectangle) (stop func()) {
	t.Helper()
	const more, step = 400, 61 // rows
	sheet, err := xproto.NewPixmapId(a.xc)
	if err != nil {
		t.Fatal(err)
	}
	if err := xproto.CreatePixmapChecked(a.xc, 24, sheet, xproto.Drawable(a.root), uint16(area.Dx()), uint16(area.Dy()+more)).Check(); err != nil {
		t.Fatal(err)
	}
	a.put(t, xproto.Drawable(sheet), image.Rect(0, 0, area.Dx(), area.Dy()+more), noise(area.Dx(), area.Dy()+more, 5))
	ended := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			xproto.CopyArea(a.xc, xproto.Drawable(sheet), xproto.Drawable(a.root), a.gc, 0, int16(i*step%more), int16(area.Min.X), int16(area.Min.Y), uint16(area.Dx()), uint16(area.Dy()))
		}
	})
	stop = sync.OnceFunc(func() { close(ended); all.Wait() })
	t.Cleanup(stop)
	return stop
}

// TestGuestWhoJoinsOnANarrowLinkHasAPicture shows a session in real Chromium over a line that is narrow, and loses packets, from the first one on, while the
// picture, which is made for an owner on a wide one, never rests. Once it does, it is exact.
func TestGuestWhoJoinsOnANarrowLinkHasAPicture(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	owner.awaitPicture(t, a, "the owner's exact picture")
	rest := a.restless(t, image.Rect(0, 0, 400, 200))
	link := linked(t, s, 3)
	link.Delay(20 * time.Millisecond)
	link.Lose(0.02)
	link.Narrow(1000, 300*time.Millisecond)
	joined := time.Now()
	ctx := watchAs(t, s, guest(1, contract.RoleView), "size=1280x720")
	s.await(t, "the guest's first picture", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().frames > 0") })
	t.Logf("the guest's first picture was there after %v", time.Since(joined))
	rest()
	rested := time.Now()
	showsExactly(t, ctx, a, image.Pt(1280, 720))
	t.Logf("the picture was exact %v after it rested", time.Since(rested))
}
