package stream

import (
	"bytes"
	"fmt"
	"image"
	"runtime"
	"slices"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/tile/tiletest"

	"github.com/pion/webrtc/v4"
)

// flood sends a message over and over, as fast as it gets through, until the channel ends.
func flood(c *webrtc.DataChannel, b []byte, done <-chan struct{}) {
	const most = 1 << 20 // that waits here
	for {
		select {
		case <-done:
			return
		default:
		}
		if c.BufferedAmount() > most {
			time.Sleep(time.Millisecond)
			continue
		}
		if c.Send(b) != nil {
			return
		}
	}
}

// living is how many bytes the objects take that are in use.
func living() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// flooded has a guest flood one of its channels until it is shown out, and tells whether it was told why.
func flooded(t *testing.T, s *session, label string, number int) bool {
	t.Helper()
	var tiles *webrtc.DataChannel
	v := newViewer(t, func(pc *webrtc.PeerConnection) {
		var err error
		if tiles, err = pc.CreateDataChannel("tiles", tiletest.Channel()); err != nil {
			t.Fatal(err)
		}
	})
	if code, body := v.offer(t, s, "/whep", guest(number, contract.RoleTakePart)); code != 201 {
		t.Fatalf("WHEP: %d %s", code, body)
	}
	c := map[string]*webrtc.DataChannel{"input": v.input, "motion": v.motion, "control": v.control, "tiles": tiles}[label]
	s.await(t, "the channels", func() bool {
		return c.ReadyState() == webrtc.DataChannelStateOpen && v.control.ReadyState() == webrtc.DataChannelStateOpen
	})
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		flood(c, bytes.Repeat([]byte{0xee}, 600), done)
	}()
	defer func() {
		close(done)
		<-ended
	}()
	s.await(t, "the guest to be shown out", func() bool { return s.health(t, 0).Viewers == 1 })
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.told, func(m map[string]any) bool { return m["t"] == "bye" && m["reason"] == errFlood.Error() })
}

// TestFloodOnAnyChannelEndsItsViewerAlone: who floods a data channel with what makes no sense is shown out; the session and its owner go on, and the
// streamer keeps nothing of it. The flood itself may crowd out the word that says why, but not always.
func TestFloodOnAnyChannelEndsItsViewerAlone(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connect(t, s)
	pictured(t, s, owner)
	before := living()
	for i, label := range []string{"input", "motion", "control", "tiles"} {
		t.Run(label, func(t *testing.T) {
			for try := 1; !flooded(t, s, label, i); try++ {
				if try == 5 {
					t.Fatal("none of five guests was told why it was shown out")
				}
			}
			frames, _ := owner.count()
			a.fill(t, image.Rect(100, 100, 300, 300), uint32(0x204060+i*0x1111))
			s.await(t, "the owner's picture to go on", func() bool { n, _ := owner.count(); return n > frames })
		})
	}
	const most = 64 << 20
	s.await(t, "what the floods brought to be gone", func() bool { return living() < before+most })
}

// TestViewerThatOpensChannelsWithoutEndIsEnded: each takes memory here, and would be another way around the limits of the first.
func TestViewerThatOpensChannelsWithoutEndIsEnded(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	owner := connect(t, s)
	pictured(t, s, owner)
	v := newViewer(t, func(pc *webrtc.PeerConnection) {
		for i := range 4 * maxChannels {
			if _, err := pc.CreateDataChannel(fmt.Sprint("more", i), nil); err != nil {
				t.Fatal(err)
			}
		}
	})
	if code, body := v.offer(t, s, "/whep", guest(1, contract.RoleView)); code != 201 {
		t.Fatalf("WHEP: %d %s", code, body)
	}
	s.await(t, "the viewer to be shown out", func() bool {
		return v.pc.ConnectionState() > webrtc.PeerConnectionStateConnecting && running("stream.(*peer).live") == 1
	})
	owner.say(t, `{"t":"ping","id":7}`)
	s.await(t, "the owner's answer", func() bool { return owner.heard("pong") != nil })
}

func TestSecondChannelOfAKindIsClosed(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	var second *webrtc.DataChannel
	v := connectWith(t, s, func(pc *webrtc.PeerConnection) {
		var err error
		if second, err = pc.CreateDataChannel("control", nil); err != nil {
			t.Fatal(err)
		}
	})
	s.await(t, "the second channel to be closed", func() bool { return second.ReadyState() == webrtc.DataChannelStateClosed })
	v.say(t, `{"t":"ping","id":7}`)
	s.await(t, "an answer on the first", func() bool { return v.heard("pong") != nil })
	if st := numbersOf(t, s); st.Bad == 0 {
		t.Error("the channel was not counted as refused")
	}
}
