package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
	"easel/noded/stream/input/inputtest"
	"easel/pkg/display/xorgtest"
)

// deskAndHand is the artist in the page: a clipboard to put a large picture on, and a hand that moves all the time, each of whose places is a number.
const deskAndHand = `(() => {
  // What the page itself puts there may take long.
  const write = navigator.clipboard.write.bind(navigator.clipboard);
  window.copied = 0;
  navigator.clipboard.write = (items) => write(items).then(() => { window.copied++; });
  window.desk = async (side) => {
    const c = new OffscreenCanvas(side, side), g = c.getContext("2d");
    const rows = g.createImageData(side, 100), words = new Uint32Array(rows.data.buffer);
    let seed = 1;
    for (let y = 0; y < side; y += 100) {
      for (let i = 0; i < words.length; i++) words[i] = (seed = (Math.imul(seed, 1664525) + 1013904223) | 0) >> 5 | 0xff000000;
      g.putImageData(rows, 0, y);
    }
    const picture = await c.convertToBlob({type: "image/png"});
    await write([new ClipboardItem({"image/png": picture})]);
    return picture.size;
  };
  window.moved = [];
  const screen = document.getElementById("screen");
  setInterval(() => {
    const n = window.moved.length;
    screen.dispatchEvent(new PointerEvent("pointermove", {
      bubbles: true, cancelable: true, pointerId: 1, pointerType: "mouse", isPrimary: true, clientX: n % 1000, clientY: 100 + Math.floor(n / 1000), button: -1,
    }));
    window.moved.push(performance.timeOrigin + performance.now());
  }, 16);
  // The longest that the page itself was busy with one thing.
  window.stalled = 0;
  let last = performance.now();
  setInterval(() => {
    const now = performance.now();
    window.stalled = Math.max(window.stalled, now - last);
    last = now;
  }, 4);
  return 0;
})()`

// hand is when each of the hand's places came to the session.
type hand struct {
	stop  chan struct{}
	ended chan struct{}
	came  map[int]time.Time
}

func followHand(b *testing.B, s *session) *hand {
	b.Helper()
	h := &hand{make(chan struct{}), make(chan struct{}), map[int]time.Time{}}
	go func() {
		defer close(h.ended)
		for {
			select {
			case <-h.stop:
				return
			case r := <-s.pen.Records:
				if n := int(r.X>>8) + 1000*(int(r.Y>>8)-100); r.Kind == inputtest.Motion && h.came[n].IsZero() {
					h.came[n] = time.Now()
				}
			}
		}
	}()
	return h
}

// part is a stretch of time in which one thing was measured.
type part struct{ from, to time.Time }

// report tells how long the hand's places took in each case, and which part of them never came, as the hand is quick and old places are of no use.
func (h *hand) report(b *testing.B, p *browser.Page, parts map[string][]part, cases ...string) {
	b.Helper()
	moved, err := browser.Eval[[]float64](p, 30*time.Second, "window.moved")
	if err != nil {
		b.Fatal(err)
	}
	time.Sleep(time.Second) // what is on its way
	close(h.stop)
	<-h.ended
	for _, name := range cases {
		var took []time.Duration
		lost, all := 0, 0
		for n, ms := range moved {
			at := time.UnixMicro(int64(ms * 1000))
			for _, p := range parts[name] {
				if at.Before(p.from) || at.After(p.to) {
					continue
				}
				all++
				if came, ok := h.came[n]; ok {
					took = append(took, came.Sub(at))
				} else {
					lost++
				}
			}
		}
		quantiles(b, name+"-hand", took)
		b.ReportMetric(float64(lost)*100/float64(max(all, 1)), name+"-hand-lost-%")
	}
}

// copiedHere is a target that only what the session's own program copied has.
const copiedHere = "x-copied-here"

