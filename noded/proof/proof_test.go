package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

// rig is a node whose streamer the test plays.
type rig struct {
	t       *testing.T
	dir     string
	options Options

	mu     sync.Mutex
	asked  []string                                   // formats, cards' with "nvenc/" before
	answer map[string]func() (contract.Probed, error) // by what was asked; what is not there is proven
	hang   map[string]bool
	cards  gpu.Inventory
	news   chan struct{}
}

const card = "GPU-1"

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir(), answer: map[string]func() (contract.Probed, error){}, hang: map[string]bool{}, news: make(chan struct{})}
	for _, name := range []string{"streamer", "libx264.so"} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.options = Options{
		Streamer: filepath.Join(r.dir, "streamer"), Probe: r.probe, Cards: r, Cache: filepath.Join(r.dir, "encoders.json"), Host: "host", Log: slog.New(slog.DiscardHandler),
	}
	return r
}

func (r *rig) Inventory() gpu.Inventory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cards
}

func (r *rig) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

func (r *rig) insert() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cards = gpu.Inventory{Cards: []gpu.Card{{UUID: card, Engines: gpu.Engines{Encode: []string{"h264"}}}, {UUID: "GPU-2"}}}
	close(r.news)
	r.news = make(chan struct{})
}

// probe answers as `streamer probe` does.
func (r *rig) probe(ctx context.Context, args ...string) ([]byte, error) {
	format := args[len(args)-1]
	name, kind := format, contract.X264
	if slices.Contains(args, "nvenc") {
		name, kind = "nvenc/"+format, contract.NVENC
	}
	r.mu.Lock()
	r.asked = append(r.asked, name)
	answer, hang := r.answer[name], r.hang[name]
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p := contract.Probed{
		Kind: kind, OK: true, Formats: []contract.ProbedFormat{{Format: format, Encoder: "an encoder", Decoder: "a decoder", PSNR: 40, Worst: 2, MS: 3}},
		Libraries: []string{filepath.Join(r.dir, "libx264.so")},
	}
	var err error
	if answer != nil {
		p, err = answer()
	}
	b, merr := json.Marshal(p)
	if merr != nil {
		r.t.Fatal(merr)
	}
	return b, err
}

func (r *rig) takeAsked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

// start runs a noded's life, within a bubble, until every encoder was tried.
func (r *rig) start() *Prover {
	r.t.Helper()
	p := New(r.options)
	ctx, end := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	r.t.Cleanup(func() { end(); <-done })
	synctest.Wait()
	return p
}

func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func fails(format, why string) func() (contract.Probed, error) {
	return func() (contract.Probed, error) {
		return contract.Probed{Kind: contract.X264, Error: why, Formats: []contract.ProbedFormat{{Format: format, Error: why}}}, Fault{errors.New("exit status 1")}
	}
}

func TestEncodersAreProvenOnceAndRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t)
		p := r.start()
		if asked := r.takeAsked(); !slices.Equal(asked, contract.SoftwareFormats()) {
			t.Errorf("%v were asked", asked)
		}
		if failed, troubles := p.Failed(t.Context(), ""), p.Troubles(); len(failed) > 0 || len(troubles) > 0 {
			t.Errorf("failed %v, troubles %q", failed, troubles)
		}
		for i, one := range p.Proofs() {
			if !one.Proven() || one.Cached || one.Format != contract.SoftwareFormats()[i] || one.PSNR != 40 {
				t.Errorf("a proof is %+v", one)
			}
		}
		again := r.start()
		if asked := r.takeAsked(); len(asked) > 0 {
			t.Errorf("the second start asks %v", asked)
		}
		for _, one := range again.Proofs() {
			if !one.Proven() || !one.Cached {
				t.Errorf("a proof of before is %+v", one)
			}
		}
		// Whatever a proof depends on makes the next start prove again.
		for name, change := range map[string]func(){
			"a library":    func() { r.write("libx264.so", "another") },
			"the streamer": func() { r.write("streamer", "another") },
			"the host":     func() { r.options.Host = "another host" },
			"no library":   func() { _ = os.Remove(filepath.Join(r.dir, "libx264.so")) },
			"a torn cache": func() { r.write("encoders.json", `{"x264//h264":{"key":`) },
			"a false one": func() {
				r.write("encoders.json", `{"x264//h264":{"key":"00","libraries":["/dev/zero"],"proof":{"format":"h264"}}}`)
			},
		} {
			change()
			r.start()
			if asked := r.takeAsked(); len(asked) != len(contract.SoftwareFormats()) {
				t.Errorf("%s has changed, and %v are asked", name, asked)
			}
		}
	})
}

