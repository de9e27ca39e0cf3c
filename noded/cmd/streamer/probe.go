package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"io"
	"strings"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/codec"
)

// probed is what "streamer probe" prints.
type probed struct {
	Codec   string         `json:"codec"` // of the first format, as Encoder, Chroma, MS, Decoder and PSNR are
	Encoder string         `json:"encoder"`
	Chroma  []string       `json:"chroma"`           // of H.264: those that were proven
	OK      bool           `json:"ok"`               // the first codec works
	MS      float64        `json:"ms"`               // of one picture of 4:2:0
	Codecs  []string       `json:"codecs,omitempty"` // all that the card says it can make
	Formats []probedFormat `json:"formats"`
	Decoder string         `json:"decoder,omitempty"`
	PSNR    float64        `json:"psnr,omitempty"` // dB of the worst decoded picture
	Error   string         `json:"error,omitempty"`
}

// probedFormat is what came of one.
type probedFormat struct {
	Format  codec.Format `json:"format"`
	Encoder string       `json:"encoder"`
	MS      float64      `json:"ms"`
	Decoder string       `json:"decoder,omitempty"` // none was at hand where it is empty
	PSNR    float64      `json:"psnr,omitempty"`
	Error   string       `json:"error,omitempty"`
}

// probeLimit is how long a frame may take: a host that is busy has an encoder all the same.
const probeLimit = 10 * time.Second

var probeRate = codec.Rate{Quality: 23, Kbps: 20000, BufferMS: 60}

// opener opens an encoder of pictures of a size.
type opener func(f codec.Format, w, h int) (codec.Encoder, error)

// probe proves encoders by one 1920x1080 picture in each format, which is decoded where a decoder is at hand, and says how that went.
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
	p := probed{Codec: "H264", Encoder: e.Kind, Chroma: []string{}, Formats: []probedFormat{}}
	err := p.prove(ctx, e)
	if err != nil {
		p.Error = err.Error()
	}
	if werr := json.NewEncoder(stdout).Encode(p); werr != nil {
		return werr
	}
	return err
}

// prove tries each format that the encoder can make.
func (p *probed) prove(ctx context.Context, e contract.Encoder) error {
	if e.Kind != contract.NVENC {
		return p.all(ctx, codec.SoftwareFormats(), func(f codec.Format, w, h int) (codec.Encoder, error) {
			return codec.NewSoftware(codec.Coding{Format: f}, w, h, encoderThreads(), probeRate)
		})
	}
	card, err := codec.OpenNVENC(codec.NVENCOptions{Device: e.Device, Libraries: e.Libraries, FrameLimit: probeLimit})
	if err != nil {
		return err
	}
	defer card.Close()
	can, err := card.Capabilities()
	if err != nil {
		return err
	}
	p.Codecs = can.Codecs
	formats := []codec.Format{codec.H264}
	if len(can.Chroma) > 1 {
		formats = append(formats, codec.H264444)
	}
	return p.all(ctx, formats, func(f codec.Format, w, h int) (codec.Encoder, error) {
		return card.NewEncoder(w, h, codec.Coding{Format: f}.Colours(), probeRate)
	})
}

// all proves the formats. The first one must do: without it most viewers have no picture.
func (p *probed) all(ctx context.Context, formats []codec.Format, open opener) error {
	var failed []string
	for i, f := range formats {
		one := probedFormat{Format: f}
		err := one.prove(ctx, open)
		if err != nil {
			one.Error = err.Error()
			failed = append(failed, fmt.Sprintf("%s: %v", f, err))
		}
		p.Formats = append(p.Formats, one)
		if i == 0 {
			if p.Encoder, p.MS, p.Decoder, p.PSNR = one.Encoder, one.MS, one.Decoder, one.PSNR; err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			p.OK = true
		}
		if err == nil && strings.HasPrefix(string(f), string(codec.H264)) {
			p.Chroma = append(p.Chroma, string(f.Chroma()))
		}
	}
	p.Error = strings.Join(failed, "; ")
	return nil
}

func (p *probedFormat) prove(ctx context.Context, open opener) error {
	const w, h = 1920, 1080
	picture, err := codec.NewPictureOf(codec.Coding{Format: p.Format}.Colours(), w, h)
	if err != nil {
		return err
	}
	defer picture.Close()
	enc, err := open(p.Format, w, h)
	if err != nil {
		return err
	}
	defer enc.Close()
	p.Encoder = enc.Info().Encoder
	pix := codec.Chart(w, h)
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
	p.MS = float64(time.Since(start).Microseconds()) / 1000
	return p.compare(ctx, pkt, pix, w, h)
}

// compare decodes the packet, if there is a decoder, and looks whether it is the picture.
func (p *probedFormat) compare(ctx context.Context, pkt codec.Packet, pix []byte, w, h int) error {
	decoder := strings.TrimSuffix(p.Encoder, " (software)")
	got, err := codec.DecodeKey(p.Format, pkt.Units, w, h)
	if errors.Is(err, codec.ErrNoDecoder) {
		decoder = ffmpeg
		got, err = decode(ctx, pkt.Units, len(pix))
	}
	if errors.Is(err, errNoDecoder) {
		return nil
	}
	if err != nil {
		return err
	}
	p.Decoder, p.PSNR = decoder, codec.PSNR(got, pix)
	return codec.Alike(got, pix)
}
