package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"easel/integration/browser"
)

// earJS listens to what the page plays: the loudest frequency and how loud it is, in dB.
const earJS = `(async () => {
  const stream = document.getElementById("sound").srcObject;
  if (!stream) return [0, -1000];
  if (!window.__ear || window.__ear.stream !== stream) {
    const context = new AudioContext();
    await context.resume();
    const analyser = context.createAnalyser();
    analyser.fftSize = 16384;
    analyser.smoothingTimeConstant = 0;
    context.createMediaStreamSource(stream).connect(analyser);
    window.__ear = {stream, context, analyser};
  }
  const {context, analyser} = window.__ear;
  const levels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(levels);
  let loudest = 0;
  levels.forEach((v, i) => { if (v > levels[loudest]) loudest = i; });
  return [loudest * context.sampleRate / analyser.fftSize, Math.max(-1000, levels[loudest])];
})()`

// heard is what a page plays now: a frequency in Hz, and how loud it is in dB.
type heard func() ([]float64, error)

func heardIn(p *browser.Page) heard {
	return func() ([]float64, error) { return browser.Eval[[]float64](p, 15*time.Second, earJS) }
}

// hearsTone waits until a page plays a frequency, or, for 0, nothing.
func hearsTone(t *testing.T, now heard, hz float64) {
	t.Helper()
	eventually(t, 60*time.Second, fmt.Sprintf("the page plays %.0f Hz", hz), func() error {
		heard, err := now()
		if err != nil {
			return err
		}
		if loud := heard[1] > -60; loud != (hz > 0) || loud && math.Abs(heard[0]-hz) > 8 {
			return fmt.Errorf("it plays %.0f Hz at %.0f dB", heard[0], heard[1])
		}
		return nil
	})
}

// playTone plays a sine into a session's sound server, as a program in the session would, until it is ended.
func playTone(t *testing.T, pid int, hz float64) (end func()) {
	t.Helper()
	const rate = 48000
	var second bytes.Buffer
	for i := range rate {
		v := uint16(int16(9000 * math.Sin(2*math.Pi*hz*float64(i)/rate)))
		second.Write([]byte{byte(v), byte(v >> 8), byte(v), byte(v >> 8)})
	}
	play := exec.Command("pacat", "--playback", "--raw", "--format=s16le", "--rate=48000", "--channels=2", "--latency-msec=40")
	play.Env = append(os.Environ(), "PULSE_SERVER="+pulseOf(pid), "HOME="+t.TempDir(), "XDG_RUNTIME_DIR="+t.TempDir())
	play.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	play.Stderr = &said
	in, err := play.StdinPipe()
	if err == nil {
		err = play.Start()
	}
	if err != nil {
		t.Fatalf("play by pacat (Debian package pulseaudio-utils): %v", err)
	}
	written := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = in.Write(second.Bytes())
		}
		written <- err
	}()
	return func() {
		_ = play.Process.Kill()
		var exit *exec.ExitError
		if err := play.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
		<-written
		if said.Len() > 0 {
			t.Logf("pacat: %s", said.String())
		}
	}
}

// pulseOf is how programs of this machine find the sound server of the session that a process lives in.
func pulseOf(pid int) string { return fmt.Sprintf("unix:/proc/%d/root/tmp/runtime/pulse.sock", pid) }

// soundServer waits for a session's sound server, and returns a process that lives beside it.
func (w *world) soundServer(t *testing.T, id string) (pid int) {
	t.Helper()
	pid = int(w.inspect(t, id).GetPids().GetInit())
	socket := fmt.Sprintf("/proc/%d/root/tmp/runtime/pulse.sock", pid)
	eventually(t, 30*time.Second, "the session's sound server", func() error { _, err := os.Stat(socket); return err })
	return pid
}

// What plays in the container is heard in the browser, at its pitch, as long as the artist wants it.
func TestSoundOfASessionIsHeard(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	now, pid := heardIn(p), w.soundServer(t, s.ID)
	end := playTone(t, pid, 440)
	hearsTone(t, now, 440)
	hearButton(t, p)
	eventually(t, 15*time.Second, "it is off", func() error {
		off, err := browser.Eval[bool](p, 15*time.Second, `document.getElementById("sound").srcObject === null && document.getElementById("hear").getAttribute("aria-pressed") === "false"`)
		if err == nil && !off {
			err = errors.New("the page still plays")
		}
		return err
	})
	hearButton(t, p)
	hearsTone(t, now, 440)
	end()
	hearsTone(t, now, 0)
	end = playTone(t, pid, 1000)
	hearsTone(t, now, 1000)
	end()
}

// hearButton presses the strip's button for the sound.
func hearButton(t *testing.T, p *browser.Page) {
	t.Helper()
	must(t, p.Do(`document.getElementById("hear").click()`))
}

