package stream

import (
	"context"
	"image"
	"testing"

	"easel/noded/stream/contract"
)

// TestGuestsBesideSmallerVideo scrolls in real Chromium, over 2 Mbit/s for the owner and a quick link for a guest. One picture is encoded for both, so the guest's
// video is smaller too, in the screen's place, and what is still is exact for both at the screen's size. Beside a guest without tiles, whom only video sharpens, still video is whole.
func TestGuestsBesideSmallerVideo(t *testing.T) {
	s := startSession(t)
	_, owner, page := narrow(t, s, "codec=h264")
	s.via = nil // the guest comes by no link
	ctx := watchAs(t, s, guest(1, contract.RoleView), "codec=h264")
	page.until(t, "the guest's smaller video", func() bool { w := videoWidth(t, ctx); return w > 0 && w < page.size.X })
	s.await(t, "the guest's page to keep the screen's place", func() bool {
		return evaluate[string](t, ctx, "JSON.stringify([window.easel.screen.w, window.easel.screen.h])") == "[1280,720]"
	})
	page.a.fill(t, image.Rectangle{Max: page.size}, 0x30a050)
	page.a.put(t, page.a.screen(), image.Rect(301, 203, 401, 263), noise(100, 60, 7))
	for _, browser := range []struct {
		who string
		ctx context.Context
	}{{"the guest's", ctx}, {"the owner's", owner}} {
		s.await(t, browser.who+" exact picture", func() bool {
			becomesExact(t, browser.ctx)
			return same(t, browser.ctx, page.a, page.size) == nil
		})
	}
	pictured(t, s, connectAs(t, s, guest(2, contract.RoleView)))
	whole := func() bool { return videoWidth(t, ctx) == page.size.X && videoWidth(t, owner) == page.size.X }
	page.until(t, "smaller video that moves", func() bool { return !whole() && numbersOf(t, s).Scale < 1 })
	s.await(t, "still video of the screen's size", func() bool { return whole() && numbersOf(t, s).Scale == 1 })
}
