package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"io"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/codec"
)

// probed is what "streamer probe" prints.
type probed struct {
	Codec   string   `json:"codec"`
	Encoder string   `json:"encoder"`
	Chroma  []string `json:"chroma"` // those that were proven
	OK      bool     `json:"ok"`
	MS      float64  `json:"ms"`               // of one picture of 4:2:0
	Codecs  []string `json:"codecs,omitempty"` // all that the card says it can make
	Decoder string   `json:"decoder,omitempty"`
	PSNR    float64  `json:"psnr,omitempty"` // dB of the worst decoded picture
	Error   string   `json:"error,omitempty"`
}

// probeLimit is how long a frame may take: a host that is busy has an encoder all the same.
const probeLimit = 10 * time.Second

var probeRate = codec.Rate{Quality: 23, Kbps: 20000, BufferMS: 60}

// probe proves an encoder by one 1920x1080 picture, which is decoded where a decoder is at hand, and says how that went.
func probe(ctx context.Context, args []string, stdout io.Writer) error {
	e := contract.Encoder{}
	f := flag.NewFlagSet("probe", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&e.Kind, "encoder", contract.X264, "")
	f.StringVar(&e.Device, "device", "", "")
	f.StringVar(&e.Libraries, "libraries", "", "")
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return errUsage
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("%w\n%w", err, errUsage)
	}
	p := probed{Codec: "H264", Encoder: e.Kind, Chroma: []string{}}
	err := p.prove(ctx, e)
	if err != nil {
		p.Error = err.Error()
	}
	if werr := json.NewEncoder(stdout).Encode(p); werr != nil {
		return werr
	}
	return err
}

// prove tries each chroma that the encoder can make.
func (p *probed) prove(ctx context.Context, e contract.Encoder) error {
	open := func(w, h int, _ codec.Chroma) (codec.Encoder, error) {
		return codec.NewSoftware(codec.Coding{Format: codec.H264}, w, h, encoderThreads(), probeRate)
	}
	chroma := []codec.Chroma{codec.Chroma420}
	if e.Kind == contract.NVENC {
		card, err := codec.OpenNVENC(codec.NVENCOptions{Device: e.Device, Libraries: e.Libraries, FrameLimit: probeLimit})
		if err != nil {
			return err
		}
		defer card.Close()
		can, err := card.Capabilities()
		if err != nil {
			return err
		}
		p.Codecs, chroma = can.Codecs, can.Chroma
		open = func(w, h int, c codec.Chroma) (codec.Encoder, error) {
			return card.NewEncoder(w, h, codec.Colours{Chroma: c}, probeRate)
		}
	}
	for _, c := range chroma {
		if err := p.encodeOne(ctx, c, open); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		p.Chroma = append(p.Chroma, string(c))
	}
	p.OK = true
	return nil
}

func (p *probed) encodeOne(ctx context.Context, chroma codec.Chroma, open func(w, h int, c codec.Chroma) (codec.Encoder, error)) error {
	const w, h = 1920, 1080
	picture, err := codec.NewPictureOf(codec.Colours{Chroma: chroma}, w, h)
	if err != nil {
		return err
	}
	defer picture.Close()
	enc, err := open(w, h, chroma)
	if err != nil {
		return err
	}
	defer enc.Close()
	p.Codec, p.Encoder = enc.Info().Codec, enc.Info().Encoder
	pix := chart(w, h)
	start := time.Now()
	if _, err := picture.Update(pix, w*4, []image.Rectangle{image.Rect(0, 0, w, h)}); err != nil {
		return err
	}
	pkt, err := enc.Encode(picture, codec.FrameOptions{Key: true})
	if err != nil {
		return err
	}
	if !pkt.Key || pkt.Bytes == 0 {
		return fmt.Errorf("the first frame of %d bytes is no keyframe", pkt.Bytes)
	}
	if p.MS == 0 {
		p.MS = float64(time.Since(start).Microseconds()) / 1000
	}
	return p.compare(ctx, pkt, pix)
}

// compare decodes the packet, if there is a decoder, and looks whether it is the picture.
func (p *probed) compare(ctx context.Context, pkt codec.Packet, pix []byte) error {
	got, err := decode(ctx, pkt.Units, len(pix))
	if errors.Is(err, errNoDecoder) {
		return nil
	}
	if err != nil {
		return err
	}
	dB := psnr(got, pix)
	if p.PSNR == 0 || dB < p.PSNR {
		p.PSNR = dB
	}
	p.Decoder = decoder
	if dB < leastPSNR {
		return fmt.Errorf("the decoded picture is at %.1f dB of what was encoded, want %d", dB, leastPSNR)
	}
	return nil
}
