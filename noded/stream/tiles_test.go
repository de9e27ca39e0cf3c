package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"log/slog"
	"sync"
	"testing"
	"time"

	"easel/pkg/codec/tiletest"

	"github.com/pion/webrtc/v4"
)

// tileViewer reads the tiles channel as the browser does, but for the canvas.
type tileViewer struct {
	*viewer
	channel *webrtc.DataChannel

	mu     sync.Mutex
	size   image.Point
	pix    [][]uint32 // of each cell, nil where the video shows it
	n      uint32
	bytes  int
	err    error
	silent bool // confirms nothing
}

func connectTiles(t testing.TB, s *session, silent bool) *tileViewer {
	t.Helper()
	v := &tileViewer{silent: silent}
	v.viewer = connectWith(t, s, func(pc *webrtc.PeerConnection) {
		var err error
		if v.channel, err = pc.CreateDataChannel("tiles", nil); err != nil {
			t.Fatal(err)
		}
		v.channel.OnMessage(func(m webrtc.DataChannelMessage) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.bytes += len(m.Data)
			if v.silent || v.err != nil {
				return
			}
			if v.err = v.read(m.Data); v.err == nil {
				v.err = v.channel.Send(reportOf(tileReport{N: v.n, Tile: 20, Cell: 50, Video: 40}))
			}
		})
	})
	return v
}

func reportOf(r tileReport) []byte {
	b := []byte{tilesAck, 0}
	b = binary.LittleEndian.AppendUint16(b, r.Cell)
	for _, v := range []uint32{r.N, r.Shown, r.Bad} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint16(b, r.Video)
	return binary.LittleEndian.AppendUint16(b, r.Tile)
}

func (v *tileViewer) cell(i int) image.Rectangle {
	wide := (v.size.X + tiletest.CellWidth - 1) / tiletest.CellWidth
	at := image.Pt(i%wide*tiletest.CellWidth, i/wide*tiletest.CellHeight)
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(tiletest.CellWidth, tiletest.CellHeight))}.Intersect(image.Rectangle{Max: v.size})
}

// read takes one message in.
func (v *tileViewer) read(b []byte) error {
	if n := le32(b, 4); n != v.n+1 {
		return fmt.Errorf("message %d comes after %d", n, v.n)
	}
	v.n++
	count, body := int(le16(b, 2)), b[tileHeader:]
	switch b[0] {
	case sizeMessage:
		v.size = image.Pt(int(le16(body, 0)), int(le16(body, 2)))
		cells := (v.size.X + 63) / 64 * ((v.size.Y + 15) / 16)
		v.pix = make([][]uint32, cells)
		for i := range v.pix {
			v.pix[i] = make([]uint32, 0, 64*16)
		}
	case tilesMessage:
		if count > maxTileCells {
			return fmt.Errorf("%d cells in one message, at most %d may be", count, maxTileCells)
		}
		for range count {
			cell, length, hash := int(le16(body, 0)), int(le16(body, 2)), le32(body, 4)
			r := v.cell(cell)
			v.pix[cell] = v.pix[cell][:r.Dx()*r.Dy()]
			if err := tiletest.Decode(body[tileRecord:tileRecord+length], r.Dx(), r.Dy(), v.pix[cell]); err != nil {
				return fmt.Errorf("cell %d: %w", cell, err)
			}
			if tiletest.Hash(cell, v.pix[cell]) != hash {
				return fmt.Errorf("cell %d has another hash", cell)
			}
			body = body[tileRecord+length:]
		}
	case videoMessage:
		for i := range count {
			first, length := int(le16(body, 4*i)), int(le16(body, 4*i+2))
			for c := first; c < first+length; c++ {
				v.pix[c] = v.pix[c][:0]
			}
		}
	default:
		return fmt.Errorf("message of kind %d", b[0])
	}
	return nil
}

// exact is the viewer's picture as RGBA once it has all cells exactly.
func (v *tileViewer) exact() ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil || len(v.pix) == 0 {
		return nil, v.err
	}
	out := make([]byte, v.size.X*v.size.Y*4)
	for i, pix := range v.pix {
		r := v.cell(i)
		if len(pix) == 0 {
			return nil, nil
		}
		for j, p := range pix {
			at := ((r.Min.Y+j/r.Dx())*v.size.X + r.Min.X + j%r.Dx()) * 4
			out[at], out[at+1], out[at+2], out[at+3] = byte(p), byte(p>>8), byte(p>>16), 255
		}
	}
	return out, nil
}

