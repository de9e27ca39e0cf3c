package main

import (
	"errors"
	"fmt"
	"image"
	"time"

	"easel/noded/stream"
	"easel/noded/stream/contract"
	"easel/pkg/codec"
)

// driverPatience is how long a viewer's first picture waits for a driver that is still starting; the driver had time since the streamer began.
const driverPatience = 5 * time.Second

var errStarting = errors.New("NVIDIA's driver is still starting")

// nvencCodec gives the stream NVENC. The driver starts beside everything else, as it takes its time.
type nvencCodec struct {
	started chan struct{} // closed when device or err is there
	device  *codec.NVENC
	err     error
	failed  map[stream.Format]error
}

func startNVENC(e contract.Encoder, failed []contract.FailedEncoder) *nvencCodec {
	c := &nvencCodec{started: make(chan struct{}), failed: failures(failed, contract.NVENC)}
	go func() {
		defer close(c.started)
		c.device, c.err = codec.OpenNVENC(codec.NVENCOptions{Device: e.Device, Libraries: e.Libraries})
	}()
	return c
}

// Makes counts what failed the proof too: that the processor stands in is to be seen.
func (*nvencCodec) Makes(f stream.Format) bool { return f == stream.H264 || f == stream.H264444 }

func (c *nvencCodec) Open(size image.Point, what stream.Coding, q stream.Quality, from stream.Encoder) (stream.Encoder, error) {
	if err := c.failed[what.Format]; err != nil {
		return nil, err
	}
	timer := time.NewTimer(driverPatience)
	defer timer.Stop()
	select {
	case <-c.started:
	case <-timer.C:
		return nil, fmt.Errorf("open NVENC: %w", errStarting)
	}
	if c.err != nil {
		return nil, c.err
	}
	return openEncoder(size, what, from, func(video image.Point) (codec.Encoder, error) {
		return c.device.NewEncoder(video.X, video.Y, codingOf(what).Colours(), rateOf(q))
	})
}

// close waits for the driver, which starts within a deadline, and lets it go.
func (c *nvencCodec) close() {
	<-c.started
	if c.device != nil {
		c.device.Close()
	}
}
