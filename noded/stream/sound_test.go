package stream

import (
	"errors"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"easel/noded/stream/sound"
	"easel/pkg/codec/opus"

	"github.com/pion/webrtc/v4"
	"golang.org/x/sys/unix"
)

// testSound is what cmd/streamer gives the worker.
func testSound() (sound.Encoder, error) {
	e, err := opus.NewEncoder()
	if err != nil {
		return nil, err
	}
	return e, nil
}

// soundViewer hears the session by a decoder of its own.
type soundViewer struct {
	*viewer
	mu      sync.Mutex
	pcm     []int16 // of the last two seconds
	packets int
	stream  string
	loud    chan time.Time // when a packet was heard that is no silence; what nobody takes is left out
}

func connectSound(t testing.TB, s *session) *soundViewer {
	t.Helper()
	v := &soundViewer{loud: make(chan time.Time, 1)}
	v.viewer = connectWith(t, s, func(pc *webrtc.PeerConnection) {
		if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
		pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				v.hear(t, track)
				return
			}
			for {
				if _, _, err := track.ReadRTP(); err != nil {
					return
				}
			}
		})
	})
	return v
}

func (v *soundViewer) hear(t testing.TB, track *webrtc.TrackRemote) {
	d, err := opus.NewDecoder()
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	v.mu.Lock()
	v.stream = track.StreamID()
	v.mu.Unlock()
	pcm := make([]int16, opus.Frame*opus.Channels)
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if err := d.Decode(p.Payload, pcm, false); err != nil {
			t.Errorf("a packet of sound: %v", err)
			return
		}
		if slices.Max(pcm) > 3000 {
			select {
			case v.loud <- time.Now():
			default:
			}
		}
		v.mu.Lock()
		v.packets++
		v.pcm = append(v.pcm, pcm...)
		v.pcm = v.pcm[max(0, len(v.pcm)-2*opus.Rate*opus.Channels):]
		v.mu.Unlock()
	}
}

// strength is how much of a frequency the last half second of the left channel has, as an amplitude; 0 while there is not so much.
func (v *soundViewer) strength(hz float64) float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	const n = opus.Rate / 2
	if len(v.pcm) < n*opus.Channels {
		return 0
	}
	last := v.pcm[len(v.pcm)-n*opus.Channels:]
	var re, im float64
	for i := range n {
		s, a := float64(last[2*i]), 2*math.Pi*hz*float64(i)/opus.Rate
		re, im = re+s*math.Cos(a), im+s*math.Sin(a)
	}
	return 2 * math.Hypot(re, im) / n
}

func (v *soundViewer) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.packets
}

// toneBytes is some seconds of a sine as s16le, stereo.
func toneBytes(hz float64, seconds int) []byte {
	b := make([]byte, seconds*opus.Rate*4)
	for i := range seconds * opus.Rate {
		v := uint16(int16(9000 * math.Sin(2*math.Pi*hz*float64(i)/opus.Rate)))
		b[4*i], b[4*i+1], b[4*i+2], b[4*i+3] = byte(v), byte(v>>8), byte(v), byte(v>>8)
	}
	return b
}

