package main

import (
	"encoding/json"
	"fmt"
	"image"
	"io"
	"time"

	"easel/noded/stream"
)

// probed is what "streamer probe" prints.
type probed struct {
	Codec   string  `json:"codec"`
	Encoder string  `json:"encoder"`
	OK      bool    `json:"ok"`
	MS      float64 `json:"ms"`
	Error   string  `json:"error,omitempty"`
}

// probe encodes one 1920x1080 picture and says how that went.
func probe(stdout io.Writer) error {
	p, err := encodeOne()
	if err != nil {
		p.Error = err.Error()
	}
	if werr := json.NewEncoder(stdout).Encode(p); werr != nil {
		return werr
	}
	return err
}

func encodeOne() (probed, error) {
	const w, h = 1920, 1080
	p := probed{Codec: "H264", Encoder: "x264 (software)"}
	enc, err := x264Codec{threads: encoderThreads()}.Open(image.Pt(w, h), stream.Quality{Factor: 23, Kbps: 20000, BufferMS: 60})
	if err != nil {
		return p, err
	}
	defer enc.Close()
	p.Codec, p.Encoder = enc.Info().Codec, enc.Info().Encoder
	pix := make([]byte, w*h*4)
	for i := range pix {
		pix[i] = byte(i ^ i>>11)
	}
	start := time.Now()
	if _, err := enc.Update(pix, w*4, []image.Rectangle{image.Rect(0, 0, w, h)}); err != nil {
		return p, err
	}
	pkt, err := enc.Encode(true, 0)
	if err != nil {
		return p, err
	}
	if !pkt.Key || pkt.Bytes == 0 {
		return p, fmt.Errorf("the first frame of %d bytes is no keyframe", pkt.Bytes)
	}
	p.OK, p.MS = true, float64(time.Since(start).Microseconds())/1000
	return p, nil
}
