package stream

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
	"easel/pkg/codec/opus"

	"golang.org/x/sys/unix"
)

// soundFrame is a frame of sound as programs write it, in bytes.
const soundFrame = opus.Frame * opus.Channels * 2

// player is a program of the session's that plays what it is given, frame by frame, and asks for little latency.
type player struct {
	in     *os.File
	frames *time.Ticker
}

func newPlayer(b *testing.B, server string) *player {
	b.Helper()
	play := exec.Command("pacat", "--playback", "--raw", "--format=s16le", "--rate=48000", "--channels=2", "--latency-msec=20")
	play.Env = append(os.Environ(), "PULSE_SERVER="+server)
	out, in, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	play.Stdin = out
	// What waits in the pipe is no latency of ours: it holds a frame.
	_, err = unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err == nil {
		err = play.Start()
	}
	_ = out.Close()
	if err != nil {
		b.Fatal(err)
	}
	p := &player{in, time.NewTicker(20 * time.Millisecond)}
	b.Cleanup(func() {
		p.frames.Stop()
		_ = in.Close()
		_ = play.Process.Kill()
		_ = play.Wait() // killed is how it ends
	})
	return p
}

// write gives the program a frame at the pace of sound, and says when.
func (p *player) write(b *testing.B, frame []byte) time.Time {
	<-p.frames.C
	if _, err := p.in.Write(frame); err != nil {
		b.Fatal(err)
	}
	return time.Now()
}

// rest plays so much silence that nothing is sent of its end.
func (p *player) rest(b *testing.B) { p.plays(b, silence, 20*len(silence)) }

// beep plays a beep, and says when.
func (p *player) beep(b *testing.B) time.Time { return p.write(b, tone[:soundFrame]) }

// plays plays some bytes of what repeats itself.
func (p *player) plays(b *testing.B, what []byte, n int) {
	for at := 0; at < n; at += soundFrame {
		p.write(b, what[at%len(what):][:soundFrame])
	}
}

// silence is a frame of it, and tone a second.
var silence, tone = make([]byte, soundFrame), toneBytes(1000, 1)

// quantiles reports the middle and the slow end of some times, and returns the first.
func quantiles(b *testing.B, name string, took []time.Duration) time.Duration {
	b.Helper()
	if len(took) == 0 {
		b.Fatalf("%s: nothing was measured", name)
	}
	slices.Sort(took)
	p50, p95 := took[len(took)/2], took[len(took)*95/100]
	b.ReportMetric(millis(p50), name+"-p50-ms")
	b.ReportMetric(millis(p95), name+"-p95-ms")
	return p50
}

// How long a beep takes from the program that plays it, by PulseAudio, the streamer and loopback, to a viewer that has decoded it.
func BenchmarkSoundLatency(b *testing.B) {
	s := startSession(b)
	server := soundServer(b, s.cfg.EdgeDir)
	s.ready(b)
	v := connectSound(b, s)
	s.await(b, "word that there is sound", func() bool { m := v.heard("audio"); return m != nil && m["on"] == true })
	v.say(b, `{"t":"audio","on":true}`)
	p := newPlayer(b, server)
	var took []time.Duration
	for b.Loop() {
		p.rest(b)
		for len(v.loud) > 0 {
			<-v.loud
		}
		at := p.beep(b)
		for heard := false; !heard; {
			select {
			case when := <-v.loud:
				took, heard = append(took, when.Sub(at)), true
			default:
				p.write(b, silence)
			}
			if time.Since(at) > 30*time.Second {
				b.Fatal("a beep was not heard")
			}
		}
	}
	quantiles(b, "decoded", took)
}

// listening listens to what the page plays, as it is handed to the browser's output: when each sound begins, after silence.
const listening = `(() => {
  const [track] = document.getElementById("sound").srcObject.getAudioTracks();
  const reader = new MediaStreamTrackProcessor({track}).readable.getReader();
  window.begun = [];
  let silent = true;
  (async () => {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      const at = performance.timeOrigin + performance.now();
      const pcm = new Float32Array(value.numberOfFrames);
      value.copyTo(pcm, {planeIndex: 0, format: "f32-planar"});
      const first = pcm.findIndex((v) => Math.abs(v) > 0.05);
      if (first >= 0 && silent) window.begun.push(at + first / value.sampleRate * 1000);
      silent = first < 0;
      value.close();
    }
  })();
  return 0;
})()`