// soundServer runs PulseAudio as the session image has it, but for where its files lie, and returns its address.
func soundServer(t testing.TB, edge string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "images", "gimp", "rootfs", "etc", "easel", "pulse.pa"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "pulse.sock")
	conf := strings.NewReplacer("/run/easel/edge/audio.pipe", filepath.Join(edge, "audio.pipe"), "/tmp/runtime/pulse.sock", socket).Replace(string(b))
	if err := os.WriteFile(filepath.Join(dir, "pulse.pa"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	pa := exec.Command("pulseaudio", "-n", "--file="+filepath.Join(dir, "pulse.pa"), "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1",
		"--high-priority=no", "--realtime=no", "--log-target=stderr", "--log-level=error")
	pa.Env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
	pa.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := pa.Start(); err != nil {
		t.Fatalf("start PulseAudio (Debian package pulseaudio): %v", err)
	}
	t.Cleanup(func() {
		_ = pa.Process.Kill()
		_ = pa.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return "unix:" + socket
		}
		if time.Now().After(deadline) {
			t.Fatal("PulseAudio did not start")
		}
	}
}

// What plays in the session is heard by who listens, at the right pitch, and silence costs nothing.
func TestSoundIsHeardAndSilenceIsNot(t *testing.T) {
	s := startSession(t)
	server := soundServer(t, s.cfg.EdgeDir)
	s.ready(t)
	v := connectSound(t, s)
	s.await(t, "word that there is sound", func() bool { m := v.heard("audio"); return m != nil && m["on"] == true })
	v.say(t, `{"t":"audio","on":true}`)
	play := exec.CommandContext(t.Context(), "pacat", "--playback", "--raw", "--format=s16le", "--rate=48000", "--channels=2", "--latency-msec=20")
	play.Env = append(os.Environ(), "PULSE_SERVER="+server, "HOME="+t.TempDir(), "XDG_RUNTIME_DIR="+t.TempDir())
	in, err := play.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := play.Start(); err != nil {
		t.Fatal(err)
	}
	played := make(chan error, 1)
	go func() {
		_, err := in.Write(toneBytes(440, 60)) // longer than the test waits: it is ended below
		played <- errors.Join(err, in.Close())
	}()
	s.await(t, "the tone", func() bool { return v.strength(440) > 6000 })
	for _, hz := range []float64{220, 430, 450, 880} {
		if got := v.strength(hz); got > 1500 {
			t.Errorf("there is %.0f of %.0f Hz in a tone of 440", got, hz)
		}
	}
	v.mu.Lock()
	stream := v.stream
	v.mu.Unlock()
	if stream == "easel" || stream == "" {
		t.Errorf("the sound is in the picture's stream (%q): the browser would hold back the picture for it", stream)
	}
	_ = play.Process.Kill()
	_ = play.Wait()
	<-played
	// Once the last of it is out, nothing more comes.
	last, since := -1, time.Now()
	for deadline := time.Now().Add(30 * time.Second); time.Since(since) < time.Second; time.Sleep(20 * time.Millisecond) {
		if n := v.count(); n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatal("packets of silence are sent")
		}
	}
}

// writePipe makes a session's FIFO, written by a test.
func writePipe(t *testing.T, dir string) *os.File {
	t.Helper()
	path := filepath.Join(dir, "audio.pipe")
	if err := unix.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestSoundIsOffByPolicyAndForWhoDoesNotListen(t *testing.T) {
	s := startSession(t)
	pipe := writePipe(t, s.cfg.EdgeDir)
	s.ready(t)
	v := connectSound(t, s)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	const frame = opus.Frame * opus.Channels * 2
	writing.Go(func() {
		tone := toneBytes(440, 1)
		for at := 0; ; at = (at + frame) % len(tone) {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			_ = pipe.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)) // full while nobody reads it
			_, _ = pipe.Write(tone[at:][:frame])
		}
	})
	defer writing.Wait()
	defer close(stop)
	time.Sleep(300 * time.Millisecond)
	if n := v.count(); n > 0 {
		t.Fatalf("nobody listens: %d packets", n)
	}
	v.say(t, `{"t":"audio","on":true}`)
	s.await(t, "the sound", func() bool { return v.count() > 10 })
	off := func(set func(), what string) {
		t.Helper()
		set()
		last, since := -1, time.Now()
		s.await(t, "silence: "+what, func() bool {
			if n := v.count(); n != last {
				last, since = n, time.Now()
			}
			return time.Since(since) > time.Second
		})
	}
	off(func() { v.say(t, `{"t":"audio","on":false}`) }, "it was turned off")
	v.say(t, `{"t":"audio","on":true}`)
	before := v.count()
	s.await(t, "the sound again", func() bool { return v.count() > before+10 })
	off(func() {
		if code, _, body := s.post(t, "/policy", "application/json", `{"audio":"off"}`); code != http.StatusNoContent {
			t.Fatalf("%d %s", code, body)
		}
	}, "the operator turned it off")
	// Who comes then is offered none.
	next := connectSound(t, s)
	s.await(t, "word that there is no sound", func() bool { m := next.heard("audio"); return m != nil && m["on"] == false })
}
