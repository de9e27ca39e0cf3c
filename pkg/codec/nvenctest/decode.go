package nvenctest

import (
	"bytes"
	"context"
	"os/exec"
	"testing"
	"time"
)

// Decode has ffmpeg decode a stream of H.264 with start codes, and returns its pictures' planes one after the other: Y, U and V, packed.
func Decode(t testing.TB, stream []byte, pixels string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	ffmpeg := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-xerror", "-f", "h264", "-i", "-", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "-")
	ffmpeg.Stdin, ffmpeg.Stdout, ffmpeg.Stderr = bytes.NewReader(stream), &out, &errs
	if err := ffmpeg.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("decode %d bytes of H.264 by ffmpeg: %v\n%s", len(stream), err, errs.Bytes())
	}
	return out.Bytes()
}