func (r *rig) write(name, text string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Error(err)
	}
}

func TestWhatFailsIsNotUsedAndTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t)
		r.answer["vp9"] = fails("vp9", "all is grey")
		r.answer["av1"] = func() (contract.Probed, error) {
			return contract.Probed{}, Fault{errors.New("signal: segmentation fault")}
		}
		r.hang["av1-444"] = true
		r.answer["h264"] = func() (contract.Probed, error) {
			return contract.Probed{Kind: contract.X264, OK: true, Formats: []contract.ProbedFormat{{Format: "h264", Encoder: "x264", Unseen: "libavcodec.so.59: cannot open"}}}, nil
		}
		r.answer["h264-444"] = func() (contract.Probed, error) { return contract.Probed{}, errors.New("fork: try again") }
		p := r.start()
		time.Sleep(limit)
		synctest.Wait()
		var failed []string
		for _, f := range p.Failed(t.Context(), "") {
			failed = append(failed, f.Kind+" "+f.Format+" "+f.Why)
		}
		if want := []string{"x264 vp9 all is grey", "x264 av1 signal: segmentation fault", "x264 av1-444 no answer within 1m0s"}; !slices.Equal(failed, want) {
			t.Errorf("failed are %q, want %q", failed, want)
		}
		troubles := strings.Join(p.Troubles(), "\n")
		for _, want := range []string{"not offered, as they failed their proof: vp9: all is grey", "--reinstall easel-node", "offered, but not proven: h264: libavcodec.so.59: cannot open; h264-444: fork"} {
			if !strings.Contains(troubles, want) {
				t.Errorf("the troubles do not say %q:\n%s", want, troubles)
			}
		}
		if got, want := gather(t, p), map[string]float64{"h264": 0, "h264-444": 0, "vp9": 0, "vp9-444": 1, "av1": 0, "av1-444": 0}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the metrics say %v, want %v", got, want)
		}
		r.takeAsked()
		r.mu.Lock()
		r.answer, r.hang = map[string]func() (contract.Probed, error){}, map[string]bool{}
		r.mu.Unlock()
		time.Sleep(2 * retry)
		synctest.Wait()
		if asked := r.takeAsked(); len(asked) != 5 || slices.Contains(asked, "vp9-444") {
			t.Errorf("after a while %v are asked", asked)
		}
		if failed, troubles := p.Failed(t.Context(), ""), p.Troubles(); len(failed) > 0 || len(troubles) > 0 {
			t.Errorf("after they were mended, failed %v, troubles %q", failed, troubles)
		}
	})
}

// What goes on failing is tried ever more rarely.
func TestRetriesRest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t)
		for _, f := range contract.SoftwareFormats() {
			r.answer[f] = fails(f, "no x264")
		}
		p := r.start()
		if text := strings.Join(p.Troubles(), "\n"); !strings.Contains(text, "none works on this node") || !strings.Contains(text, "VNC") || !strings.Contains(text, "--reinstall") {
			t.Errorf("without any encoder the node says %q", text)
		}
		if n := len(p.Failed(t.Context(), "")); n != len(contract.SoftwareFormats()) {
			t.Errorf("%d failed", n)
		}
		r.takeAsked()
		time.Sleep(24 * time.Hour)
		if n := len(r.takeAsked()) / len(contract.SoftwareFormats()); n < 24 || n > 32 {
			t.Errorf("tried %d times in a day", n)
		}
	})
}

