package tile_test

import (
	"bytes"
	"image"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"easel/noded/stream/tile"
	"easel/noded/stream/tile/tiletest"
	"easel/pkg/codec"

	"github.com/pion/webrtc/v4"
)

// wide is what a way carries that bounds nothing, in kilobits a second.
const wide = 1_000_000

// counted counts the cells that are coded.
type counted struct {
	tile.Coder
	n int
}

func (c *counted) Code(b []byte, cell int) ([]byte, uint32) {
	c.n++
	return c.Coder.Code(b, cell)
}

// shared is a picture that several viewers have as tiles, in a time of its own.
type shared struct {
	t       *testing.T
	size    image.Point
	pix     []byte // BGRX
	picture *codec.Picture
	coder   *counted
	sheet   *tile.Sheet
	viewers []*sharer
	now     time.Time
	frame   uint32
}

// sharer is one of its viewers: it reads what comes, and confirms it at once.
type sharer struct {
	screen tiletest.Screen
	flow   *tile.Flow
	layer  *tile.Layer
	behind bool // changes do not get there as tiles
	now    *time.Time
	bytes  int
}

func (v *sharer) Send(b []byte) error {
	v.bytes += len(b)
	if err := v.screen.Read(b); err != nil {
		return err
	}
	return v.flow.Take(tile.Report{N: v.screen.N}, *v.now)
}

func (*sharer) ReadyState() webrtc.DataChannelState { return webrtc.DataChannelStateOpen }
func (*sharer) Close() error                        { return nil }

func newShared(t *testing.T) *shared {
	t.Helper()
	s := &shared{t: t, size: image.Pt(640, 480), now: time.Unix(1000, 0)}
	p, err := codec.NewPicture(s.size.X, s.size.Y)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	s.picture, s.pix, s.coder = p, make([]byte, s.size.X*s.size.Y*4), &counted{Coder: p.Tiles()}
	s.draw(image.Rectangle{Max: s.size}, 1)
	s.sheet = tile.NewSheet(s.coder, s.size.X)
	s.sheet.Share(true)
	return s
}

// draw fills a part of the picture with something new.
func (s *shared) draw(r image.Rectangle, seed uint64) {
	s.t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			b := s.pix[(y*s.size.X+x)*4:]
			b[0], b[1], b[2] = byte(x), byte(y+int(seed)), byte(random.Uint32()&7)
		}
	}
	if _, err := s.picture.Update(s.pix, s.size.X*4, []image.Rectangle{r}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shared) join() *sharer {
	s.t.Helper()
	v := &sharer{now: &s.now}
	v.flow = tile.NewFlow(func(int, time.Time) {})
	v.flow.Use(v)
	var err error
	if v.layer, err = tile.NewLayer(s.sheet, v.flow, s.size, s.frame, s.now, slog.New(slog.DiscardHandler)); err != nil {
		s.t.Fatal(err)
	}
	s.viewers = append(s.viewers, v)
	return v
}

// change draws something small, and brings it to all as tiles; who is behind gets a frame some time later.
func (s *shared) change(r image.Rectangle, seed uint64) {
	s.t.Helper()
	s.now = s.now.Add(10 * time.Millisecond)
	s.draw(r, seed)
	s.sheet.Look()
	for _, v := range s.viewers {
		v.layer.Look(s.now)
		if v.behind {
			continue
		}
		if _, n, err := v.layer.Change(tile.MaxMessage, &s.frame, s.now); err != nil || n == 0 {
			s.t.Fatalf("%d bytes of a change: %v", n, err)
		}
	}
}

// video shows all of the picture to who is behind.
func (s *shared) video() {
	s.t.Helper()
	for _, v := range s.viewers {
		if !v.behind {
			continue
		}
		stamp := func() uint32 { s.frame = v.flow.Stamp(s.frame+100, s.frame, true); return s.frame }
		if _, err := v.layer.Video(stamp, s.now); err != nil {
			s.t.Fatal(err)
		}
	}
}

// settle lets time pass until all is exact, and says whether it is.
func (s *shared) settle() {
	s.t.Helper()
	for range 400 {
		s.now = s.now.Add(10 * time.Millisecond)
		for _, v := range s.viewers {
			if v.layer.Ready(s.now) {
				if _, err := v.layer.Still(&s.frame, wide, s.now); err != nil {
					s.t.Fatal(err)
				}
			}
		}
	}
	want := make([]byte, len(s.pix))
	for i := 0; i < len(want); i += 4 {
		want[i], want[i+1], want[i+2], want[i+3] = s.pix[i+2], s.pix[i+1], s.pix[i], 255
	}
	for i, v := range s.viewers {
		if sure, all := v.layer.Exact(); sure != all {
			s.t.Errorf("viewer %d has confirmed %d of %d cells", i, sure, all)
		}
		if !bytes.Equal(v.screen.Exact(), want) {
			s.t.Errorf("viewer %d does not show the picture", i)
		}
	}
}

