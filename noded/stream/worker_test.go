package stream

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"easel/noded/stream/contract"

	"github.com/pion/webrtc/v4"
)

func TestHealthFollowsInitAndX(t *testing.T) {
	s := startSession(t)
	h := s.health(t, 0)
	if h.Ready || h.GIMP.State != contract.Starting || h.Viewers != 0 {
		t.Fatalf("at the start: %+v", h)
	}
	s.ready(t)
	s.await(t, "readiness", func() bool { return s.health(t, 0).Ready })
	h = s.health(t, 0)
	if h.XPID != 5 || h.GIMP.WindowMS != 2100 || h.Services["xorg"].State != contract.Running || h.Error != "" {
		t.Fatalf("when ready: %+v", h)
	}
	changed := make(chan contract.Health, 1)
	go func() { changed <- s.health(t, h.Seq) }()
	time.Sleep(50 * time.Millisecond)
	s.init.say(strings.Replace(strings.Replace(allRunning, `"ready":true`, `"ready":false`, 1), `"gimp":{"state":"running"`, `"gimp":{"state":"restarting"`, 1))
	select {
	case got := <-changed:
		if got.Seq <= h.Seq || got.GIMP.State != contract.Restarting {
			t.Fatalf("the watch returned %+v", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the watch did not return on a change")
	}
}

func TestOpenCLIsTold(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	s.init.say(strings.Replace(allRunning, `"gimp":`, `"opencl":{"state":"failed","device":"card","why":"no kernel ran"},"gimp":`, 1))
	s.await(t, "the report", func() bool { return s.health(t, 0).OpenCL.State == contract.OpenCLFailed })
	var stats Stats
	s.get(t, "/stats", &stats)
	if stats.OpenCL != "off: no kernel ran" {
		t.Errorf("the viewer is told %q", stats.OpenCL)
	}
}

func TestWorkerOutlivesABadReport(t *testing.T) {
	s := startSession(t)
	s.init.say(`{"seq":1,"unknown":true}`)
	s.init.say(strings.Repeat("x", maxReport*2))
	time.Sleep(100 * time.Millisecond)
	s.init.drop()
	s.ready(t)
}

func TestBadRequestsAreRefused(t *testing.T) {
	s := startSession(t)
	for name, c := range map[string]struct {
		path, kind, body string
		want             int
	}{
		"an offer of another type": {"/whep", "text/plain", "v=0", http.StatusUnsupportedMediaType},
		"an empty offer":           {"/whep", "application/sdp", "", http.StatusNotAcceptable},
		"garbage that says H264":   {"/whep", "application/sdp", "a=rtpmap:1 H264/90000\r\n\x00\xff", http.StatusBadRequest},
		"an offer without H.264":   {"/whep", "application/sdp", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n", http.StatusNotAcceptable},
		"a huge offer":             {"/whep", "application/sdp", strings.Repeat("a", maxOffer+1), http.StatusRequestEntityTooLarge},
		"a screen that is no JSON": {"/screen", "application/json", "{", http.StatusBadRequest},
		"a notice that is no text": {"/notice", "application/json", `{"text":"\u0007"}`, http.StatusBadRequest},
		"an unknown screen field":  {"/screen", "application/json", `{"wdth":1}`, http.StatusBadRequest},
		"a wrong number to watch":  {"/watch?after=-1", "", "", http.StatusMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			code, header, body := s.post(t, c.path, c.kind, c.body)
			if code != c.want {
				t.Fatalf("%d %s, want %d", code, body, c.want)
			}
			if code != http.StatusMethodNotAllowed && header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("answered as %s", header.Get("Content-Type"))
			}
		})
	}
	r, err := s.client.Do(&http.Request{Method: http.MethodDelete, URL: mustURL("http://streamer/whep/none")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Fatalf("deleting nobody: %s", r.Status)
	}
}

// TestPolicyOfANewerNodeCountsAsFarAsItIsKnown: noded is upgraded while sessions run.
func TestPolicyOfANewerNodeCountsAsFarAsItIsKnown(t *testing.T) {
	s := startSession(t)
	tell := func(policy string, want int) {
		t.Helper()
		if code, _, body := s.post(t, "/policy", "application/json", policy); code != want {
			t.Fatalf("%s: %d %s", policy, code, body)
		}
	}
	tell(`{"clipboard":"off","guests":0,"printing":"off"}`, http.StatusNoContent)
	if h := s.health(t, 0); !slices.Contains(h.Degraded, halfPolicy) {
		t.Errorf("that there is more to the policy is not told: %q", h.Degraded)
	}
	s.ready(t)
	v := newViewer(t, func(*webrtc.PeerConnection) {})
	if code, body := v.offer(t, s, "/whep", guest(1, contract.RoleView)); code != http.StatusServiceUnavailable {
		t.Errorf("a guest, of whom the policy allows none: %d %s", code, body)
	}
	tell(`{"clipboard":"text","guests":5}`, http.StatusBadRequest)
	tell(`{"clipboard":"off","guests":5}`, http.StatusNoContent)
	if h := s.health(t, 0); slices.Contains(h.Degraded, halfPolicy) {
		t.Errorf("a policy that is known whole is told of: %q", h.Degraded)
	}
}

func TestScreenIsResizedWithoutAViewer(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	if code, _, body := s.post(t, "/screen", "application/json", `{"width":1111.5,"height":777,"scale":1}`); code != http.StatusOK || strings.TrimSpace(body) != `{"width":1110,"height":776}` {
		t.Fatalf("%d %s", code, body)
	}
	s.await(t, "the new size", func() bool {
		var st Stats
		s.get(t, "/stats", &st)
		return st.Width == 1110 && st.Height == 776
	})
}

func TestXServerComesBack(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	v := connect(t, s)
	s.await(t, "a picture", func() bool { frames, _ := v.count(); return frames > 0 })
	v.say(t, `{"t":"seen","rtp":1}`)
	s.x.Stop()
	s.await(t, "the loss to be told", func() bool { return s.health(t, 0).Error != "" })
	select {
	case err := <-s.ended:
		t.Fatalf("the worker ended with its X server: %v", err)
	default:
	}
	before, keys := v.count()
	s.x.Restart(t)
	s.await(t, "the new X server", func() bool { return s.health(t, 0).Error == "" })
	s.await(t, "the picture, from a keyframe on", func() bool { f, k := v.count(); return f > before && k > keys })
	var st Stats
	s.get(t, "/stats", &st)
	if st.Width != 1280 || st.Height != 720 {
		t.Fatalf("the new screen is %dx%d, want the size that was asked for", st.Width, st.Height)
	}
}

func TestSocketOfAnotherUserIsNotTrusted(t *testing.T) {
	s := startSession(t)
	w := &Worker{cfg: s.cfg}
	w.cfg.EdgeUID = uint32(os.Getuid()) + 12345
	if c, err := w.dialX(context.Background()); err == nil {
		_ = c.Close()
		t.Fatal("an X server of another user was taken for the session's")
	}
	w.cfg.EdgeUID = uint32(os.Getuid())
	if w.cfg.EdgeUID == 0 {
		return // root's own number means any
	}
	c, err := w.dialX(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestVNCIsCarriedBothWays(t *testing.T) {
	s := startSession(t)
	l, err := net.Listen("unix", filepath.Join(s.cfg.EdgeDir, "vnc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write([]byte("RFB 003.008\n"))
		b := make([]byte, 12)
		_, _ = io.ReadFull(c, b)
		served <- b
		_, _ = io.Copy(io.Discard, c)
	}()
	ws := dialVNC(t, s)
	kind, b, err := ws.Read(context.Background())
	if err != nil || kind != 2 || !bytes.Equal(b, []byte("RFB 003.008\n")) {
		t.Fatalf("read %v %q, %v", kind, b, err)
	}
	if err := ws.Write(context.Background(), 2, []byte("RFB 003.008\n")); err != nil {
		t.Fatal(err)
	}
	if got := <-served; string(got) != "RFB 003.008\n" {
		t.Fatalf("the server got %q", got)
	}
	if h := s.health(t, 0); h.Viewers != 1 || h.Path != contract.PathVNC || len(h.Degraded) == 0 {
		t.Fatalf("with a VNC viewer: %+v", h)
	}
	_ = ws.CloseNow()
	s.await(t, "the VNC viewer to be gone", func() bool { return s.health(t, 0).Viewers == 0 })
}