func (v *tileViewer) awaitPicture(t *testing.T, a *artist, what string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got, err := v.exact()
		if err != nil {
			t.Fatal(err)
		}
		if got != nil && bytes.Equal(got, a.grab(t, image.Rectangle{Max: v.size})) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func TestTilesMakeAStillPictureExact(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	v := connectTiles(t, s, false)
	v.say(t, `{"t":"seen","rtp":1}`)
	v.awaitPicture(t, a, "an exact picture")
	a.fill(t, image.Rect(100, 100, 130, 130), 0xff8800)
	v.awaitPicture(t, a, "a stroke")
	a.put(t, a.screen(), image.Rect(0, 0, 1280, 600), noise(1280, 600, 1))
	v.awaitPicture(t, a, "a wholly new picture")
	v.say(t, `{"t":"resize","w":1000,"h":702}`)
	s.await(t, "the new size", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.size == image.Pt(1000, 702)
	})
	v.awaitPicture(t, a, "an exact picture of another size")
	var st Stats
	s.await(t, "every tile confirmed", func() bool {
		s.get(t, "/stats", &st)
		return st.Tiles == 16*44 && st.Exact == st.Tiles
	})
	if st.ByTiles == 0 {
		t.Error("the stroke went by video")
	}
}

// TestSecondViewerBecomesExactToo: who comes later has nothing of what the first one had.
func TestSecondViewerBecomesExactToo(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	for range 2 {
		v := connectTiles(t, s, false)
		v.say(t, `{"t":"seen","rtp":1}`)
		v.awaitPicture(t, a, "an exact picture")
		a.fill(t, image.Rect(300, 300, 340, 340), 0x12ab34)
		v.awaitPicture(t, a, "a stroke")
	}
}

// TestViewerThatConfirmsNothingIsSentLittle: it gets the picture by video, and the streamer does not grow.
func TestViewerThatConfirmsNothingIsSentLittle(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	v := connectTiles(t, s, true)
	v.say(t, `{"t":"seen","rtp":1}`)
	s.await(t, "the first tiles", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.bytes > 0
	})
	a.put(t, a.screen(), image.Rect(0, 0, 1280, 600), noise(1280, 600, 1))
	frames, _ := v.count()
	for i := range 150 { // each a change that would go by tiles
		a.fill(t, image.Rect(i*8, 100, i*8+20, 120), uint32(i*77777))
		time.Sleep(10 * time.Millisecond)
	}
	s.await(t, "the changes by video", func() bool { n, _ := v.count(); return n > frames+20 })
	v.mu.Lock()
	defer v.mu.Unlock()
	if most := startTileWindow + changeShare + 2*maxTileMessage; v.bytes > most {
		t.Fatalf("%d bytes of tiles went to a viewer that confirmed none, at most %d may", v.bytes, most)
	}
}

