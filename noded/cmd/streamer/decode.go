package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

const (
	ffmpeg = "ffmpeg"
	// decodeLimit is how long decoding one picture may take.
	decodeLimit = 15 * time.Second
)

var errNoDecoder = errors.New("no decoder is at hand")

// decode has ffmpeg make BGRX of one frame of H.264.
func decode(ctx context.Context, nals [][]byte, size int) ([]byte, error) {
	path, err := exec.LookPath(ffmpeg)
	if err != nil {
		return nil, errNoDecoder
	}
	var stream, out, errs bytes.Buffer
	for _, nal := range nals {
		stream.Write([]byte{0, 0, 0, 1})
		stream.Write(nal)
	}
	ctx, cancel := context.WithTimeout(ctx, decodeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-v", "error", "-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "bgr0", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &stream, &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("decode by ffmpeg: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	if out.Len() != size {
		return nil, fmt.Errorf("decode by ffmpeg: %d bytes of picture, want %d: %s", out.Len(), size, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}
