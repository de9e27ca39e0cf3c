package stream

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browserFormats are all formats, as Chromium names them, with what the stats must say, and how far any colour may be off after all that lies between
// the X server's pixels and the browser's: conversion, a lossy encoder at its finest, and the browser's way back.
var browserFormats = []struct {
	format                 Format
	mime, fmtp             string
	codec, profile, chroma string
	worst                  int
}{
	{H264, "video/h264", "packetization-mode=1;profile-level-id=42e01f", "H264", "constrained-baseline", "4:2:0", 4},
	{H264444, "video/h264", "profile-level-id=f4001f", "H264", "high-4:4:4-predictive", "4:4:4", 4},
	{VP9, "video/vp9", "profile-id=0", "VP9", "profile 0", "4:2:0", 4},
	{VP9444, "video/vp9", "profile-id=1", "VP9", "profile 1", "4:4:4", 4},
	{AV1, "video/av1", "profile=0", "AV1", "main", "4:2:0", 8},
	{AV1444, "video/av1", "profile=1", "AV1", "high", "4:4:4", 8},
}

const patch = 40 // pixels a side

// chartColours are a cube of eight levels a channel, a ramp of greys, and what painters use.
func chartColours() []uint32 {
	level := func(i int) uint32 { return uint32(i*255+3) / 7 }
	var out []uint32
	for i := range 512 {
		out = append(out, level(i>>6)<<16|level(i>>3&7)<<8|level(i&7))
	}
	for i := range 32 {
		out = append(out, uint32(i*255/31)*0x010101)
	}
	return append(out, 0xc04020, 0x20c040, 0x4020c0, 0x7f3f1f, 0xeebb99, 0x336699, 0x010203, 0xfefdfc, 0x800000, 0x008000, 0x000080)
}

func patchAt(i, width int) image.Point {
	return image.Pt(i%(width/patch)*patch, i/(width/patch)*patch)
}

// shownErrors are how far each patch of the chart is off at its middle, in its worst channel.
func shownErrors(rgba []byte, width int) []int {
	var out []int
	for i, c := range chartColours() {
		p := patchAt(i, width).Add(image.Pt(patch/2, patch/2))
		worst := 0
		for ch, shift := range []int{16, 8, 0} {
			d := int(rgba[(p.Y*width+p.X)*4+ch]) - int(c>>shift&255)
			worst = max(worst, d, -d)
		}
		out = append(out, worst)
	}
	return out
}

// What the X server shows is what Chromium's video shows, in every format: range, matrix and transfer are those that the stream tells of.
func TestChromiumShowsTheRightColours(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := startChromium(t)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 720)); err != nil {
		t.Fatal(err)
	}
	address := servePage(t, s)
	const width, height = 1280, 720
	for _, f := range browserFormats {
		t.Run(string(f.format), func(t *testing.T) {
			a.fill(t, image.Rect(0, 0, width, height), 0)
			open(t, ctx, address+"/?"+string(f.format)+"#"+url.PathEscape(f.mime+" "+f.fmtp))
			for i, c := range chartColours() {
				at := patchAt(i, width)
				a.fill(t, image.Rectangle{at, at.Add(image.Pt(patch, patch))}, c)
			}
			if st := numbersOf(t, s); st.Codec != f.codec || st.Profile != f.profile || st.Chroma != f.chroma {
				t.Errorf("the stats say %s, %s, %s", st.Codec, st.Profile, st.Chroma)
			}
			var errs []int
			worst := 256
			for end := time.Now().Add(30 * time.Second); worst > f.worst && time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // it sharpens
				errs, worst = shownErrors(videoPixels(t, ctx, width, height), width), 0
				for _, e := range errs {
					worst = max(worst, e)
				}
			}
			var counts [8]int
			for i, e := range errs {
				counts[min(e, len(counts)-1)]++
				if e > f.worst {
					t.Errorf("#%06x is off by %d, may be by %d", chartColours()[i], e, f.worst)
				}
			}
			if worst > f.worst {
				t.Logf("the stream: %+v; the browser: %s", numbersOf(t, s), received(t, ctx))
			}
			// What the artist sees goes another way than what a script reads.
			seen := 256
			for end := time.Now().Add(20 * time.Second); seen > f.worst && time.Now().Before(end); {
				seen = slices.Max(shownErrors(screenshot(t, ctx, width, height), width))
			}
			if seen > f.worst {
				t.Errorf("a screenshot of the page is off by %d, may be by %d", seen, f.worst)
			}
			t.Logf("%s: off by at most %d, in a screenshot by %d; patches that are off by 0, 1, 2, …: %v", f.format, worst, seen, counts)
		})
	}
}

