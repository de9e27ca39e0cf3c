package stream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/tile"
	ship "easel/pkg/viewer"

	"github.com/chromedp/chromedp"
	"github.com/jezek/xgb/xproto"
)

// probe looks at what the viewer shows: the video and, above it, the canvas. It is asked for frames after the viewer itself, so that it sees
// what the viewer has made of each.
const probe = `(() => {
  const scratch = document.createElement('canvas');
  const ctx = scratch.getContext('2d', {willReadFrequently: true});
  const compose = (x, y, w, h, frame = null) => {
    if (scratch.width !== w || scratch.height !== h) [scratch.width, scratch.height] = [w, h];
    ctx.clearRect(0, 0, w, h);
    const {w: wide, h: high} = window.easel.screen;
    for (const e of document.querySelectorAll('#screen video, #screen canvas')) {
      const across = (e.videoWidth || e.width) / wide, down = (e.videoHeight || e.height) / high;
      if (e.checkVisibility({visibilityProperty: true})) ctx.drawImage(e.videoWidth && frame ? frame : e, x * across, y * down, w * across, h * down, 0, 0, w, h);
    }
    return ctx.getImageData(0, 0, w, h).data;
  };
  const base64 = (bytes) => new Promise((ok) => {
    const r = new FileReader();
    r.onload = () => ok(r.result.slice(r.result.indexOf(',') + 1));
    r.readAsDataURL(new Blob([bytes]));
  });
  // What each of the places shows as a number, in cells of 16 by 16 that are black or white: 16 bits, high ones first.
  const read = (places, frame) => places.map(([x, y]) => {
    const d = compose(x, y, 256, 16, frame);
    let n = 0;
    for (let i = 0; i < 16; i++) n = n * 2 + (d[(8 * 256 + i * 16 + 8) * 4 + 1] > 127 ? 1 : 0);
    return n;
  });
  const video = document.querySelector('video');
  window.probe = {
    grab: (x, y, w, h) => base64(compose(x, y, w, h)),
    seen: [], // while the browser has told the page of the frame on show
    ahead: [], // while it has not yet
    tilesAbove: 0,
    watch(places) {
      let told = 0;
      const look = () => {
        const frame = new VideoFrame(video);
        const on = frame.metadata().rtpTimestamp === told ? this.seen : this.ahead;
        on.push(read(places, frame).join());
        frame.close();
        if (document.querySelector('#screen > canvas')?.checkVisibility({visibilityProperty: true})) this.tilesAbove++;
      };
      const frame = () => { requestAnimationFrame(frame); look(); };
      const picture = (_, m) => { video.requestVideoFrameCallback(picture); told = m.rtpTimestamp; look(); };
      requestAnimationFrame(frame);
      video.requestVideoFrameCallback(picture);
    },
  };
})()`

// watch shows the session in Chromium by the page that ships, with the headers that the node gives it.
func watch(t *testing.T, s *session, query string) context.Context {
	t.Helper()
	return watchAs(t, s, contract.Owner, query)
}

