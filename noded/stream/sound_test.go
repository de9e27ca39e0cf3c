package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/codec/opus"

	"github.com/pion/webrtc/v4"
	"golang.org/x/sys/unix"
)

// testSound is what cmd/streamer gives the worker.
func testSound() (SoundEncoder, error) {
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
}

func connectSound(t testing.TB, s *session) *soundViewer {
	t.Helper()
	v := &soundViewer{}
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
	b := make([]byte, seconds*soundRate*4)
	for i := range seconds * soundRate {
		v := uint16(int16(9000 * math.Sin(2*math.Pi*hz*float64(i)/soundRate)))
		b[4*i], b[4*i+1], b[4*i+2], b[4*i+3] = byte(v), byte(v>>8), byte(v), byte(v>>8)
	}
	return b
}

// soundServer runs PulseAudio as the session image has it, but for where its files lie, and returns its address.
func soundServer(t *testing.T, edge string) string {
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
	play.Env = append(os.Environ(), "PULSE_SERVER="+server)
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
	writing.Go(func() {
		tone := toneBytes(440, 1)
		for at := 0; ; at = (at + soundBytes) % len(tone) {
			select {
			case <-stop:
				return
			case <-time.After(soundTime):
			}
			_ = pipe.SetWriteDeadline(time.Now().Add(soundTime)) // full while nobody reads it
			_, _ = pipe.Write(tone[at:][:soundBytes])
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

// A session that writes without end is read no faster than sound is.
func TestFloodOfSoundIsReadAtItsOwnPace(t *testing.T) {
	dir := t.TempDir()
	pipe := writePipe(t, dir)
	s := newSound(testSound, contract.Policy{}, func() (io.ReadCloser, error) { return openPipe(dir, "audio.pipe", uint32(os.Getuid())) }, newBoard(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.run(ctx) }()
	out := &soundOut{}
	track, err := webrtc.NewTrackLocalStaticRTP(opusFormat.RTPCodecCapability, "sound", "test")
	if err != nil {
		t.Fatal(err)
	}
	out.track = track
	s.listen(out, true)
	began, wrote := time.Now(), 0
	garbage := make([]byte, 32<<10)
	for i := range garbage {
		garbage[i] = byte(i * 7919 >> 3)
	}
	for time.Since(began) < 1500*time.Millisecond {
		_ = pipe.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, _ := pipe.Write(garbage)
		wrote += n
	}
	took := time.Since(began)
	// What may be stale at the beginning, what a pipe holds, and what time passes.
	if most := staleSound + 128<<10 + int((took+2*soundAhead).Seconds()*soundRate*4); wrote > most {
		t.Errorf("%d bytes were read in %v, want %d at most", wrote, took, most)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Fatal("it still reads")
	}
}

// What lies where the FIFO should be is the session's to make: nothing but a FIFO of its own user is read.
func TestSoundPipeThatIsNone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audio.pipe")
	uid := uint32(os.Getuid())
	open := func(uid uint32) error {
		f, err := openPipe(dir, "audio.pipe", uid)
		if err == nil {
			_ = f.Close()
		}
		return err
	}
	for what, put := range map[string]func() error{
		"nothing": func() error { return nil },
		"a file":  func() error { return os.WriteFile(path, []byte("sound"), 0o600) },
		"a link to a FIFO": func() error {
			return errors.Join(unix.Mkfifo(filepath.Join(dir, "other"), 0o600), os.Symlink("other", path))
		},
		"a link to a device": func() error { return os.Symlink("/dev/zero", path) },
		"a folder":           func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := open(uid); err == nil {
			t.Errorf("%s was opened", what)
		}
		_ = os.RemoveAll(path)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(uid); err != nil { // though nobody writes to it
		t.Errorf("a FIFO was refused: %v", err)
	}
	if err := open(uid + 1); err == nil {
		t.Error("another user's FIFO was opened")
	}
}

func TestFramesAfterAGapBeginAnew(t *testing.T) {
	var f soundFrames
	epoch := time.Now()
	take := func(at time.Duration, b []byte) (pcm []int16) {
		n := copy(f.rest(), b)
		return f.took(n, epoch.Add(at))
	}
	loud := toneBytes(440, 1)[:soundBytes]
	if pcm := take(0, loud[:100]); pcm != nil {
		t.Fatal("a part of a frame is one")
	}
	// The rest never came; another sound begins.
	if pcm := take(time.Second, loud[:soundBytes-100]); pcm != nil {
		t.Fatal("what came before the gap was taken for its beginning")
	}
	pcm := take(time.Second+time.Millisecond, loud[soundBytes-100:])
	if pcm == nil || pcm[0] != 0 || pcm[2] == 0 {
		t.Fatal("the frame is not the one that was written")
	}
	first := f.stamp(time.Second)
	if !first.first || first.samples != soundRate {
		t.Fatalf("stamp %+v", first)
	}
	take(time.Second+soundTime, loud)
	if next := f.stamp(1020 * time.Millisecond); next.first || next.samples != first.samples+soundFrame {
		t.Fatalf("the next frame's stamp is %+v", next)
	}
	silence := make([]byte, soundBytes)
	for i := range quietFrames + 5 {
		take(time.Second+time.Duration(i+2)*soundTime, silence)
		if got := f.silent(); got != (i >= quietFrames) {
			t.Fatalf("frame %d of silence: silent is %t", i, got)
		}
	}
	take(1500*time.Millisecond, loud)
	if again := f.stamp(1500 * time.Millisecond); !again.first || again.samples != soundRate*3/2 {
		t.Fatalf("after the silence: %+v", again)
	}
	if back := f.stamp(0); back.samples < soundRate {
		t.Fatal("time goes back")
	}
}

func FuzzSoundFrames(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, uint16(5))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		var s soundFrames
		at, last := time.Unix(0, 0), uint32(0)
		for len(b) > 0 {
			n := copy(s.rest(), b[:min(len(b), int(step)+1)])
			b = b[n:]
			at = at.Add(time.Duration(step) * time.Millisecond)
			if s.took(n, at) == nil || s.silent() {
				continue
			}
			now := s.stamp(at.Sub(time.Unix(0, 0)))
			if int32(now.samples-last) < 0 {
				t.Fatal(fmt.Sprint("time goes back from ", last, " to ", now.samples))
			}
			last = now.samples
		}
	})
}
