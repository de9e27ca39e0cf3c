package stream

import (
	"fmt"
	"image"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"easel/noded/stream/contract"
	"easel/noded/stream/tile"

	"github.com/pion/webrtc/v4"
)

// tileCodec counts the tiles that are coded.
type tileCodec struct {
	Codec
	coded *atomic.Int64
}

type tileEncoder struct {
	Encoder
	coder *tileCoder
}

type tileCoder struct {
	tile.Coder
	coded *atomic.Int64
}

func (c tileCodec) Open(size image.Point, what Coding, q Quality, from Encoder) (Encoder, error) {
	if counted, ok := from.(tileEncoder); ok {
		from = counted.Encoder
	}
	e, err := c.Codec.Open(size, what, q, from)
	if err != nil {
		return nil, err
	}
	return tileEncoder{e, &tileCoder{e.Tiles(), c.coded}}, nil
}

func (e tileEncoder) Tiles() tile.Coder { return e.coder }

func (c *tileCoder) Code(b []byte, cell int) ([]byte, uint32) {
	c.coded.Add(1)
	return c.Coder.Code(b, cell)
}

func (v *tileViewer) received() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bytes
}

// TestGuestsHaveExactTilesThatAreCodedOnce: also who comes to a still picture, and without costing the owner anything.
func TestGuestsHaveExactTilesThatAreCodedOnce(t *testing.T) {
	var coded atomic.Int64
	s := startSession(t, tileCodec{testCodec{}, &coded})
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	a.put(t, a.screen(), image.Rect(0, 0, 1280, 600), noise(1280, 600, 1))
	owner.awaitPicture(t, a, "an exact picture")
	cells := int64(tile.Cells(image.Pt(1280, 720)))
	all := []*tileViewer{owner}
	for i := range 3 {
		before := coded.Load()
		v := connectTilesAs(t, s, guest(i, contract.RoleView), false)
		pictured(t, s, v.viewer)
		v.awaitPicture(t, a, fmt.Sprintf("guest %d's exact picture", i))
		// The first one has each cell coded whole. A screen of noise is nearly all that is kept for the others.
		if most := cells + cells/4; coded.Load()-before > most {
			t.Errorf("%d cells were coded for guest %d, of %d", coded.Load()-before, i, cells)
		}
		all = append(all, v)
	}
	before := coded.Load()
	from := numbersOf(t, s)
	i := 0
	s.await(t, "strokes that go as tiles", func() bool {
		i++
		a.fill(t, image.Rect(100+i%500, 100, 124+i%500, 124), uint32(i*77777))
		return numbersOf(t, s).ByTiles >= from.ByTiles+20
	})
	for j, v := range all {
		v.awaitPicture(t, a, fmt.Sprintf("viewer %d's exact picture after the strokes", j))
	}
	// A stroke of 24 pixels lies on 4 cells at most, each of which may be sharpened by a still tile as well.
	if most := int64(i * 4 * 2); coded.Load()-before > most+cells/4 {
		t.Errorf("%d cells were coded for %d strokes, want %d at most for four viewers", coded.Load()-before, i, most)
	}
}

// TestGuestsKeepTheirTilesWhenTheOwnerLeaves and comes back: the guest leads meanwhile, and begins nothing anew.
func TestGuestsKeepTheirTilesWhenTheOwnerLeaves(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	a.put(t, a.screen(), image.Rect(0, 0, 1280, 240), noise(1280, 240, 1)) // more takes three viewers a minute on a machine that is busy
	one, two := connectTilesAs(t, s, guest(1, contract.RoleView), false), connectTilesAs(t, s, guest(2, contract.RoleView), false)
	for _, v := range []*tileViewer{one, two} {
		pictured(t, s, v.viewer)
		v.awaitPicture(t, a, "a guest's exact picture")
	}
	had := one.received()
	if code, _, _ := s.send(t, http.MethodDelete, "/"+owner.location, nil, ""); code != http.StatusNoContent {
		t.Fatalf("the owner could not leave: %d", code)
	}
	s.await(t, "the owner to be gone", func() bool { return s.health(t, 0).Viewers == 2 })
	stroke := func(i int) {
		t.Helper()
		a.fill(t, image.Rect(100+i*30, 100, 124+i*30, 124), uint32(i*77777))
		for _, v := range []*tileViewer{one, two} {
			v.awaitPicture(t, a, "a guest's exact picture of a stroke")
		}
	}
	for i := range 5 {
		stroke(i)
	}
	back := connectTiles(t, s, false)
	pictured(t, s, back.viewer)
	back.awaitPicture(t, a, "the owner's exact picture")
	for i := range 5 {
		stroke(5 + i)
	}
	if more := one.received() - had; more > had/2 {
		t.Errorf("a guest was sent %d bytes of tiles for ten strokes, and %d for the whole picture", more, had)
	}
}

// TestGuestThatReadsNoTilesCostsTheOwnerNothing: it is sent little, and the owner's changes go as tiles as before.
func TestGuestThatReadsNoTilesCostsTheOwnerNothing(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	v := connectTilesAs(t, s, guest(1, contract.RoleView), true)
	pictured(t, s, v.viewer)
	a.put(t, a.screen(), image.Rect(0, 0, 1280, 600), noise(1280, 600, 1))
	owner.awaitPicture(t, a, "the owner's exact picture")
	from, frames := numbersOf(t, s), func() int { n, _ := v.count(); return n }()
	i := 0
	s.await(t, "strokes that go as tiles", func() bool {
		i++
		a.fill(t, image.Rect(100+i%500, 100, 124+i%500, 124), uint32(i*77777))
		return numbersOf(t, s).ByTiles >= from.ByTiles+100
	})
	owner.awaitPicture(t, a, "the owner's exact picture")
	s.await(t, "the guest's picture by video", func() bool { n, _ := v.count(); return n > frames })
	if most := 48<<10 + 2*tile.MaxMessage; v.received() > most {
		t.Errorf("%d bytes of tiles went to a guest that confirmed none, at most %d may", v.received(), most)
	}
}

// TestGuestThatMisreadsEndlesslyIsShownTheVideo: it cannot have the whole screen coded and shown anew for ever.
func TestGuestThatMisreadsEndlesslyIsShownTheVideo(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connectTiles(t, s, false)
	pictured(t, s, owner.viewer)
	owner.awaitPicture(t, a, "the owner's exact picture")
	v := connectTilesAs(t, s, guest(1, contract.RoleView), false)
	pictured(t, s, v.viewer)
	v.awaitPicture(t, a, "the guest's exact picture")
	s.await(t, "the guest's channel to be closed", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.channel.ReadyState() != webrtc.DataChannelStateOpen {
			return true
		}
		v.bad++
		_ = v.channel.Send(v.report()) // it may close meanwhile
		return false
	})
	s.await(t, "the node to be told", func() bool {
		h := s.health(t, 0)
		return h.TilesLost == 1 && slices.Contains(h.Degraded, noGuestTiles) && !slices.Contains(h.Degraded, noTiles)
	})
	settle(t, v.viewer)
	frames, _ := v.count()
	a.fill(t, image.Rect(100, 100, 130, 130), 0xff8800)
	s.await(t, "the guest's picture by video", func() bool { n, _ := v.count(); return n > frames })
	owner.awaitPicture(t, a, "the owner's exact picture")
	_ = v.pc.Close()
	s.await(t, "the guest to be gone", func() bool {
		h := s.health(t, 0)
		return h.TilesLost == 0 && !slices.Contains(h.Degraded, noGuestTiles)
	})
}