// hears waits until a page listens to the session.
func hears(b *testing.B, p *browser.Page) {
	b.Helper()
	if err := p.Until(time.Minute, "document.getElementById('sound').srcObject !== null && !document.getElementById('sound').paused"); err != nil {
		b.Fatal(err)
	}
}

// How long a beep takes from the program that plays it until Chromium hands it to its output, by the page that ships; the sound card comes on top.
func BenchmarkSoundLatencyInChromium(b *testing.B) {
	s := startSession(b)
	server := soundServer(b, s.cfg.EdgeDir)
	s.ready(b)
	page := show(b, s, "size=1280x720")
	hears(b, page)
	if err := page.Do(listening); err != nil {
		b.Fatal(err)
	}
	p := newPlayer(b, server)
	var at []time.Time
	for b.Loop() {
		p.rest(b)
		at = append(at, p.beep(b))
	}
	p.plays(b, silence, 100*len(silence))
	begun, err := browser.Eval[[]float64](page, 30*time.Second, "window.begun")
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for _, began := range begun {
		heard := time.UnixMicro(int64(began * 1000))
		i, _ := slices.BinarySearchFunc(at, heard, time.Time.Compare)
		if i > 0 {
			took = append(took, heard.Sub(at[i-1]))
		}
	}
	if len(took) < len(at)*9/10 {
		b.Fatalf("of %d beeps %d were heard", len(at), len(took))
	}
	quantiles(b, "played", took)
}

// What a sound does to the picture's age: half of the time a tone plays, half of it none, in turn, while something is painted or scrolled.
func BenchmarkPictureBesideSound(b *testing.B) {
	for _, kind := range []xclient.Kind{xclient.Paint, xclient.Scroll} {
		b.Run(string(kind), func(b *testing.B) {
			s, streamer := startSessionApart(b)
			server := soundServer(b, s.cfg.EdgeDir)
			s.ready(b)
			page := show(b, s, "size=1280x720")
			hears(b, page)
			p := newPlayer(b, server)
			m := plays(b, s, kind)
			const part = 3 * time.Second
			var cores [2]time.Duration
			for b.Loop() {
				for i, what := range [2][]byte{silence, tone} {
					before := spent(b, streamer)
					m.watch(b, page, i, part, func() { p.plays(b, what, int(part.Seconds()*50)*soundFrame) })
					cores[i] += spent(b, streamer) - before
				}
			}
			m.report(b, "without", "with")
			for i, name := range []string{"without", "with"} {
				b.ReportMetric(cores[i].Seconds()/(part.Seconds()*float64(b.N)), name+"-cores")
			}
		})
	}
}

// What a session costs in which nothing moves, by who listens and what plays: processors of the streamer, and packets of sound in a second.
func BenchmarkIdleSound(b *testing.B) {
	s, streamer := startSessionApart(b)
	server := soundServer(b, s.cfg.EdgeDir)
	s.ready(b)
	page := show(b, s, "size=1280x720")
	hears(b, page)
	packets := func() float64 {
		n, err := browser.Eval[float64](page, 10*time.Second, `__probe.sounds()`)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	measure := func(name string, during func(frames int)) {
		const seconds = 10
		before, had := spent(b, streamer), packets()
		during(seconds * 50)
		b.ReportMetric((spent(b, streamer)-before).Seconds()/seconds, name+"-cores")
		b.ReportMetric((packets()-had)/seconds, name+"-packets/s")
	}
	if err := page.Until(time.Minute, "window.easel.stats().exact"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		measure("no-player", func(frames int) { time.Sleep(time.Duration(frames) * 20 * time.Millisecond) })
		p := newPlayer(b, server)
		p.plays(b, silence, 50*soundFrame)
		measure("silent-player", func(frames int) { p.plays(b, silence, frames*soundFrame) })
		measure("tone", func(frames int) { p.plays(b, tone, frames*soundFrame) })
	}
	b.ReportMetric(0, "ns/op")
}