// TestViewerThatLiesAboutTilesHarmsNobody: what it confirms wrongly is refused and counted, and the stream goes on.
func TestViewerThatLiesAboutTilesHarmsNobody(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	v := connectTiles(t, s, false)
	v.say(t, `{"t":"seen","rtp":1}`)
	v.awaitPicture(t, a, "an exact picture")
	for _, b := range [][]byte{
		{}, {tilesAck}, reportOf(tileReport{N: 1 << 30}), reportOf(tileReport{N: 0}), append(reportOf(tileReport{N: v.n}), 0), {99, 1, 2, 3}, bytes.Repeat([]byte{255}, tileAckBytes),
	} {
		if len(b) > 0 { // an empty message is none on some stacks
			if err := v.channel.Send(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.await(t, "the lies counted", func() bool { return numbersOf(t, s).Bad >= 6 })
	a.fill(t, image.Rect(100, 100, 130, 130), 0xff8800)
	v.awaitPicture(t, a, "a stroke after them")
}

// TestTilesThatAreReadWrongAreSentAgain: the viewer says only that there was one.
func TestTilesThatAreReadWrongAreSentAgain(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	v := connectTiles(t, s, false)
	v.say(t, `{"t":"seen","rtp":1}`)
	v.awaitPicture(t, a, "an exact picture")
	v.mu.Lock()
	for i := range v.pix { // as if all had been read wrong: what is coded against them would be too
		clear(v.pix[i])
	}
	err := v.channel.Send(reportOf(tileReport{N: v.n, Bad: 1}))
	v.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	v.awaitPicture(t, a, "an exact picture again")
}

func TestFlowCountsWhatIsOnItsWay(t *testing.T) {
	f, now := newTileFlow(newOutgoing(slog.New(slog.DiscardHandler))), time.Unix(1000, 0)
	send := func(bytes int, gen uint32) {
		f.n++
		f.gen = gen
		f.waiting[f.n%maxTileMessages] = tileOnWay{now, bytes, gen, true}
		f.bytes += bytes
	}
	for i := range 10 {
		send(1000, uint32(i+1))
	}
	if got := f.room(false); got != startTileWindow-10_000 {
		t.Fatalf("%d bytes of room, want %d", got, startTileWindow-10_000)
	}
	now = now.Add(5 * time.Millisecond)
	if err := f.take(tileReport{N: 4}, now); err != nil {
		t.Fatal(err)
	}
	if f.bytes != 6000 || f.ackedGen != 4 {
		t.Fatalf("%d bytes on their way in generations after %d, want 6000 after 4", f.bytes, f.ackedGen)
	}
	for _, n := range []uint32{3, 11, 4 + maxTileMessages, 1 << 31} {
		if err := f.take(tileReport{N: n}, now); err == nil {
			t.Fatalf("a confirmation of message %d was taken", n)
		}
	}
	if at := f.overdue(now.Add(-time.Second)); !at.Equal(now.Add(tileRescue - 5*time.Millisecond)) {
		t.Fatalf("the first change is overdue at %v", at)
	}
	if at := f.overdue(now); !at.IsZero() {
		t.Fatalf("a change that the video has shown since is overdue at %v", at)
	}
	for i := range maxTileGens {
		send(1, uint32(11+i))
	}
	if f.room(true) != 0 {
		t.Fatal("there is room for a generation too many")
	}
	if err := f.take(tileReport{N: f.n}, now); err != nil || f.bytes != 0 {
		t.Fatalf("%d bytes on their way when all is confirmed: %v", f.bytes, err)
	}
}

func TestFlowShrinksWithAQueueAndGrowsWithout(t *testing.T) {
	f, now := newTileFlow(newOutgoing(slog.New(slog.DiscardHandler))), time.Unix(1000, 0)
	turn := func(took time.Duration) {
		for f.bytes < int(f.window) {
			f.n++
			f.waiting[f.n%maxTileMessages] = tileOnWay{at: now, bytes: 4000}
			f.bytes += 4000
		}
		now = now.Add(took)
		if err := f.take(tileReport{N: f.acked + 1}, now); err != nil {
			t.Fatal(err)
		}
		if err := f.take(tileReport{N: f.n}, now); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		turn(5 * time.Millisecond)
	}
	grown := f.window
	if grown < 2*startTileWindow {
		t.Fatalf("the window is %.0f after 20 quick turns", grown)
	}
	for range 20 {
		turn(200 * time.Millisecond)
	}
	if f.window > grown/4 {
		t.Fatalf("the window is %.0f after 20 slow turns, was %.0f", f.window, grown)
	}
}

func TestCostsChooseByWhatWasMeasured(t *testing.T) {
	var c costs
	const kbps = 20000
	if room := c.room(10, kbps, guessTile, guessCell, c.video(10, kbps, guessVideo)); room < 2000 {
		t.Fatalf("a brush of 10 cells may take %d bytes as tiles", room)
	}
	for range 50 {
		c.encoded(10, 500*time.Microsecond, 100)
	}
	if room := c.room(10, kbps, 30*time.Millisecond, guessCell, c.video(10, kbps, time.Millisecond)); room > 0 {
		t.Fatalf("a viewer that is slow with tiles is sent %d bytes of them", room)
	}
	fast, slow := c.room(10, 100_000, guessTile, guessCell, 10*time.Millisecond), c.room(10, 1000, guessTile, guessCell, 10*time.Millisecond)
	if slow >= fast {
		t.Fatalf("a slow way has room for %d bytes, a fast one for %d", slow, fast)
	}
}

func FuzzParseTileReport(f *testing.F) {
	f.Add(reportOf(tileReport{N: 1, Shown: 2, Bad: 3, Video: 4, Tile: 5, Cell: 6}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseTileReport(b)
		if err == nil && !bytes.Equal(reportOf(r)[2:], b[2:]) {
			t.Fatalf("%x was read as %+v", b, r)
		}
		flow := newTileFlow(newOutgoing(slog.New(slog.DiscardHandler)))
		if err == nil && r.N != 0 && flow.take(r, time.Now()) == nil {
			t.Fatal("what was never sent was confirmed")
		}
	})
}
