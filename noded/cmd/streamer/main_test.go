package main

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"easel/noded/stream"
	"easel/noded/stream/contract"
	"easel/pkg/codec"
	"easel/pkg/codec/nvenctest"
)

// probing runs "streamer probe" and reads its answer as noded does.
func probing(t *testing.T, args ...string) (contract.Probed, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(context.Background(), append([]string{"probe"}, args...), strings.NewReader(""), &out, io.Discard)
	p, rerr := contract.ReadProbed(out.Bytes())
	if rerr != nil {
		t.Fatalf("%v: %q (%v)", rerr, out.Bytes(), err)
	}
	return p, err
}

func provenFormats(t *testing.T, p contract.Probed) []string {
	t.Helper()
	var all []string
	for _, f := range p.Formats {
		if f.Error != "" || f.Decoder == "" || f.PSNR < 33 || f.MS <= 0 || f.Unseen != "" {
			t.Errorf("a format: %+v", f)
		}
		all = append(all, f.Format)
	}
	return all
}

func TestProbeProvesEveryEncoderOfTheProcessor(t *testing.T) {
	p, err := probing(t)
	if err != nil || !p.OK || p.Kind != contract.X264 {
		t.Fatalf("probe says %+v (%v)", p, err)
	}
	if got := provenFormats(t, p); !slices.Equal(got, contract.SoftwareFormats()) {
		t.Errorf("%v were tried", got)
	}
	for _, library := range []string{"libx264", "libvpx", "libaom"} {
		if !slices.ContainsFunc(p.Libraries, func(l string) bool { return strings.Contains(l, library) }) {
			t.Errorf("%s is not among the libraries %v", library, p.Libraries)
		}
	}
	if slices.ContainsFunc(p.Libraries, func(l string) bool { return strings.Contains(l, "libavcodec") }) {
		t.Errorf("the decoder is among the encoders' libraries: %v", p.Libraries)
	}
	if p, err = probing(t, "--format", "vp9-444"); err != nil || !p.OK || !slices.Equal(provenFormats(t, p), []string{"vp9-444"}) {
		t.Errorf("probing one says %+v (%v)", p, err)
	}
}

// The names of formats are noded's and the codecs' alike.
func TestFormatsAreTheCodecs(t *testing.T) {
	for i, f := range codec.SoftwareFormats() {
		if contract.SoftwareFormats()[i] != string(f) {
			t.Errorf("format %d is %s here and %s there", i, f, contract.SoftwareFormats()[i])
		}
	}
}

// A format that failed the node's proof is not made by the processor, and the others are.
func TestFormatThatFailedItsProofIsNotMade(t *testing.T) {
	c := newSoftware(1, []contract.FailedEncoder{{Kind: contract.X264, Format: "vp9", Why: "grey"}, {Kind: contract.NVENC, Format: "h264", Why: "no card"}})
	for _, f := range codec.SoftwareFormats() {
		e, err := c.Open(image.Pt(320, 240), stream.Coding{Format: stream.Format(f)}, stream.Quality{Factor: 23, Kbps: 5000, BufferMS: 50}, nil)
		if bad := f == codec.VP9; (err != nil) != bad || c.Makes(stream.Format(f)) == bad {
			t.Errorf("%s: %v; it is made: %v", f, err, c.Makes(stream.Format(f)))
		}
		if err == nil {
			e.Close()
		} else if !strings.Contains(err.Error(), "grey") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestProbeProvesNVENC(t *testing.T) {
	d := nvenctest.Build(t)
	ask := func(device string) (contract.Probed, error) {
		return probing(t, "--encoder", "nvenc", "--device", device, "--libraries", d.Libraries)
	}
	p, err := ask(nvenctest.Other)
	if err != nil || !p.OK || p.Kind != contract.NVENC || !slices.Equal(p.Codecs, []string{"H264", "HEVC"}) {
		t.Errorf("a card that can: %+v (%v)", p, err)
	}
	if got := provenFormats(t, p); !slices.Equal(got, contract.NVENCFormats()) || p.Formats[0].Encoder != "NVENC (Double of another card)" {
		t.Errorf("a card that can: %+v", p)
	}
	d.Fault("no_engine", 1)
	p, err = ask(nvenctest.Card)
	if !errors.Is(err, codec.ErrNoEngine) || p.OK || !strings.Contains(p.Error, "no encoder engine") {
		t.Errorf("a card that cannot: %+v (%v)", p, err)
	}
	for _, args := range [][]string{
		{"--encoder", "nvenc"},
		{"--encoder", "magic"},
		{"--device", nvenctest.Card},
		{"--loud"},
		{"now"},
		{"--format", "theora"},
		{"--encoder", "nvenc", "--device", nvenctest.Card, "--format", "vp9"},
	} {
		if err := run(context.Background(), append([]string{"probe"}, args...), strings.NewReader(""), io.Discard, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("probe %v: %v", args, err)
		}
	}
}

// A card that failed the node's proof is asked for nothing, and says why the processor stands in.
func TestCardThatFailedItsProofEncodesNothing(t *testing.T) {
	d := nvenctest.Build(t)
	c := startNVENC(contract.Encoder{Kind: contract.NVENC, Device: nvenctest.Card, Libraries: d.Libraries},
		[]contract.FailedEncoder{{Kind: contract.NVENC, Format: "h264-444", Why: "it is all green"}})
	defer c.close()
	q := stream.Quality{Factor: 23, Kbps: 5000, BufferMS: 50}
	if _, err := c.Open(image.Pt(320, 240), stream.Coding{Format: stream.H264444}, q, nil); err == nil || !strings.Contains(err.Error(), "all green") {
		t.Errorf("what failed: %v", err)
	}
	e, err := c.Open(image.Pt(320, 240), stream.Coding{Format: stream.H264}, q, nil)
	if err != nil {
		t.Fatalf("what did not: %v", err)
	}
	e.Close()
}

func TestWrongUseIsToldFromFailure(t *testing.T) {
	if err := run(context.Background(), []string{"dance"}, strings.NewReader(""), io.Discard, io.Discard); !errors.Is(err, errUsage) {
		t.Fatalf("an unknown command: %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	log, err := newLog(&out, contract.Config{Session: "s1"})
	if err != nil {
		t.Fatal(err)
	}
	child := log.With("peer", "p1")
	for range 10 * logBurst {
		child.Info("said by the session")
	}
	if n := strings.Count(out.String(), "\n"); n < logBurst || n > 2*logBurst {
		t.Fatalf("%d lines were logged, want about %d", n, logBurst)
	}
	if _, err := newLog(io.Discard, contract.Config{LogLevel: "loud"}); err == nil {
		t.Fatal("an unknown log level was taken")
	}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		t.Fatal("debug is on by default")
	}
}
