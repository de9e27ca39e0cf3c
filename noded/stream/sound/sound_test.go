package sound

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/codec/opus"

	"github.com/pion/webrtc/v4"
	"golang.org/x/sys/unix"
)

func encoder() (Encoder, error) { return opus.NewEncoder() }

// A session that writes without end is read no faster than sound is.
func TestFloodOfSoundIsReadAtItsOwnPace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audio.pipe")
	if err := unix.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	s := New(encoder, contract.Policy{}, func() (io.ReadCloser, error) { return OpenPipe(dir, "audio.pipe", uint32(os.Getuid())) }, func(bool) {}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	out := &Out{}
	track, err := webrtc.NewTrackLocalStaticRTP(Format.RTPCodecCapability, "sound", "test")
	if err != nil {
		t.Fatal(err)
	}
	out.track = track
	s.Listen(out, true)
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
	if most := maxStale + 128<<10 + int((took+2*maxAhead).Seconds()*sampleRate*4); wrote > most {
		t.Errorf("%d bytes were read in %v, want %d at most", wrote, took, most)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Fatal("it still reads")
	}
}
