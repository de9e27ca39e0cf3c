package stream

import (
	"context"
	"encoding/json"
	"image"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"
	"easel/noded/stream/rtpsend"

	"github.com/coder/websocket"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func dialVNC(t testing.TB, s *session) *websocket.Conn {
	t.Helper()
	ws, r, err := websocket.Dial(context.Background(), "ws://streamer/vnc", &websocket.DialOptions{HTTPClient: s.client, Subprotocols: []string{"binary"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// nalSPS is the type of the NAL unit that a keyframe of H.264 begins with.
const nalSPS = 7

// viewer is a browser's half, by pion.
type viewer struct {
	pc                     *webrtc.PeerConnection
	input, motion, control *webrtc.DataChannel
	location               string

	mu      sync.Mutex
	frames  int
	keys    int
	bytes   int
	ssrc    uint32
	told    []map[string]any
	seen    map[uint16]bool
	playout bool
	arrived chan struct{} // is told of each frame and message of tiles, if there is one
}

func (v *viewer) tell() {
	select {
	case v.arrived <- struct{}{}:
	default:
	}
}

func connect(t testing.TB, s *session) *viewer {
	t.Helper()
	return connectWith(t, s, func(*webrtc.PeerConnection) {})
}

// connectWith prepares the connection by more before it is offered.
func connectWith(t testing.TB, s *session, more func(pc *webrtc.PeerConnection)) *viewer {
	t.Helper()
	return connectAt(t, s, "/whep", more)
}

func connectAt(t testing.TB, s *session, path string, more func(pc *webrtc.PeerConnection)) *viewer {
	t.Helper()
	v := newViewer(t, more)
	if code, body := v.offer(t, s, path, contract.Owner); code != http.StatusCreated {
		t.Fatalf("WHEP: %d %s", code, body)
	}
	s.await(t, "the control channel", func() bool { return v.control.ReadyState() == webrtc.DataChannelStateOpen })
	return v
}

// newViewer makes the browser's half, which has offered nothing yet.
func newViewer(t testing.TB, more func(pc *webrtc.PeerConnection)) *viewer {
	t.Helper()
	return newViewerBy(t, func(*webrtc.SettingEngine) {}, more)
}

func newViewerBy(t testing.TB, set func(*webrtc.SettingEngine), more func(pc *webrtc.PeerConnection)) *viewer {
	t.Helper()
	return newViewerOf(t, set, func(*webrtc.MediaEngine, *interceptor.Registry) error { return nil }, more)
}

func newViewerOf(t testing.TB, set func(*webrtc.SettingEngine), reports func(*webrtc.MediaEngine, *interceptor.Registry) error, more func(pc *webrtc.PeerConnection)) *viewer {
	t.Helper()
	v := &viewer{seen: map[uint16]bool{}}
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	set(&se)
	me := &webrtc.MediaEngine{}
	if err := me.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	if err := me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: rtpsend.PlayoutDelayURI}, webrtc.RTPCodecTypeVideo); err != nil {
		t.Fatal(err)
	}
	registry := &interceptor.Registry{}
	err := reports(me, registry)
	if err != nil {
		t.Fatal(err)
	}
	if v.pc, err = webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(registry)).NewPeerConnection(webrtc.Configuration{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.pc.Close() })
	if _, err := v.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	v.pc.OnTrack(v.track)
	v.channels(t)
	more(v.pc)
	return v
}

// offer connects to a screen, as who the node says it is, and gives the answer's code and body.
func (v *viewer) offer(t testing.TB, s *session, path string, who contract.Viewer) (code int, body string) {
	t.Helper()
	offer, err := v.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(v.pc)
	if err := v.pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	said, err := who.Header()
	if err != nil {
		t.Fatal(err)
	}
	code, header, body := s.send(t, http.MethodPost, path, http.Header{"Content-Type": {"application/sdp"}, contract.ViewerHeader: {said}}, v.pc.LocalDescription().SDP)
	if code != http.StatusCreated {
		return code, body
	}
	v.location = header.Get("Location")
	if err := v.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body}); err != nil {
		t.Fatal(err)
	}
	return code, body
}

func (v *viewer) channels(t testing.TB) {
	t.Helper()
	no, zero := false, uint16(0)
	for _, c := range []struct {
		to   **webrtc.DataChannel
		name string
		init *webrtc.DataChannelInit
	}{{&v.input, "input", nil}, {&v.motion, "motion", &webrtc.DataChannelInit{Ordered: &no, MaxRetransmits: &zero}}, {&v.control, "control", nil}} {
		d, err := v.pc.CreateDataChannel(c.name, c.init)
		if err != nil {
			t.Fatal(err)
		}
		*c.to = d
	}
	v.control.OnMessage(func(m webrtc.DataChannelMessage) {
		var told map[string]any
		_ = json.Unmarshal(m.Data, &told)
		v.mu.Lock()
		v.told = append(v.told, told)
		v.mu.Unlock()
	})
}

