package stream

import (
	"fmt"
	"image"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"easel/noded/stream/contract"

	"github.com/pion/webrtc/v4"
)

// countingCodec counts what is encoded.
type countingCodec struct {
	Codec
	encoders, frames *atomic.Int64
}

type countingEncoder struct {
	Encoder
	frames *atomic.Int64
}

func (c countingCodec) Open(size image.Point, what Coding, q Quality, from Encoder) (Encoder, error) {
	if counted, ok := from.(countingEncoder); ok {
		from = counted.Encoder
	}
	e, err := c.Codec.Open(size, what, q, from)
	if err != nil {
		return nil, err
	}
	c.encoders.Add(1)
	return countingEncoder{e, c.frames}, nil
}

func (e countingEncoder) Encode(key bool, qp int) (Packet, error) {
	e.frames.Add(1)
	return e.Encoder.Encode(key, qp)
}

func guest(n int, role string) contract.Viewer {
	return contract.Viewer{ID: fmt.Sprintf("link.g%d", n), Role: role, Name: fmt.Sprintf("Guest %d", n)}
}

func connectAs(t testing.TB, s *session, who contract.Viewer) *viewer {
	t.Helper()
	v := newViewer(t, func(*webrtc.PeerConnection) {})
	if code, body := v.offer(t, s, "/whep", who); code != http.StatusCreated {
		t.Fatalf("WHEP: %d %s", code, body)
	}
	s.await(t, "the control channel", func() bool { return v.control.ReadyState() == webrtc.DataChannelStateOpen })
	return v
}

// pictured waits for a picture and says that it is shown, as a page does.
func pictured(t testing.TB, s *session, v *viewer) {
	t.Helper()
	s.await(t, "a picture", func() bool { _, keys := v.count(); return keys > 0 })
	v.say(t, `{"t":"seen","rtp":1}`)
}

func TestGuestsSeeAPictureThatIsEncodedOnce(t *testing.T) {
	var encoders, encoded atomic.Int64
	s := startSession(t, countingCodec{testCodec{}, &encoders, &encoded})
	a := newArtist(t, s.x)
	s.ready(t)
	all := []*viewer{connect(t, s)}
	pictured(t, s, all[0])
	for i := range 3 {
		v := connectAs(t, s, guest(i, contract.RoleView))
		pictured(t, s, v)
		all = append(all, v)
	}
	for _, v := range all {
		settle(t, v)
	}
	before, from := encoded.Load(), make([]int, len(all))
	for i, v := range all {
		from[i], _ = v.count()
	}
	for i := range 30 {
		last, _ := all[0].count()
		a.fill(t, image.Rect(i*30, 100, i*30+200, 300), uint32((i+1)*123456)) // 0 is what is there
		s.await(t, "the owner's frame", func() bool { n, _ := all[0].count(); return n > last })
	}
	for _, v := range all {
		settle(t, v)
	}
	made := int(encoded.Load() - before)
	for i, v := range all {
		if n, _ := v.count(); !nearly(n-from[i], made) {
			t.Errorf("viewer %d was sent %d frames, and %d were encoded for all", i, n-from[i], made)
		}
	}
	if n := encoders.Load(); n != 1 {
		t.Errorf("%d encoders were opened for one picture", n)
	}
	if h := s.health(t, 0); h.Viewers != 4 || h.Guests != (contract.Guests{View: 3}) {
		t.Errorf("health %+v", h)
	}
}

// TestGuestSeesWhatGoesToTheOwnerAsTiles: small changes reach the owner as exact tiles, without video; guests have no tiles.
func TestGuestSeesWhatGoesToTheOwnerAsTiles(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=1280x720")
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1280") })
	becomesExact(t, ctx)
	v := connectAs(t, s, guest(1, contract.RoleView))
	pictured(t, s, v)
	becomesExact(t, ctx)
	settle(t, v)
	first := numbersOf(t, s)
	seen, _ := v.count()
	i := 0
	s.await(t, "changes that go as tiles", func() bool {
		i++
		a.fill(t, image.Rect(100+i%500, 100, 124+i%500, 124), uint32(i*77777))
		return numbersOf(t, s).ByTiles >= first.ByTiles+5
	})
	s.await(t, "the guest's video", func() bool { n, _ := v.count(); return n > seen })
	// The stats may be of the moment before the last drawing came: what counts is that it ends exact.
	s.await(t, "the owner's exact picture", func() bool {
		becomesExact(t, ctx)
		return same(t, ctx, a, image.Pt(1280, 720)) == nil
	})
}