// A session waits for what is being proven, and not for ever.
func TestSessionWaitsForTheProof(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t)
		r.answer["vp9"] = fails("vp9", "grey")
		r.hang["av1"] = true
		p := New(r.options)
		first := make(chan []contract.FailedEncoder, 1)
		began := time.Now()
		go func() { first <- p.Failed(t.Context(), "") }()
		synctest.Wait()
		select {
		case f := <-first:
			t.Fatalf("nobody waited: %v", f)
		default:
		}
		ctx, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = p.Run(ctx) }()
		if f := <-first; len(f) != 1 || f[0].Format != "vp9" {
			t.Errorf("failed are %v", f)
		}
		if waited := time.Since(began); waited != patience {
			t.Errorf("it waited %v for an encoder that hangs, want %v", waited, patience)
		}
		end()
		<-done
	})
}

func TestCardsAreProvenAsTheyAppear(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t)
		r.options.Library = "/opt/nvidia/libnvidia-ml.so.1"
		r.answer["nvenc/h264-444"] = func() (contract.Probed, error) {
			return contract.Probed{Kind: contract.NVENC, Error: "start CUDA: no permission"}, Fault{errors.New("exit status 1")}
		}
		p := r.start()
		r.takeAsked()
		if f := p.Failed(t.Context(), card); len(f) > 0 {
			t.Errorf("of a card that is not there failed %v", f)
		}
		r.insert()
		synctest.Wait()
		if asked := r.takeAsked(); !slices.Equal(asked, []string{"nvenc/h264", "nvenc/h264-444"}) {
			t.Errorf("%v were asked", asked)
		}
		if f := p.Failed(t.Context(), card); len(f) != 1 || f[0] != (contract.FailedEncoder{Kind: contract.NVENC, Format: "h264-444", Why: "start CUDA: no permission"}) {
			t.Errorf("of the card failed %v", f)
		}
		if f := p.Failed(t.Context(), ""); len(f) > 0 {
			t.Errorf("of the processor failed %v", f)
		}
		if text := strings.Join(p.Troubles(), "\n"); !strings.Contains(text, "encoder of "+card) || !strings.Contains(text, "processor stands in") {
			t.Errorf("the node says %q", text)
		}
		r.mu.Lock()
		r.cards = gpu.Inventory{}
		close(r.news)
		r.news = make(chan struct{})
		r.mu.Unlock()
		synctest.Wait()
		if n := len(p.Proofs()); n != len(contract.SoftwareFormats()) {
			t.Errorf("%d proofs are told after the card was taken away", n)
		}
	})
}

// A card that is divided is asked by its first part, one without an encoder or that is not well by nobody.
func TestCardIsAskedByWhatItHas(t *testing.T) {
	encodes := gpu.Engines{Encode: []string{"h264"}}
	for name, c := range map[string]struct {
		card gpu.Card
		want string
	}{
		"whole":          {gpu.Card{UUID: "GPU-1", Engines: encodes}, "--encoder nvenc --device GPU-1 --libraries /drv"},
		"divided":        {gpu.Card{UUID: "GPU-1", Engines: encodes, MIG: gpu.MIG{Enabled: true}, Instances: []gpu.Instance{{UUID: "MIG-1"}}}, "--encoder nvenc --device MIG-1 --libraries /drv"},
		"without a part": {gpu.Card{UUID: "GPU-1", Engines: encodes, MIG: gpu.MIG{Enabled: true}}, ""},
		"without NVENC":  {gpu.Card{UUID: "GPU-1"}, ""},
		"off the bus":    {gpu.Card{UUID: "GPU-1", Engines: encodes, Faults: []gpu.Fault{{Code: "lost"}}}, ""},
	} {
		if got := strings.Join(CardArguments(c.card, "/drv/libnvidia-ml.so.1"), " "); got != c.want {
			t.Errorf("a card that is %s is asked %q, want %q", name, got, c.want)
		}
	}
}

// gather is the metric of each format.
func gather(t *testing.T, p *Prover) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(p)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "easel_encoder_proven" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "format" {
					out[l.GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
	}
	return out
}