// A guest hears the session as the owner does, and turns it off for itself alone.
func TestGuestHearsTheSession(t *testing.T) {
	w := get(t)
	s := w.session(t)
	owner := w.view(t, s.ID, "scale=1&size=1280x720", browser.PageOptions{Width: 1280, Height: 720, Window: true, Script: bare})
	t.Cleanup(func() { must(t, owner.Do("localStorage.removeItem('easel.sound')")) }) // the other tests' pages share it
	guest := w.comeIn(t, makeLink(t, owner, "view", "for Vi"), "Vi")
	must(t, guest.Until(30*time.Second, `!document.getElementById("hear").hidden`))
	defer playTone(t, w.soundServer(t, s.ID), 440)()
	hearsTone(t, heardIn(owner), 440)
	hearsTone(t, heardIn(guest), 440)
	hearButton(t, guest)
	hearsTone(t, heardIn(guest), 0)
	hearsTone(t, heardIn(owner), 440)
	hearButton(t, owner)
	hearsTone(t, heardIn(owner), 0)
	hearButton(t, guest)
	hearsTone(t, heardIn(guest), 440)
	hearsTone(t, heardIn(owner), 0)
}

// children are the processes of a name that a process has started, by their ids on this machine.
func children(pid int, name string) (found []int32, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // each thread has its own
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if err != nil {
			return nil, err
		}
		for _, word := range strings.Fields(string(b)) {
			id, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", id)); err == nil && strings.TrimSpace(string(comm)) == name {
				found = append(found, int32(id))
			}
		}
	}
	return found, nil
}

// A sound server that is killed is started again, and what plays then is heard in the page that was there before.
func TestSoundComesBackAfterItsServerIsKilled(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	now, init := heardIn(p), w.soundServer(t, s.ID)
	end := playTone(t, init, 440)
	hearsTone(t, now, 440)
	before, err := children(init, "pulseaudio")
	if err != nil || len(before) != 1 {
		t.Fatalf("the session's sound servers are %v, %v", before, err)
	}
	must(t, killPID(before[0]))
	end()
	hearsTone(t, now, 0)
	eventually(t, 60*time.Second, "another sound server", func() error {
		after, err := children(init, "pulseaudio")
		if err == nil && (len(after) != 1 || after[0] == before[0]) {
			err = fmt.Errorf("there are %v", after)
		}
		if err != nil {
			return err
		}
		ask := exec.CommandContext(t.Context(), "pactl", "--server="+pulseOf(init), "info")
		ask.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_RUNTIME_DIR="+t.TempDir())
		if out, err := ask.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	end = playTone(t, init, 1000)
	hearsTone(t, now, 1000)
	end()
	eventually(t, 30*time.Second, "a session that lacks nothing of its sound", func() error {
		if d := strings.Join(w.inspect(t, s.ID).GetDegraded(), "; "); strings.Contains(d, "sound") {
			return errors.New(d)
		}
		return nil
	})
}

// deskSound runs a sound server for the artist's computer, without a card, and returns what programs find it by.
func deskSound(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "pulse.sock")
	pa := exec.Command("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--high-priority=no", "--realtime=no", "--log-target=stderr", "--log-level=error",
		"--load=module-null-sink", "--load=module-native-protocol-unix auth-anonymous=1 socket="+socket)
	pa.Env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
	pa.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := pa.Start(); err != nil {
		t.Fatalf("start PulseAudio (Debian package pulseaudio): %v", err)
	}
	t.Cleanup(func() {
		_ = pa.Process.Kill()
		_ = pa.Wait()
	})
	eventually(t, 30*time.Second, "the desk's sound server", func() error { _, err := os.Stat(socket); return err })
	return []string{"PULSE_SERVER=unix:" + socket}
}

// Debian's Firefox hears it as well, and no more once it is turned off.
func TestSoundOfASessionIsHeardInFirefox(t *testing.T) {
	w := get(t)
	s := w.session(t)
	f, err := browser.StartFirefox(t.Context(), deskSound(t)...)
	w.showsIn(t, s.ID, f, err, "", "window.easel?.state === 'connected' && !document.querySelector('#hear').hidden")
	now := func() (v []float64, err error) { return v, f.Eval(t.Context(), earJS, &v) }
	defer playTone(t, w.soundServer(t, s.ID), 440)()
	hearsTone(t, now, 440)
	var done bool
	if err := f.Eval(t.Context(), `document.getElementById("hear").click()`, &done); err != nil {
		t.Fatal(err)
	}
	hearsTone(t, now, 0)
	if err := f.Eval(t.Context(), `document.getElementById("hear").click()`, &done); err != nil {
		t.Fatal(err)
	}
	hearsTone(t, now, 440)
}
