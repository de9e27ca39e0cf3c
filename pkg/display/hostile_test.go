package display

import (
	"context"
	"encoding/binary"
	"errors"
	"image"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// script is an X server that answers the set-up honestly and then says what a test wants.
func script(t *testing.T, after func(c net.Conn)) (*Display, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	go func() {
		head := make([]byte, 12+20+16)
		if _, err := io.ReadFull(theirs, head); err != nil {
			return
		}
		after(theirs)
	}()
	return Open(context.Background(), Config{
		Dial: func(context.Context) (net.Conn, error) { return ours, nil }, Cookie: make([]byte, 16), Log: slog.New(slog.DiscardHandler),
	})
}

// setupReply is a server's accepting set-up of n words, all zero but for what must be there.
func setupReply(n int) []byte {
	b := make([]byte, 8+4*n)
	b[0] = 1
	binary.LittleEndian.PutUint16(b[2:], 11)
	binary.LittleEndian.PutUint16(b[6:], uint16(n))
	if len(b) >= 20 {
		binary.LittleEndian.PutUint32(b[16:], 0x1fffff)
	}
	return b
}

func TestHostileServerIsAnErrorNotACrash(t *testing.T) {
	for name, c := range map[string]struct {
		say  func(c net.Conn)
		want string
	}{
		"a set-up without resource IDs": {func(c net.Conn) { _, _ = c.Write(setupReply(1)) }, "broke the protocol"},
		"a set-up without a screen":     {func(c net.Conn) { _, _ = c.Write(setupReply(8)) }, "broke the protocol"},
		"a refusal longer than itself":  {func(c net.Conn) { _, _ = c.Write([]byte{0, 200, 11, 0, 0, 0, 1, 0, 1, 2, 3, 4}) }, "broke the protocol"},
		"a set-up that ends":            {func(c net.Conn) { _, _ = c.Write(setupReply(100)[:50]); _ = c.Close() }, "EOF"},
		"counts beyond the end": {func(c net.Conn) {
			b := setupReply(10)
			b[28], b[29] = 255, 255 // screens, formats
			_, _ = c.Write(b)
		}, "broke the protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := script(t, c.say)
			if err == nil {
				d.Close()
				t.Fatal("the display opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestGuardRefusesAHugeReplyBeforeTakingMemory(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	g := newGuard(ours, nil)
	g.setup = true
	go func() {
		head := make([]byte, 32)
		head[0] = typeReply
		binary.LittleEndian.PutUint32(head[4:], 0xffffffff)
		_, _ = theirs.Write(head)
	}()
	if _, err := g.Read(make([]byte, 32)); !errors.Is(err, errHostile) {
		t.Fatalf("got %v, want errHostile", err)
	}
}

func TestGuardDropsEventsThatNobodyAskedFor(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	g := newGuard(ours, nil)
	g.setup = true
	go func() {
		generic := make([]byte, 32+8)
		generic[0] = typeGenericEvent
		binary.LittleEndian.PutUint32(generic[4:], 2)
		early := make([]byte, 32)
		early[0] = 12
		reply := make([]byte, 32)
		reply[0], reply[1] = typeReply, 77
		for _, b := range [][]byte{generic, early, reply} {
			_, _ = theirs.Write(b)
		}
	}()
	b := make([]byte, 32)
	if _, err := io.ReadFull(g, b); err != nil || b[0] != typeReply || b[1] != 77 {
		t.Fatalf("read % x, %v: want the reply", b[:2], err)
	}
}

func TestRegionStaysBoundedUnderAFlood(t *testing.T) {
	r := NewRegion()
	var all image.Rectangle
	for i := range 100_000 {
		x, y := i*7919%1900, i*104729%1060
		a := image.Rect(x, y, x+9, y+9)
		all = all.Union(a)
		r.Add(a)
	}
	if n := r.Area(); n < all.Dx()*all.Dy()*9/10 { // the flood left little out
		t.Errorf("the region counts %d pixels in %v", n, all)
	}
	rects, _ := r.Take(nil)
	if n := r.Area(); n != 0 {
		t.Errorf("%d pixels are left after all were taken", n)
	}
	if len(rects) > maxRects {
		t.Fatalf("%d rectangles, want at most %d", len(rects), maxRects)
	}
	var got image.Rectangle
	for _, a := range rects {
		got = got.Union(a)
	}
	if got != all {
		t.Fatalf("the region covers %v, want %v", got, all)
	}
	if rects, _ = r.Take(rects); len(rects) != 0 {
		t.Fatalf("taken twice: %v", rects)
	}
}

func TestMergeLosesNothing(t *testing.T) {
	var rects []image.Rectangle
	in := []image.Rectangle{image.Rect(0, 0, 10, 10), image.Rect(10, 0, 20, 10), image.Rect(5, 5, 6, 6), image.Rect(500, 500, 510, 510), image.Rect(-5, -5, 600, 600)}
	for _, a := range in {
		rects = merge(rects, a)
		covered := false
		for _, r := range rects {
			covered = covered || a.In(r)
		}
		if !covered {
			t.Fatalf("%v is not within %v", a, rects)
		}
	}
}

func TestBandsAreFewAndCoverAll(t *testing.T) {
	var rects []image.Rectangle
	for i := range 30 {
		rects = append(rects, image.Rect(0, i*30, 10, i*30+5))
	}
	rects = append(rects, image.Rect(0, -50, 10, 2), image.Rect(0, 5000, 10, 6000))
	bands := bandsOf(nil, rects, 1080)
	if len(bands) > maxBands {
		t.Fatalf("%d bands", len(bands))
	}
	for _, r := range rects[:30] {
		ok := false
		for _, b := range bands {
			ok = ok || (b.y0 <= r.Min.Y && b.y1 >= r.Max.Y)
		}
		if !ok {
			t.Fatalf("%v is in none of %v", r, bands)
		}
	}
	pieces := cut(slices.Clone(bands))
	for i, b := range pieces {
		if b.y0 < 0 || b.y1 > 1080 || b.y0 >= b.y1 || b.y1-b.y0 > bandRows || b.y0%bandAlign != 0 || (i > 0 && b.y0 < pieces[i-1].y1) {
			t.Fatalf("pieces %v", pieces)
		}
	}
}

func TestSilentServerIsUnresponsive(t *testing.T) {
	d := &Display{connection: connection{done: make(chan struct{})}}
	release := make(chan struct{})
	defer close(release)
	start := time.Now()
	err := d.call("ask", func() error { <-release; return nil })
	if !errors.Is(err, ErrUnresponsive) || time.Since(start) > 2*replyTimeout {
		t.Fatalf("got %v after %v", err, time.Since(start))
	}
	if err := d.call("ask again", func() error { return nil }); !errors.Is(err, ErrUnresponsive) {
		t.Fatalf("the second call went through: %v", err)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(2, 2, 0, 0, []byte{1, 2, 3, 4})
	f.Add(65535, 65535, 9, 9, []byte{})
	f.Fuzz(func(t *testing.T, w, h, hx, hy int, raw []byte) {
		words := make([]uint32, len(raw)/4)
		for i := range words {
			words[i] = binary.LittleEndian.Uint32(raw[i*4:])
		}
		c, err := cursorOf(w, h, max(hx, 0), max(hy, 0), words)
		if err == nil && (c.HotX >= c.Width || c.HotY >= c.Height || len(c.PNG) == 0) {
			t.Fatalf("cursor %+v", c)
		}
	})
}

func FuzzGuard(f *testing.F) {
	f.Add(setupReply(8))
	f.Add(append(setupReply(8), make([]byte, 64)...))
	f.Add([]byte{0, 200, 11, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() { _, _ = theirs.Write(said); _ = theirs.Close() }()
		g := newGuard(ours, nil)
		n, _ := io.Copy(io.Discard, g)
		if n > int64(len(said)) {
			t.Fatalf("%d bytes became %d", len(said), n)
		}
	})
}