func (v *viewer) track(track *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		v.mu.Lock()
		if v.seen[p.SequenceNumber] { // sent again, to see what the way carries
			v.mu.Unlock()
			continue
		}
		v.seen[p.SequenceNumber] = true
		delete(v.seen, p.SequenceNumber+1<<15)
		v.ssrc = p.SSRC
		v.bytes += len(p.Payload)
		if p.Marker {
			v.frames++
			v.tell()
		}
		if len(p.Payload) > 0 && p.Payload[0]&31 == nalSPS {
			v.keys++
		}
		for _, e := range r.GetParameters().HeaderExtensions {
			if e.URI == rtpsend.PlayoutDelayURI && len(p.GetExtension(uint8(e.ID))) == 3 {
				v.playout = true
			}
		}
		v.mu.Unlock()
	}
}

func (v *viewer) count() (frames, keys int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.frames, v.keys
}

// heard tells whether a control message of that kind came.
func (v *viewer) heard(kind string) map[string]any {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.told {
		if m["t"] == kind {
			return m
		}
	}
	return nil
}

func (v *viewer) say(t testing.TB, s string) {
	t.Helper()
	if err := v.control.SendText(s); err != nil {
		t.Fatal(err)
	}
}

// settle waits until nothing more is sent.
func settle(t testing.TB, v *viewer) {
	t.Helper()
	last, since := -1, time.Now()
	for deadline := time.Now().Add(15 * time.Second); time.Since(since) < 700*time.Millisecond; time.Sleep(20 * time.Millisecond) {
		if n, _ := v.count(); n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatal("frames still come after 15 s of a still picture")
		}
	}
}

func TestPictureReachesAViewerAndThenSilence(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	v := connect(t, s)
	s.await(t, "a second keyframe: the first is repeated until confirmed", func() bool { _, keys := v.count(); return keys >= 2 })
	v.say(t, `{"t":"seen","rtp":1}`)
	settle(t, v)
	before, keys := v.count()
	time.Sleep(time.Second)
	if frames, _ := v.count(); frames != before {
		t.Fatalf("%d frames of a picture that does not change", frames-before)
	}
	a.fill(t, image.Rect(100, 100, 300, 300), 0xff8800)
	s.await(t, "the change", func() bool { frames, _ := v.count(); return frames > before })
	settle(t, v)
	if _, k := v.count(); k != keys {
		t.Fatalf("%d keyframes came without need", k-keys)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.playout {
		t.Error("no packet carried the playout delay")
	}
	h := s.health(t, 0)
	if h.Viewers != 1 || h.Path != contract.PathDirect {
		t.Errorf("health %+v", h)
	}
	var st Stats
	s.get(t, "/stats", &st)
	if st.Codec != "H264" || st.Frames == 0 || st.Stages["encode"].P50 <= 0 || st.Width != 1280 {
		t.Errorf("stats %+v", st)
	}
}

func TestKeyframeRequestsAreLimited(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	v := connect(t, s)
	s.await(t, "a picture", func() bool { frames, _ := v.count(); return frames > 0 })
	v.say(t, `{"t":"seen","rtp":1}`)
	settle(t, v)
	_, before := v.count()
	v.mu.Lock()
	ssrc := v.ssrc
	v.mu.Unlock()
	start := time.Now()
	for i := range 100 { // something always moves, so that the requests count
		a.fill(t, image.Rect(i, 100, i+50, 150), uint32(i*77777))
		if err := v.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	_, after := v.count()
	most := int(time.Since(start)/keyLimit) + 2
	if got := after - before; got < 1 || got > most {
		t.Fatalf("%d keyframes for 100 requests in %v, want 1 to %d", got, time.Since(start), most)
	}
}

func TestSecondViewerReplacesTheFirst(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	first := connect(t, s)
	second := connect(t, s)
	s.await(t, "the first viewer to be told", func() bool { return first.heard("replaced") != nil })
	s.await(t, "the second one's picture", func() bool { frames, _ := second.count(); return frames > 0 })
	r, err := s.client.Do(&http.Request{Method: http.MethodDelete, URL: mustURL("http://streamer/" + second.location)})
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE %s: %s", second.location, r.Status)
	}
	s.await(t, "nobody to watch", func() bool { return s.health(t, 0).Viewers == 0 })
}

func TestControlMessagesAreAnswered(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	v := connect(t, s)
	v.say(t, `{"t":"ping","id":7}`)
	v.say(t, `{"t":"nonsense"}`)
	v.say(t, `{"t":"resize","w":1001,"h":701,"scale":1.5}`)
	v.say(t, `{"t":"watch","on":true}`)
	s.await(t, "pong", func() bool { m := v.heard("pong"); return m != nil && m["id"] == 7.0 })
	s.await(t, "the screen's size", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, m := range v.told {
			if m["t"] == "screen" && m["w"] == 1000.0 && m["h"] == 700.0 {
				return true
			}
		}
		return false
	})
	s.await(t, "cursor, gimp and stats", func() bool { return v.heard("cursor") != nil && v.heard("gimp") != nil && v.heard("stats") != nil })
	var st Stats
	s.get(t, "/stats", &st)
	if st.Bad != 1 {
		t.Errorf("%d bad messages counted, want 1", st.Bad)
	}
}