// coded is how many cells were coded by something.
func (s *shared) coded(by func()) int {
	before := s.coder.n
	by()
	return s.coder.n - before
}

// TestCellsAreCodedOnceForAll: however many viewers there are, and whenever they come.
func TestCellsAreCodedOnceForAll(t *testing.T) {
	s := newShared(t)
	cells := tile.Cells(s.size)
	for range 3 {
		s.join()
	}
	if n := s.coded(s.settle); n != cells {
		t.Errorf("%d cells were coded for three viewers of %d", n, cells)
	}
	// A stroke over two cells, of which the first one has 20 new pictures.
	n := s.coded(func() {
		for i := range 20 {
			s.change(image.Rect(10, 10, 20+i, 14), uint64(i))
		}
		s.change(image.Rect(60, 10, 70, 14), 30)
	})
	if n != 22 {
		t.Errorf("%d cells were coded for a stroke of 22", n)
	}
	s.settle()
	first := s.join()
	if n := s.coded(s.settle); n != 2 { // the others are kept as they were coded whole
		t.Errorf("%d cells were coded for who comes later, want the stroke's 2", n)
	}
	if n := s.coded(func() { s.join(); s.settle() }); n != 0 {
		t.Errorf("%d cells were coded for who comes after that", n)
	}
	if first.bytes > 2*s.viewers[1].bytes {
		t.Errorf("%d bytes went to who came later, %d to who was there from the beginning", first.bytes, s.viewers[1].bytes)
	}
}

// TestWhoFallsBehindIsExactInTheEnd: a viewer that misses changes has them whole, the others only what is new.
func TestWhoFallsBehindIsExactInTheEnd(t *testing.T) {
	s := newShared(t)
	quick, slow := s.join(), s.join()
	s.settle()
	quickly, slowly := quick.bytes, slow.bytes
	slow.behind = true
	for i := range 30 {
		s.change(image.Rect(10*i, 100, 10*i+24, 124), uint64(100+i))
		if i%7 == 6 {
			s.video()
		}
	}
	if slow.bytes-slowly > 4*(16+16) {
		t.Errorf("%d bytes of tiles went to who is behind", slow.bytes-slowly)
	}
	s.video()
	slow.behind = false
	s.settle()
	for i := range 5 { // and goes on as the others do
		s.change(image.Rect(300, 300+i, 310, 310), uint64(200+i))
	}
	s.settle()
	if quick.bytes == quickly {
		t.Error("the other viewer was sent nothing")
	}
}

// TestTilesOfOneViewerAreReadWrong: it has them all anew, and the others nothing.
func TestTilesOfOneViewerAreReadWrong(t *testing.T) {
	s := newShared(t)
	good, bad := s.join(), s.join()
	s.settle()
	before := good.bytes
	bad.screen.Spoil()
	if err := bad.flow.Take(tile.Report{N: bad.screen.N, Bad: 3}, s.now); err != nil {
		t.Fatal(err)
	}
	if at := good.layer.RescueAt(s.now); !at.IsZero() {
		t.Errorf("who reads all right is to be rescued at %v", at)
	}
	if at := bad.layer.RescueAt(s.now); !at.Equal(s.now) {
		t.Errorf("who read some wrong is to be rescued at %v, want at once", at)
	}
	bad.behind = true
	s.video()
	s.settle()
	if good.bytes != before {
		t.Errorf("%d bytes went to who read all right", good.bytes-before)
	}
}

// TestStillCellsComeInPieces that a narrow way carries in a moment, so that a change does not wait for long behind one.
func TestStillCellsComeInPieces(t *testing.T) {
	const largestTile = 3*tile.CellWidth*tile.CellHeight + 100
	for _, kbps := range []int{200, 2000, 10_000, wide} {
		s := newShared(t)
		v := s.join()
		s.now = s.now.Add(time.Second)
		n, err := v.layer.Still(&s.frame, kbps, s.now)
		if err != nil {
			t.Fatal(err)
		}
		most := int(tile.StillTime.Seconds()*float64(kbps)*1000/8) + largestTile
		if n < 2<<10 || n > max(most, 2<<10+largestTile) || n > 24<<10+largestTile {
			t.Errorf("%d bytes go at once by %d kbps, want up to %d", n, kbps, most)
		}
		s.settle()
	}
}