func TestGuestsAreBoundedAndTheirOwn(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	first := connectAs(t, s, guest(0, contract.RoleView))
	again := connectAs(t, s, guest(0, contract.RoleView))
	s.await(t, "the guest's first window to be told", func() bool { return first.heard("replaced") != nil })
	for i := 1; i < s.cfg.Policy.Guests; i++ {
		connectAs(t, s, guest(i, contract.RoleTakePart))
	}
	v := newViewer(t, func(*webrtc.PeerConnection) {})
	if code, body := v.offer(t, s, "/whep", guest(99, contract.RoleView)); code != http.StatusServiceUnavailable {
		t.Fatalf("a guest too many: %d %s", code, body)
	}
	said, err := guest(0, contract.RoleView).Header()
	if err != nil {
		t.Fatal(err)
	}
	as := http.Header{contract.ViewerHeader: {said}, "Content-Type": {"application/sdp"}}
	if code, _, body := s.send(t, http.MethodPost, "/whep?screen=2", as, "v=0 H264/90000"); code != http.StatusForbidden {
		t.Errorf("a guest at the second screen: %d %s", code, body)
	}
	owner := connect(t, s) // is never one too many
	s.await(t, "all to be counted", func() bool {
		h := s.health(t, 0)
		return h.Viewers == s.cfg.Policy.Guests+1 && h.Guests == contract.Guests{TakePart: s.cfg.Policy.Guests - 1, View: 1}
	})
	if code, _, _ := s.send(t, http.MethodDelete, "/"+owner.location, as, ""); code != http.StatusNotFound {
		t.Errorf("a guest ended the owner's connection: %d", code)
	}
	if code, _, _ := s.send(t, http.MethodDelete, "/"+again.location, as, ""); code != http.StatusNoContent {
		t.Errorf("a guest could not leave: %d", code)
	}
}

func TestGuestSeesOnWhileTheOwnerIsAway(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connect(t, s)
	pictured(t, s, owner)
	v := connectAs(t, s, guest(0, contract.RoleView))
	pictured(t, s, v)
	if code, _, _ := s.send(t, http.MethodDelete, "/"+owner.location, nil, ""); code != http.StatusNoContent {
		t.Fatalf("the owner could not leave: %d", code)
	}
	s.await(t, "the owner to be gone", func() bool { h := s.health(t, 0); return h.Viewers == 1 && h.Guests.View == 1 })
	settle(t, v)
	before, _ := v.count()
	a.fill(t, image.Rect(100, 100, 300, 300), 0xff8800)
	s.await(t, "the change", func() bool { n, _ := v.count(); return n > before })
	_, keys := v.count()
	back := connect(t, s)
	pictured(t, s, back)
	s.await(t, "the keyframe that is the owner's too", func() bool { _, n := v.count(); return n > keys })
}

func TestHostileViewerHeaderIsRefused(t *testing.T) {
	s := startSession(t)
	for _, said := range []string{`{"id":"owner","role":"view","name":""}`, `{"id":"a.b","role":"root","name":""}`, "owner", `{}`} {
		h := http.Header{"Content-Type": {"application/sdp"}, contract.ViewerHeader: {said}}
		if code, _, body := s.send(t, http.MethodPost, "/whep", h, "v=0 H264/90000"); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", said, code, body)
		}
	}
}

// nearly tells whether a viewer has the frames that were made: the machine's own network may lose some, and they are repaired late.
func nearly(has, made int) bool { return has <= made && has >= made*9/10-1 }

// deaf is a guest's network: what comes in is lost once it is told to.
type deaf struct {
	net.PacketConn
	on atomic.Bool
}

func (d *deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(b)
		if err != nil || !d.on.Load() {
			return n, from, err
		}
	}
}

// deafGuest is a guest that can be told to read nothing more.
func deafGuest(t *testing.T, s *session, who contract.Viewer) (*viewer, *deaf) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{PacketConn: conn}
	mux := webrtc.NewICEUDPMux(nil, d)
	t.Cleanup(func() { _ = mux.Close() })
	v := newViewerBy(t, func(se *webrtc.SettingEngine) {
		se.SetICEUDPMux(mux)
		se.SetICETimeouts(time.Minute, 2*time.Minute, time.Second) // it waits for long
	}, func(*webrtc.PeerConnection) {})
	if code, body := v.offer(t, s, "/whep", who); code != http.StatusCreated {
		t.Fatalf("WHEP: %d %s", code, body)
	}
	s.await(t, "the control channel", func() bool { return v.control.ReadyState() == webrtc.DataChannelStateOpen })
	return v, d
}

