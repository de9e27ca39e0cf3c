package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"easel/integration/xclient"
	"easel/noded/stream/contract"

	"github.com/jezek/xgb/xproto"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

// apart in the environment has this program be a streamer, whose configuration is its standard input: so the processor time that it takes can be told
// from that of its viewers.
const apart = "EASEL_TEST_STREAMER"

func TestMain(m *testing.M) {
	if os.Getenv(apart) == "" {
		os.Exit(m.Run())
	}
	cfg, err := contract.ReadConfig(os.Stdin)
	if err == nil {
		err = Run(context.Background(), cfg, Encoding{Codecs: []Codec{testCodec{}}, Room: UsualRoom()}, testSound, slog.New(slog.DiscardHandler))
	}
	fmt.Fprintln(os.Stderr, "streamer:", err)
	os.Exit(1)
}

// startSessionApart starts a session whose streamer is a process of its own.
func startSessionApart(b *testing.B) (*session, *os.Process) {
	b.Helper()
	s := newSession(b, "127.0.0.1")
	cfg, err := json.Marshal(s.cfg)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stdin, cmd.Stderr = append(os.Environ(), apart+"=1"), bytes.NewReader(cfg), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed is how it ends
		s.client.CloseIdleConnections()
	})
	s.listens(b)
	return s, cmd.Process
}

// spent is how much processor time a process has taken.
func spent(b *testing.B, p *os.Process) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const tick = 10 * time.Millisecond
	var all time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		all += time.Duration(n) * tick
	}
	return all
}

// reporting connects a viewer that takes tiles and reports what comes by transport-wide feedback, as browsers do.
func reporting(b *testing.B, s *session, who contract.Viewer) *tileViewer {
	b.Helper()
	v := &tileViewer{}
	v.viewer = newViewerOf(b, func(*webrtc.SettingEngine) {}, func(me *webrtc.MediaEngine, r *interceptor.Registry) error {
		return webrtc.ConfigureTWCCSender(me, r)
	}, v.reads(b))
	v.arrived = make(chan struct{}, 1)
	if code, body := v.offer(b, s, "/whep", who); code != http.StatusCreated {
		b.Fatalf("WHEP: %d %s", code, body)
	}
	s.await(b, "the control channel", func() bool { return v.control.ReadyState() == webrtc.DataChannelStateOpen })
	pictured(b, s, v.viewer)
	s.await(b, "an exact picture", func() bool { got, _, err := v.exact(); return err == nil && got != nil })
	return v
}

// BenchmarkGuests paints, by tiles, and scrolls, by video, at 60 Hz for an owner and some guests: processors that the streamer takes, and how long after it was
// drawn a picture is with the owner. Compare runs of one hour only.
func BenchmarkGuests(b *testing.B) {
	for _, kind := range []string{"paint", "scroll"} {
		for _, guests := range []int{0, 1, 4, 8} {
			b.Run(fmt.Sprintf("%s/%d", kind, guests), func(b *testing.B) { benchGuests(b, kind, guests) })
		}
	}
}

func benchGuests(b *testing.B, kind string, guests int) {
	s, streamer := startSessionApart(b)
	a := newArtist(b, s.x)
	s.ready(b)
	const width, height = 1280, 720
	page, err := xproto.NewPixmapId(a.xc)
	if err != nil {
		b.Fatal(err)
	}
	if err := xproto.CreatePixmapChecked(a.xc, 24, page, xproto.Drawable(a.root), width, 2*height).Check(); err != nil {
		b.Fatal(err)
	}
	a.put(b, xproto.Drawable(page), image.Rect(0, 0, width, 2*height), xclient.Photograph(width, 2*height, 1))
	draw := func(i int) {
		if kind == "paint" {
			x, y := 100+i*7%1000, 100+i*3%500
			a.fill(b, image.Rect(x, y, x+24, y+24), uint32(i*654321))
			return
		}
		err := xproto.CopyAreaChecked(a.xc, xproto.Drawable(page), xproto.Drawable(a.root), a.gc, 0, int16(i*4%height), 0, 0, width, height).Check()
		if err != nil {
			b.Fatal(err)
		}
	}
	owner := reporting(b, s, contract.Owner)
	all := []*tileViewer{owner}
	for i := range guests {
		all = append(all, reporting(b, s, guest(i, contract.RoleView)))
	}
	for i := range 120 { // the rate finds what the way carries
		draw(i)
		time.Sleep(time.Second / 60)
	}
	var ages []time.Duration
	before, began := spent(b, streamer), time.Now()
	frames, tiles := owner.both()
	given := 0
	for _, v := range all[1:] {
		f, t := v.both()
		given -= f + t
	}
	b.ResetTimer()
	for i := range b.N {
		select { // what came before does not count
		case <-owner.arrived:
		default:
		}
		next := began.Add(time.Duration(i+1) * time.Second / 60)
		drawn := time.Now()
		draw(i)
		select {
		case <-owner.arrived:
			ages = append(ages, time.Since(drawn))
		case <-time.After(time.Second):
		}
		time.Sleep(time.Until(next))
	}
	took := time.Since(began)
	b.ReportMetric((spent(b, streamer)-before).Seconds()/took.Seconds(), "cores")
	if slices.Sort(ages); len(ages) > 0 {
		b.ReportMetric(ages[len(ages)/2].Seconds()*1000, "age-p50-ms")
		b.ReportMetric(ages[len(ages)*95/100].Seconds()*1000, "age-p95-ms")
	}
	f, t := owner.both()
	b.ReportMetric(float64(f+t-frames-tiles)/took.Seconds(), "owner/s")
	for _, v := range all[1:] {
		f, t := v.both()
		given += f + t
	}
	if guests > 0 {
		b.ReportMetric(float64(given)/float64(guests)/took.Seconds(), "guest/s")
	}
	b.ReportMetric(0, "ns/op")
}

// both is how many frames and messages of tiles have come.
func (v *tileViewer) both() (frames, tiles int) {
	frames, _ = v.count()
	v.mu.Lock()
	defer v.mu.Unlock()
	return frames, int(v.screen.N)
}