// Exact tiles are exact on the same chart, whatever video lies below them: every patch's middle, and the whole canvas, are the X server's bits, and what
// the artist sees of them is too.
func TestExactTilesHaveTheChartBitForBit(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	const width, height = 1280, 720
	for _, f := range []Format{H264, VP9444} {
		t.Run(string(f), func(t *testing.T) {
			ctx := watch(t, s, "size=1280x720&codec="+string(f))
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, height)); err != nil {
				t.Fatal(err)
			}
			s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1280") })
			a.fill(t, image.Rect(0, 0, width, height), 0x7f7f7f)
			for i, c := range chartColours() {
				at := patchAt(i, width)
				a.fill(t, image.Rectangle{at, at.Add(image.Pt(patch, patch))}, c)
			}
			showsExactly(t, ctx, a, image.Pt(width, height))
			rgba, err := base64.StdEncoding.DecodeString(evaluate[string](t, ctx, fmt.Sprintf("probe.grab(0, 0, %d, %d)", width, height)))
			if err != nil || len(rgba) != width*height*4 {
				t.Fatalf("the page gave %d bytes: %v", len(rgba), err)
			}
			for i, e := range shownErrors(rgba, width) {
				if e != 0 {
					t.Errorf("#%06x is off by %d", chartColours()[i], e)
				}
			}
			if worst := slices.Max(shownErrors(screenshot(t, ctx, width, height), width)); worst != 0 {
				t.Errorf("a screenshot of the page is off by %d", worst)
			}
		})
	}
}

// The viewer offers the codec of its address alone, each of the six, and its figures say what it got; one that there is not is said to the artist, and left to the node.
func TestAddressNamesTheCodec(t *testing.T) {
	s := startSession(t)
	newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=640x360&codec=theora")
	shows := func(asked, codec, profile, chroma, said string) {
		t.Helper()
		js := fmt.Sprintf("(({codec, profile, chroma}) => [codec, profile, chroma].join() === %q && document.body.textContent.includes(%q))(window.easel?.stats() ?? {})",
			strings.Join([]string{codec, profile, chroma}, ","), said)
		s.await(t, "what "+asked+" leads to", func() bool {
			st := numbersOf(t, s)
			return evaluate[bool](t, ctx, js) && st.Codec == codec && st.Profile == profile && st.Chroma == chroma
		})
	}
	shows("theora", "H264", "constrained-baseline", "4:2:0", "codec=theora: it can be auto, h264, h264-444")
	page := evaluate[string](t, ctx, "location.origin + location.pathname")
	for _, f := range browserFormats {
		if err := chromedp.Do(ctx, chromedp.Navigate(page+"?scale=1&size=640x360&codec="+string(f.format))); err != nil {
			t.Fatal(err)
		}
		shows(string(f.format), f.codec, f.profile, f.chroma, "")
	}
}

// received is what Chromium says of the video that has come to the page.
func received(t *testing.T, ctx context.Context) string {
	t.Helper()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(async () => JSON.stringify([...(await pc.getStats()).values()].filter((s) => s.type === 'inbound-rtp')))()`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func videoPixels(t *testing.T, ctx context.Context, width, height int) []byte {
	t.Helper()
	js := fmt.Sprintf("grab(%d, %d)", width, height)
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != width*height*4 {
		t.Fatalf("the page gave %d bytes: %v", len(b), err)
	}
	return b
}

// screenshot is what the page looks like, as RGBA.
func screenshot(t *testing.T, ctx context.Context, width, height int) []byte {
	t.Helper()
	b, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	shot, err := png.Decode(bytes.NewReader(b))
	if err != nil || shot.Bounds().Dx() < width || shot.Bounds().Dy() < height {
		t.Fatalf("a screenshot of %d bytes: %v", len(b), err)
	}
	out := image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.Draw(out, out.Rect, shot, image.Point{}, draw.Src)
	return out.Pix
}