// paste waits until the desk's picture is on the session's clipboard, and takes it.
func paste(ctx context.Context, app *xorgtest.Application, least int) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	for {
		names, err := app.Targets(ctx)
		if err == nil && !slices.Contains(names, copiedHere) {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the desk's picture is not on the session's clipboard: %q, %w", names, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	got, err := app.Paste(ctx, "image/png")
	if err == nil && len(got) < least {
		err = fmt.Errorf("%d bytes were pasted", len(got))
	}
	return err
}

// large is a PNG of noise, as opaque pictures are, a little smaller than may cross.
func large(b *testing.B) []byte {
	b.Helper()
	const side = 3200
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	r := rand.New(rand.NewPCG(3, 3))
	for i := range img.Pix {
		img.Pix[i] = byte(r.Uint32()) | byte(0xff*(i%4/3))
	}
	var all bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&all, img); err != nil {
		b.Fatal(err)
	}
	return all.Bytes()
}

// What crossing the largest picture by the clipboard takes each way, in the page that ships, and what it does meanwhile to the picture, painted at 60 Hz,
// and to the hand.
func BenchmarkPictureBesideClipboard(b *testing.B) {
	for _, way := range []struct {
		name string
		kbps int
		trip time.Duration
	}{{"loopback", 0, 0}, {"50-Mbit,20-ms", 50_000, 20 * time.Millisecond}, {"10-Mbit,40-ms", 10_000, 40 * time.Millisecond}} {
		b.Run(way.name, func(b *testing.B) {
			s, streamer := startSessionApart(b)
			app := s.x.Application(b)
			s.ready(b)
			if way.kbps > 0 {
				link := linked(b, s, 5)
				link.Delay(way.trip / 2)
				link.Narrow(way.kbps, narrowQueue)
			}
			page := show(b, s, "size=1280x720")
			if err := errors.Join(page.Permit("clipboard-read", browser.Granted), page.Permit("clipboard-write", browser.Granted), page.Do(deskAndHand)); err != nil {
				b.Fatal(err)
			}
			h := followHand(b, s)
			m := plays(b, s, xclient.Paint)
			picture := large(b)
			parts := map[string][]part{}
			cases := []string{"alone", "out", "in"}
			// during watches until something is done, which it begins, and tells what that took.
			during := func(which int, done func() bool) {
				name := cases[which]
				if err := page.Do("window.stalled = 0"); err != nil {
					b.Fatal(err)
				}
				before, from := spent(b, streamer), time.Now()
				for over := false; !over; {
					m.watch(b, page, which, time.Second, func() {})
					if over = done(); !over && time.Since(from) > 5*time.Minute {
						b.Fatalf("%s did not end within 5 minutes", name)
					}
				}
				stalled, err := browser.Eval[float64](page, 10*time.Second, "window.stalled")
				if err != nil {
					b.Fatal(err)
				}
				parts[name] = append(parts[name], part{from, time.Now()})
				b.ReportMetric(time.Since(from).Seconds(), name+"-s")
				b.ReportMetric((spent(b, streamer) - before).Seconds(), name+"-cpu-s")
				b.ReportMetric(stalled, name+"-page-stalled-ms")
			}
			crossed := 0
			for b.Loop() {
				crossed++
				looks := 0
				during(0, func() bool { looks++; return looks == 5 })

				app.Copy(b, xorgtest.Honest, map[string][]byte{"image/png": picture, copiedHere: nil})
				during(1, func() bool { return s.health(b, 0).Clipboard.Out.PNG.N >= int64(crossed) })

				// Else it would come over the next one.
				if err := page.Until(time.Minute, fmt.Sprintf("window.copied >= %d", crossed)); err != nil {
					b.Fatal(err)
				}
				size, err := browser.Eval[int](page, time.Minute, "(async () => { dispatchEvent(new Event('blur')); const n = await desk(3100); setTimeout(() => dispatchEvent(new Event('focus'))); return n; })()")
				if err != nil {
					b.Fatal(err)
				}
				b.Logf("%d bytes went out, and at least about %d come in", len(picture), size)
				pasted := make(chan error, 1)
				go func() { pasted <- paste(b.Context(), app, size/2) }()
				during(2, func() bool {
					select {
					case err := <-pasted:
						if err != nil {
							b.Fatal(err)
						}
						return true
					default:
						return false
					}
				})
			}
			m.report(b, cases...)
			h.report(b, page, parts, cases...)
		})
	}
}