// TestGuestThatNeverReadsCostsTheOwnerNothing: the owner is sent every frame, keyframes stay rare, and the hand is taken back at once.
func TestGuestThatNeverReadsCostsTheOwnerNothing(t *testing.T) {
	var encoders, encoded atomic.Int64
	s := startSession(t, countingCodec{testCodec{}, &encoders, &encoded})
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connect(t, s)
	pictured(t, s, owner)
	v, network := deafGuest(t, s, guest(1, contract.RoleTakePart))
	pictured(t, s, v)
	owner.say(t, `{"t":"hand","to":"link.g1"}`)
	awaitHand(t, s, owner, "link.g1")
	settle(t, owner)
	network.on.Store(true)
	before, began := encoded.Load(), time.Now()
	frames, keys := owner.count()
	for i := range 15 {
		a.put(t, a.screen(), image.Rect(0, 0, 320, 180), noise(320, 180, uint64(i)))
		last, _ := owner.count()
		s.await(t, "the owner's frame", func() bool { n, _ := owner.count(); return n > last })
	}
	settle(t, owner)
	n, k := owner.count()
	if made := int(encoded.Load() - before); !nearly(n-frames, made) {
		t.Errorf("the owner was sent %d frames of %d", n-frames, made)
	}
	if most := int(time.Since(began)/guestKeys) + 2; k-keys > most {
		t.Errorf("%d keyframes within %v for a guest that reads nothing", k-keys, time.Since(began))
	}
	owner.say(t, `{"t":"hand","to":"owner"}`)
	awaitHand(t, s, owner, contract.OwnerID)
	seen, _ := v.count()
	network.on.Store(false)
	i := 0
	s.await(t, "the guest's picture, once it reads again", func() bool { // of what moves: this viewer does not ask for what it has missed, as browsers do
		i++
		a.fill(t, image.Rect(400, 200, 700, 500), uint32(i*70000))
		n, _ := v.count()
		return n > seen
	})
}

// running counts goroutines that a function runs in.
func running(function string) int {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), function+"(")
}

func TestTenGuestsLeavingAtOnceLeaveNothing(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	owner := connect(t, s)
	pictured(t, s, owner)
	var guests []*viewer
	for i := range 10 {
		who := contract.Viewer{ID: fmt.Sprintf("link%d.g%d", i%2, i), Role: contract.RoleTakePart}
		guests = append(guests, connectAs(t, s, who))
	}
	s.await(t, "eleven people", func() bool { return len(owner.people(t).People) == 11 })
	owner.say(t, `{"t":"hand","to":"link1.g9"}`)
	awaitHand(t, s, owner, "link1.g9")
	var leaving sync.WaitGroup
	leaving.Go(func() { s.post(t, "/revoked", "application/json", `{"shares":["link0"]}`) }) // half of them
	for i, v := range guests {
		if i%2 == 1 {
			leaving.Go(func() { _ = v.pc.Close() })
		}
	}
	leaving.Wait()
	s.await(t, "the owner to be alone, with the hand", func() bool {
		m := owner.people(t)
		return len(m.People) == 1 && m.Hand == contract.OwnerID && s.health(t, 0).Viewers == 1
	})
	for _, function := range []string{"stream.(*peer).live", "rtpsend.(*Pacer).Run", "input.(*Hand).Run", "stream.(*peer).feedback"} {
		s.await(t, function+" to run for the owner alone", func() bool { return running(function) <= 1 })
	}
	before, _ := owner.count()
	a.fill(t, image.Rect(100, 100, 300, 300), 0xff8800)
	s.await(t, "the owner's picture to go on", func() bool { n, _ := owner.count(); return n > before })
}

// takesOnly has a viewer take one kind of video.
func takesOnly(t *testing.T, mime string) func(*webrtc.PeerConnection) {
	return func(pc *webrtc.PeerConnection) {
		t.Helper()
		video := pc.GetTransceivers()[0]
		only := slices.DeleteFunc(video.Receiver().GetParameters().Codecs, func(c webrtc.RTPCodecParameters) bool { return c.MimeType != mime })
		if err := video.SetCodecPreferences(only); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGuestWithWhomNoFormatIsLeftIsTold: one picture is encoded for all, so who takes none of what all take would look at nothing.
func TestGuestWithWhomNoFormatIsLeftIsTold(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	offers := func(who contract.Viewer, mime string, want int) *viewer {
		t.Helper()
		v := newViewer(t, takesOnly(t, mime))
		if code, body := v.offer(t, s, "/whep", who); code != want {
			t.Fatalf("%s, who takes %s: %d %s, want %d", who.ID, mime, code, body, want)
		}
		return v
	}
	one := offers(guest(1, contract.RoleView), webrtc.MimeTypeVP9, http.StatusCreated)
	s.await(t, "the guest's picture", func() bool { n, _ := one.count(); return n > 0 })
	offers(guest(2, contract.RoleView), webrtc.MimeTypeH264, http.StatusNotAcceptable)
	owner := offers(contract.Owner, webrtc.MimeTypeH264, http.StatusCreated)
	pictured(t, s, owner)
	s.await(t, "the guest to be told", func() bool {
		m := one.heard("bye")
		return m != nil && strings.Contains(fmt.Sprint(m["reason"]), "format")
	})
	two := offers(guest(2, contract.RoleView), webrtc.MimeTypeH264, http.StatusCreated)
	pictured(t, s, two)
}