// TestNoticeReachesWhoWatchesAndWhoComes: a drain is told to the viewer that is there and to the next one.
func TestNoticeReachesWhoWatchesAndWhoComes(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	first := connect(t, s)
	until := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	if code, _, body := s.post(t, "/notice", "application/json", `{"text":"Save your work","until":"`+until+`"}`); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, body)
	}
	right := func(v *viewer) bool {
		m := v.heard("notice")
		if m == nil {
			return false
		}
		left, _ := m["left_ms"].(float64)
		return m["text"] == "Save your work" && m["until"] == until && left > 50_000 && left <= 60_000
	}
	s.await(t, "the notice", func() bool { return right(first) })
	second := connect(t, s)
	s.await(t, "the notice for who comes later", func() bool { return right(second) })
	if code, _, _ := s.post(t, "/notice", "application/json", `{"text":""}`); code != http.StatusNoContent {
		t.Fatal(code)
	}
	s.await(t, "the notice taken back", func() bool {
		second.mu.Lock()
		defer second.mu.Unlock()
		return slices.ContainsFunc(second.told, func(m map[string]any) bool { return m["t"] == "notice" && m["text"] == "" })
	})
}

func TestPenStrokeReachesTheDriverInOrder(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	v := connect(t, s)
	s.await(t, "the input channel", func() bool {
		return v.input.ReadyState() == webrtc.DataChannelStateOpen && v.motion.ReadyState() == webrtc.DataChannelStateOpen
	})
	// The press is sent after the motion that follows it.
	sm := func(n int) inputtest.Sample {
		return inputtest.Sample{X: int32(n) << 8, Y: 50 << 8, Pressure: uint16(n * 1000), TiltX: 3012, TiltY: -1999, Twist: 35_950, Time: uint32(n * 10)}
	}
	if err := v.motion.Send(inputtest.Pointer(inputtest.Pen, 2, 2, sm(2), sm(3))); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := v.input.Send(inputtest.Proximity(inputtest.Pen, true, 1)); err != nil {
		t.Fatal(err)
	}
	if err := v.input.Send(inputtest.Button(inputtest.Pen, 1, true, 2, 1, sm(1))); err != nil {
		t.Fatal(err)
	}
	want := []inputtest.Record{
		{Kind: inputtest.In, Device: inputtest.ToPen},
		{Kind: inputtest.Motion, Device: inputtest.ToPen, X: 1 << 8, Y: 50 << 8, Pressure: 1000, TiltX: 3012, TiltY: -1999, Twist: 35_950, TimeMS: 1},
		{Kind: inputtest.Press, Device: inputtest.ToPen, Button: 1, X: 1 << 8, Y: 50 << 8, Pressure: 1000, TiltX: 3012, TiltY: -1999, Twist: 35_950, TimeMS: 1},
		{Kind: inputtest.Motion, Device: inputtest.ToPen, X: 2 << 8, Y: 50 << 8, Pressure: 2000, TiltX: 3012, TiltY: -1999, Twist: 35_950, TimeMS: 2},
		{Kind: inputtest.Motion, Device: inputtest.ToPen, X: 3 << 8, Y: 50 << 8, Pressure: 3000, TiltX: 3012, TiltY: -1999, Twist: 35_950, TimeMS: 3},
	}
	for i, w := range want {
		if got := s.pen.Next(t); got != w {
			t.Fatalf("record %d is %+v, want %+v", i, got, w)
		}
	}
	// The viewer goes away with the pen down.
	_ = v.pc.Close()
	if got := s.pen.Next(t); got.Kind != inputtest.Release || got.Button != 1 {
		t.Fatalf("after the viewer left: %+v, want the button's release", got)
	}
	if got := s.pen.Next(t); got.Kind != inputtest.Out {
		t.Fatalf("after the viewer left: %+v, want proximity out", got)
	}
}

func TestHostileViewerDisturbsNothing(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	v := connect(t, s)
	s.await(t, "the channels", func() bool {
		return v.input.ReadyState() == webrtc.DataChannelStateOpen && v.motion.ReadyState() == webrtc.DataChannelStateOpen
	})
	for i := range 500 {
		_ = v.input.Send([]byte{byte(i), 1, 2, 3})
		_ = v.motion.Send(make([]byte, i))
		_ = v.control.SendText(strings.Repeat("[", i))
	}
	_ = v.control.SendText(`{"t":"resize","w":1e308,"h":-5}`)
	asked := time.Time{}
	s.await(t, "an answer after the flood", func() bool {
		if time.Since(asked) > time.Second { // one that comes before the flood was read is of those that are too many
			v.say(t, `{"t":"ping","id":"alive"}`)
			asked = time.Now()
		}
		return v.heard("pong") != nil
	})
}
