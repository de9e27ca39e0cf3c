package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"easel/noded/stream/contract"
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
	if !p.OK || p.Codec != "H264" || p.MS <= 0 || p.Error != "" {
		t.Fatalf("probe says %+v", p)
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