func watchAs(t *testing.T, s *session, who contract.Viewer, query string) context.Context {
	t.Helper()
	assets, err := ship.Assets()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(node(t, s, assets, who))
	t.Cleanup(server.Close)
	ctx := startChromium(t)
	err = chromedp.Do(ctx, chromedp.Navigate(server.URL+"/s/s0123456789abcdef?scale=1&chrome=0&"+query),
		chromedp.Poll[chromedp.Void]("window.easel?.state === 'connected'"))
	if err != nil {
		t.Fatalf("show the session in Chromium: %v", err)
	}
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](probe+";0")); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// node plays the node's gateway, for a browser of somebody's.
func node(t testing.TB, s *session, assets fs.FS, who contract.Viewer) http.Handler {
	t.Helper()
	const base = "/s/s0123456789abcdef"
	said, err := who.Header()
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if !s.noTiles {
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		h.Set("Cross-Origin-Embedder-Policy", "require-corp")
		h.Set("Content-Security-Policy", ship.ContentSecurityPolicy)
		rest, inside := strings.CutPrefix(r.URL.Path, base)
		switch {
		case !inside:
			http.FileServerFS(assets).ServeHTTP(w, r)
		case rest == "":
			http.ServeFileFS(w, r, assets, "index.html")
		case rest == "/status":
			_, _ = io.WriteString(w, `{"id":"s0123456789abcdef","state":"connected","gimp":{"state":"running","restarts":0},"notice":null,"relay":"","owner":"ada","sharing":false,"you":`+said+`}`)
		case rest == "/ice":
			_, _ = io.WriteString(w, `{"iceServers":[],"relay":""}`)
		case rest == "/whep":
			offer, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			code, header, answer := s.send(t, http.MethodPost, "/whep?"+r.URL.RawQuery, http.Header{"Content-Type": {"application/sdp"}, contract.ViewerHeader: {said}}, string(offer))
			if s.via != nil {
				answer = s.via(answer)
			}
			h.Set("Location", base+"/"+header.Get("Location"))
			h.Set("Content-Type", "application/sdp")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, answer)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

func evaluate[T any](t *testing.T, ctx context.Context, js string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%.80s: %v", js, err)
	}
	return v
}

// shownStats is what window.easel.stats() says of exactness.
type shownStats struct {
	Exact      bool
	Tiles      int
	ExactTiles int
	Server     json.RawMessage
}

func becomesExact(t *testing.T, ctx context.Context) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		s := evaluate[shownStats](t, ctx, "window.easel.stats()")
		if s.Exact {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute %d of %d tiles are exact; %s", s.ExactTiles, s.Tiles, s.Server)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// grabX is what the X server has, as RGBA.
func (a *artist) grab(t testing.TB, r image.Rectangle) []byte {
	t.Helper()
	p, err := xproto.GetImage(a.xc, xproto.ImageFormatZPixmap, xproto.Drawable(a.root), int16(r.Min.X), int16(r.Min.Y), uint16(r.Dx()), uint16(r.Dy()), 0xffffffff).Reply()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, len(p.Data))
	for i := 0; i+3 < len(out); i += 4 {
		out[i], out[i+1], out[i+2], out[i+3] = p.Data[i+2], p.Data[i+1], p.Data[i], 255
	}
	return out
}

func (a *artist) screen() xproto.Drawable { return xproto.Drawable(a.root) }

// put shows pixels, BGRX.
func (a *artist) put(t testing.TB, on xproto.Drawable, r image.Rectangle, pix []byte) {
	t.Helper()
	const rows = 32 // a request's longest
	for y := 0; y < r.Dy(); y += rows {
		n := min(rows, r.Dy()-y)
		err := xproto.PutImageChecked(a.xc, xproto.ImageFormatZPixmap, on, a.gc, uint16(r.Dx()), uint16(n),
			int16(r.Min.X), int16(r.Min.Y+y), 0, 24, pix[y*r.Dx()*4:(y+n)*r.Dx()*4]).Check()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// same compares what is shown with what the X server has, bit by bit.
func same(t *testing.T, ctx context.Context, a *artist, size image.Point) error {
	t.Helper()
	got, err := base64.StdEncoding.DecodeString(evaluate[string](t, ctx, fmt.Sprintf("probe.grab(0, 0, %d, %d)", size.X, size.Y)))
	if err != nil {
		t.Fatal(err)
	}
	want := a.grab(t, image.Rectangle{Max: size})
	if len(got) != len(want) {
		return fmt.Errorf("%d bytes are shown, want %d", len(got), len(want))
	}
	wrong, first := 0, -1
	for i := range got {
		if got[i] != want[i] {
			wrong++
			if first < 0 {
				first = i / 4
			}
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d bytes differ, the first at %d,%d", wrong, first%size.X, first/size.X)
	}
	return nil
}

// showsExactly waits until the page says that it shows the picture exactly, and it does: what was just drawn may still be on its way.
func showsExactly(t *testing.T, ctx context.Context, a *artist, size image.Point) {
	t.Helper()
	err := errors.New("the page does not say that it is exact")
	for end := time.Now().Add(3 * time.Minute); err != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no exact picture within 3 min: %v", err)
		}
		if evaluate[shownStats](t, ctx, "window.easel.stats()").Exact {
			err = same(t, ctx, a, size)
		}
	}
}

func noise(w, h int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	pix := make([]byte, w*h*4)
	for i := range pix {
		pix[i] = byte(r.Uint32())
	}
	return pix
}

func TestStillPictureIsExactBitByBit(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=1000x702") // neither side a multiple of a cell
	size := image.Pt(1000, 702)
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1000") })
	for i, draw := range []func(){
		func() {},
		func() { a.put(t, a.screen(), image.Rect(100, 100, 500, 400), noise(400, 300, 1)) },
		func() { a.fill(t, image.Rect(0, 0, 1000, 702), 0x204060) },
		func() {
			for i := range 60 {
				a.fill(t, image.Rect(i*9, i*7, i*9+24, i*7+24), uint32(i*400000))
				time.Sleep(8 * time.Millisecond)
			}
		},
	} {
		draw()
		began := time.Now()
		becomesExact(t, ctx)
		t.Logf("picture %d is exact after %v", i, time.Since(began).Round(time.Millisecond))
		// The stats may be of the moment before the drawing came: what counts is that it ends exact.
		var err error
		for range 50 {
			if err = same(t, ctx, a, size); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
			becomesExact(t, ctx)
		}
		if err != nil {
			t.Fatalf("picture %d: %v", i, err)
		}
	}
	st := evaluate[shownStats](t, ctx, "window.easel.stats()")
	if want := 16 * 44; st.Tiles != want || st.ExactTiles != want {
		t.Fatalf("stats say %d of %d tiles are exact, want all %d", st.ExactTiles, st.Tiles, want)
	}
}

// number draws n in black and white cells at each place.
func (a *artist) number(t testing.TB, on xproto.Drawable, places []image.Point, n int) {
	t.Helper()
	for _, bit := range []uint32{0, 0xffffff} {
		var rects []xproto.Rectangle
		for _, p := range places {
			for i := range 16 {
				if (n>>(15-i)&1 == 1) == (bit != 0) {
					rects = append(rects, xproto.Rectangle{X: int16(p.X + i*16), Y: int16(p.Y), Width: 16, Height: 16})
				}
			}
		}
		if len(rects) > 0 {
			xproto.ChangeGC(a.xc, a.gc, xproto.GcForeground, []uint32{bit})
			if err := xproto.PolyFillRectangleChecked(a.xc, on, a.gc, rects).Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNoStaleTileIsEverShown scrolls and paints over each other. Each drawing changes a number in three places at once: all that is ever shown
// must have it the same in all of them, and never an older one after a newer.
func TestNoStaleTileIsEverShown(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	neverStale(t, s, a, watch(t, s, "size=1280x720"), 200, tile.RetryAfter) // on a machine that is slow with tiles, they are tried again after that
}

// TestNoStaleTileIsEverShownToAGuest: its tiles and frames go together by timestamps of its own.
func TestNoStaleTileIsEverShownToAGuest(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false) // whose tiles cost what it says
	pictured(t, s, owner.viewer)
	neverStale(t, s, a, watchAs(t, s, guest(1, contract.RoleView), "size=1280x720"), 120, 200*time.Millisecond)
	owner.awaitPicture(t, a, "the owner's exact picture")
}

func neverStale(t *testing.T, s *session, a *artist, ctx context.Context, steps int, rest time.Duration) {
	t.Helper()
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1280") })
	places := []image.Point{{16, 40}, {500, 136}, {900, 216}}
	// All is drawn out of sight and shown by one request: what an application shows piece by piece is read so.
	sheet, err := xproto.NewPixmapId(a.xc)
	if err != nil {
		t.Fatal(err)
	}
	if err := xproto.CreatePixmapChecked(a.xc, 24, sheet, xproto.Drawable(a.root), 1280, 280).Check(); err != nil {
		t.Fatal(err)
	}
	show := func() {
		if err := xproto.CopyAreaChecked(a.xc, xproto.Drawable(sheet), xproto.Drawable(a.root), a.gc, 0, 0, 0, 0, 1280, 280).Check(); err != nil {
			t.Fatal(err)
		}
	}
	page := noise(1280, 480, 3) // too much for tiles while it moves
	a.put(t, xproto.Drawable(sheet), image.Rect(0, 0, 1280, 280), page)
	a.number(t, xproto.Drawable(sheet), places, 0)
	show()
	becomesExact(t, ctx)
	evaluate[int](t, ctx, "probe.watch([[16,40],[500,136],[900,216]]);0")
	before := numbersOf(t, s)
	r := rand.New(rand.NewPCG(4, 4))
	scrolling := 0
	for n := 1; n <= steps; n++ {
		if scrolling == 0 && r.IntN(30) == 0 {
			scrolling = 5 + r.IntN(15)
		}
		if scrolling > 0 {
			scrolling--
			a.put(t, xproto.Drawable(sheet), image.Rect(0, 0, 1280, 280), page[n%200*1280*4:])
		}
		xproto.ChangeGC(a.xc, a.gc, xproto.GcForeground, []uint32{uint32(n * 654321)})
		brush := xproto.Rectangle{X: int16(r.IntN(1200)), Y: int16(r.IntN(200)), Width: 24, Height: 24}
		xproto.PolyFillRectangle(a.xc, xproto.Drawable(sheet), a.gc, []xproto.Rectangle{brush})
		a.number(t, xproto.Drawable(sheet), places, n)
		show()
		pauses := []time.Duration{4, 8, 16, 16, 16, 33, 120}
		pause := pauses[r.IntN(len(pauses))] * time.Millisecond
		if n%20 == 0 {
			pause = rest
		}
		time.Sleep(pause)
	}
	becomesExact(t, ctx)
	s.await(t, "the last number", func() bool {
		seen := evaluate[[]string](t, ctx, "probe.seen.slice(-1)")
		return len(seen) == 1 && seen[0] == fmt.Sprintf("%d,%d,%d", steps, steps, steps)
	})
	seen := evaluate[[]string](t, ctx, "probe.seen")
	last, distinct := 0, map[int]bool{}
	for i, line := range seen {
		var n [3]int
		if _, err := fmt.Sscanf(line, "%d,%d,%d", &n[0], &n[1], &n[2]); err != nil {
			t.Fatal(err)
		}
		if n[0] != n[1] || n[1] != n[2] {
			t.Fatalf("look %d of %d shows %v at once: torn; before it %v", i, len(seen), n, seen[max(0, i-4):i])
		}
		if n[0] < last {
			t.Fatalf("look %d of %d shows %d after %d: stale", i, len(seen), n[0], last)
		}
		last = n[0]
		distinct[last] = true
	}
	ahead, torn := evaluate[[]string](t, ctx, "probe.ahead"), 0
	for _, line := range ahead {
		if n := strings.Split(line, ","); n[0] != n[1] || n[1] != n[2] {
			torn++
		}
	}
	t.Logf("in %d looks the browser had a frame of which it had not told yet; %d of them were torn", len(ahead), torn)
	after := numbersOf(t, s)
	t.Logf("%d pictures of %d drawn in %d looks; %d changes went as tiles, %d as video; tiles lay above in %d looks",
		len(distinct), steps, len(seen), after.ByTiles-before.ByTiles, after.Frames-before.Frames-(after.ByTiles-before.ByTiles), evaluate[int](t, ctx, "probe.tilesAbove"))
	if byVideo := after.Frames - before.Frames - (after.ByTiles - before.ByTiles); after.ByTiles-before.ByTiles < 5 || byVideo < 5 {
		t.Error("the two ways were not mixed: the test shows nothing")
	}
}

func numbersOf(t *testing.T, s *session) Stats {
	t.Helper()
	var st Stats
	s.get(t, "/stats", &st)
	return st
}

// TestViewerKnowsAPageThatAnimates: under a hand, the page asks for frames of its own where there are frames anyhow, and not where it rests.
func TestViewerKnowsAPageThatAnimates(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	ctx := watch(t, s, "size=640x480")
	becomesExact(t, ctx)
	evaluate[int](t, ctx, `{
		const frame = requestAnimationFrame.bind(window);
		let asked = 0;
		window.requestAnimationFrame = (f) => { asked++; return frame(f); };
		const beat = () => { if (window.beating) frame(beat); };
		window.animate = (on) => { window.beating = on; beat(); };
		// Whether a hand that moves has the page ask for a frame. What it learns of it, it learns once the hand rests.
		window.hand = async () => {
			const before = asked;
			dispatchEvent(new PointerEvent("pointermove"));
			const asks = asked > before;
			await new Promise((ok) => setTimeout(ok, 450));
			return asks;
		};
	}; 0`)
	for _, animates := range []bool{false, true, false} {
		evaluate[int](t, ctx, fmt.Sprintf("animate(%t); 0", animates))
		right := 0
		s.await(t, fmt.Sprintf("the page to know that it animates: %t", animates), func() bool {
			if right++; evaluate[bool](t, ctx, "hand()") != animates {
				right = 0
			}
			return right == 2
		})
	}
}
