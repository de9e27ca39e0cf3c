package main

import (
	"bytes"
	"context"
	"encoding/json"
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

func TestProbeEncodesOnePicture(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), []string{"probe"}, strings.NewReader(""), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var p probed
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if !p.OK || p.Codec != "H264" || p.MS <= 0 || p.Error != "" || !slices.Equal(p.Chroma, []string{"4:2:0", "4:4:4"}) {
		t.Fatalf("probe says %+v", p)
	}
	if p.Decoder != "ffmpeg" || p.PSNR < 33 {
		t.Fatalf("the decoded picture: %+v", p)
	}
	if len(p.Formats) != len(codec.SoftwareFormats()) {
		t.Errorf("%d formats were tried", len(p.Formats))
	}
	for _, f := range p.Formats {
		if f.Error != "" || f.Decoder == "" || f.PSNR < 33 || f.MS <= 0 {
			t.Errorf("a format: %+v", f)
		}
	}
}

// A format whose encoder fails its proof is not made, and the others are.
func TestFormatThatFailsItsProofIsNotMade(t *testing.T) {
	c := newSoftware(1)
	c.prove = func(f codec.Format) error {
		if f == codec.VP9 {
			return errors.New("grey")
		}
		return codec.Prove(f)
	}
	for _, f := range codec.SoftwareFormats() {
		e, err := c.Open(image.Pt(320, 240), stream.Coding{Format: stream.Format(f)}, stream.Quality{Factor: 23, Kbps: 5000, BufferMS: 50}, nil)
		if bad := f == codec.VP9; (err != nil) != bad || c.Makes(stream.Format(f)) == bad {
			t.Errorf("%s: %v; it is made: %v", f, err, c.Makes(stream.Format(f)))
		}
		if err == nil {
			e.Close()
		}
	}
}

func TestProbeProvesNVENC(t *testing.T) {
	d := nvenctest.Build(t)
	ask := func(device string) (probed, error) {
		var out bytes.Buffer
		err := run(context.Background(), []string{"probe", "--encoder", "nvenc", "--device", device, "--libraries", d.Libraries}, strings.NewReader(""), &out, io.Discard)
		var p probed
		if jerr := json.Unmarshal(out.Bytes(), &p); jerr != nil {
			t.Fatalf("%v: %q (%v)", jerr, out.Bytes(), err)
		}
		return p, err
	}
	p, err := ask(nvenctest.Other)
	if err != nil || !p.OK || p.Encoder != "NVENC (Double of another card)" || !slices.Equal(p.Chroma, []string{"4:2:0", "4:4:4"}) || !slices.Equal(p.Codecs, []string{"H264", "HEVC"}) {
		t.Errorf("a card that can: %+v (%v)", p, err)
	}
	if p.Decoder != "ffmpeg" || p.PSNR < 33 {
		t.Errorf("the decoded picture: %+v", p)
	}
	d.Fault("no_engine", 1)
	p, err = ask(nvenctest.Card)
	if !errors.Is(err, codec.ErrNoEngine) || p.OK || !strings.Contains(p.Error, "no encoder engine") {
		t.Errorf("a card that cannot: %+v (%v)", p, err)
	}
	for _, args := range [][]string{{"--encoder", "nvenc"}, {"--encoder", "magic"}, {"--device", nvenctest.Card}, {"--loud"}, {"now"}} {
		if err := run(context.Background(), append([]string{"probe"}, args...), strings.NewReader(""), io.Discard, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("probe %v: %v", args, err)
		}
	}
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
