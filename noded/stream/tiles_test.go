package stream

import (
	"bytes"
	"image"
	"net/http"
	"sync"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/tile"
	"easel/noded/stream/tile/tiletest"

	"github.com/pion/webrtc/v4"
)

// tileViewer reads the tiles channel as the browser does, but for the canvas.
type tileViewer struct {
	*viewer
	channel *webrtc.DataChannel

	mu     sync.Mutex
	screen tiletest.Screen
	bytes  int
	err    error
	silent bool   // confirms nothing
	bad    uint32 // how many it says to have read wrong
}

func connectTiles(t testing.TB, s *session, silent bool) *tileViewer {
	t.Helper()
	return connectTilesAs(t, s, contract.Owner, silent)
}

func connectTilesAs(t testing.TB, s *session, who contract.Viewer, silent bool) *tileViewer {
	t.Helper()
	v := &tileViewer{silent: silent}
	v.viewer = newViewer(t, v.reads(t))
	if code, body := v.offer(t, s, "/whep", who); code != http.StatusCreated {
		t.Fatalf("WHEP: %d %s", code, body)
	}
	s.await(t, "the control channel", func() bool { return v.control.ReadyState() == webrtc.DataChannelStateOpen })
	return v
}

// reads offers a channel for tiles, and has the viewer read what comes by it.
func (v *tileViewer) reads(t testing.TB) func(*webrtc.PeerConnection) {
	return func(pc *webrtc.PeerConnection) {
		var err error
		if v.channel, err = pc.CreateDataChannel("tiles", tiletest.Channel()); err != nil {
			t.Fatal(err)
		}
		v.channel.OnMessage(func(m webrtc.DataChannelMessage) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.bytes += len(m.Data)
			v.tell()
			if v.silent || v.err != nil {
				return
			}
			if v.err = v.screen.Read(m.Data); v.err == nil {
				v.err = v.channel.Send(v.report())
			}
		})
	}
}

// report is what the viewer says of what has come so far. It needs mu.
func (v *tileViewer) report() []byte {
	return tiletest.Report(tile.Report{N: v.screen.N, Bad: v.bad, Tile: 20, Cell: 50, Video: 40})
}

// exact is the viewer's picture as RGBA once it has all cells exactly, and its size.
func (v *tileViewer) exact() ([]byte, image.Point, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil || v.screen.N == 0 {
		return nil, image.Point{}, v.err
	}
	return v.screen.Exact(), v.screen.Size, nil
}

func (v *tileViewer) awaitPicture(t *testing.T, a *artist, what string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got, size, err := v.exact()
		if err != nil {
			t.Fatal(err)
		}
		if got != nil && bytes.Equal(got, a.grab(t, image.Rectangle{Max: size})) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited two minutes for %s", what)
		}
	}
}

// startExact starts a session and an artist in it, and a viewer who has its picture exactly.
func startExact(t *testing.T) (*session, *artist, *tileViewer) {
	t.Helper()
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	v := connectTiles(t, s, false)
	v.say(t, `{"t":"seen","rtp":1}`)
	v.awaitPicture(t, a, "an exact picture")
	return s, a, v
}

func TestTilesMakeAStillPictureExact(t *testing.T) {
	s, a, v := startExact(t)
	a.fill(t, image.Rect(100, 100, 130, 130), 0xff8800)
	v.awaitPicture(t, a, "a stroke")
	a.put(t, a.screen(), image.Rect(0, 0, 1280, 600), noise(1280, 600, 1))
	v.awaitPicture(t, a, "a wholly new picture")
	v.say(t, `{"t":"resize","w":1000,"h":702}`)
	s.await(t, "the new size", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.screen.Size == image.Pt(1000, 702)
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

// TestFilledScreenGoesByTiles: cells of one colour take next to nothing, so that all of them at once need no frame of video.
func TestFilledScreenGoesByTiles(t *testing.T) {
	s, a, v := startExact(t)
	var before, after Stats
	s.get(t, "/stats", &before)
	v.mu.Lock()
	had, size := v.bytes, v.screen.Size
	v.mu.Unlock()
	a.fill(t, image.Rectangle{Max: size}, 0x3366cc)
	v.awaitPicture(t, a, "the filled screen")
	v.mu.Lock()
	took := v.bytes - had
	v.mu.Unlock()
	if s.get(t, "/stats", &after); after.ByTiles == before.ByTiles {
		t.Error("a filled screen went by video")
	}
	if took > 4<<10 { // the cursor lies on some cells
		t.Errorf("a filled screen took %d bytes of tiles", took)
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
	if most := 48<<10 + 2*tile.MaxMessage; v.bytes > most {
		t.Fatalf("%d bytes of tiles went to a viewer that confirmed none, at most %d may", v.bytes, most)
	}
}

// TestViewerThatLiesAboutTilesHarmsNobody: what it confirms wrongly is refused and counted, and the stream goes on.
func TestViewerThatLiesAboutTilesHarmsNobody(t *testing.T) {
	s, a, v := startExact(t)
	for _, b := range [][]byte{
		{}, {tile.ReportMessage}, tiletest.Report(tile.Report{N: 1 << 30}), tiletest.Report(tile.Report{N: 0}), append(tiletest.Report(tile.Report{N: v.screen.N}), 0), {99, 1, 2, 3}, bytes.Repeat([]byte{255}, tile.ReportBytes),
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
	_, a, v := startExact(t)
	v.mu.Lock()
	v.screen.Spoil() // what is coded against them is read wrong too
	err := v.channel.Send(tiletest.Report(tile.Report{N: v.screen.N, Bad: 1}))
	v.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	v.awaitPicture(t, a, "an exact picture again")
}
