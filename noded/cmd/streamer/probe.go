package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/codec"
)

// driverLimit is how long a card may take for a frame: a host that is busy has an encoder all the same.
const driverLimit = 10 * time.Second

// sizes of the proofs' pictures: of the large one the time is told.
var proofLarge, proofSmall = image.Pt(1920, 1080), image.Pt(640, 360)

// source makes encoders of one kind.
type source struct {
	formats []codec.Format
	open    func(c codec.Coding, size image.Point) (codec.Encoder, error)
	close   func()
}

// probe proves encoders by encoding and decoding pictures, in each format or in the one that is asked for, and prints how that went.
func probe(ctx context.Context, args []string, stdout io.Writer) error {
	e := contract.Encoder{}
	f := flag.NewFlagSet("probe", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&e.Kind, "encoder", contract.X264, "")
	f.StringVar(&e.Device, "device", "", "")
	f.StringVar(&e.Libraries, "libraries", "", "")
	format := f.String("format", "", "")
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return errUsage
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("%w\n%w", err, errUsage)
	}
	known := contract.SoftwareFormats()
	if e.Kind == contract.NVENC {
		known = contract.NVENCFormats()
	}
	if *format != "" && !slices.Contains(known, *format) {
		return fmt.Errorf("format %.20q is not one of %s\n%w", *format, strings.Join(known, ", "), errUsage)
	}
	p := contract.Probed{Kind: e.Kind, Formats: []contract.ProbedFormat{}, Libraries: []string{}}
	err := prove(ctx, &p, e, codec.Format(*format))
	if err != nil {
		p.Error = err.Error()
	}
	if werr := json.NewEncoder(stdout).Encode(p); werr != nil {
		return werr
	}
	return err
}

// prove tries the format, or with "" each that the encoder can make. The first one must do: without H.264 most viewers have no picture.
func prove(ctx context.Context, p *contract.Probed, e contract.Encoder, only codec.Format) error {
	s, err := sourceOf(p, e)
	if err != nil {
		return err
	}
	defer s.close()
	if only != "" {
		s.formats = slices.DeleteFunc(s.formats, func(f codec.Format) bool { return f != only })
	}
	for _, f := range s.formats {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.Formats = append(p.Formats, proveFormat(p, s, f))
	}
	if len(p.Formats) == 0 {
		return fmt.Errorf("%s makes no %s", e.Kind, only)
	}
	if first := p.Formats[0]; first.Error != "" {
		return fmt.Errorf("%s: %s", first.Format, first.Error)
	}
	p.OK = true
	return nil
}

func sourceOf(p *contract.Probed, e contract.Encoder) (source, error) {
	if e.Kind != contract.NVENC {
		return source{formats: codec.SoftwareFormats(), close: func() {}, open: func(c codec.Coding, size image.Point) (codec.Encoder, error) {
			return codec.NewSoftware(c, size.X, size.Y, encoderThreads(), codec.ProofRate)
		}}, nil
	}
	card, err := codec.OpenNVENC(codec.NVENCOptions{Device: e.Device, Libraries: e.Libraries, FrameLimit: driverLimit})
	if err != nil {
		return source{}, err
	}
	can, err := card.Capabilities()
	if err != nil {
		card.Close()
		return source{}, err
	}
	p.Codecs = can.Codecs
	formats := []codec.Format{codec.H264}
	if len(can.Chroma) > 1 {
		formats = append(formats, codec.H264444)
	}
	return source{formats: formats, close: card.Close, open: func(c codec.Coding, size image.Point) (codec.Encoder, error) {
		return card.NewEncoder(size.X, size.Y, c.Colours(), codec.ProofRate)
	}}, nil
}

// proveFormat proves both ranges of colours.
func proveFormat(p *contract.Probed, s source, f codec.Format) contract.ProbedFormat {
	out := contract.ProbedFormat{Format: string(f)}
	for _, one := range []struct {
		coding codec.Coding
		size   image.Point
	}{{codec.Coding{Format: f}, proofLarge}, {codec.Coding{Format: f}, proofSmall}, {codec.Coding{Format: f, Short: true}, proofSmall}} {
		proof, err := codec.Prove(one.coding, one.size, func() (codec.Encoder, error) {
			e, err := s.open(one.coding, one.size)
			if len(p.Libraries) == 0 {
				p.Libraries = libraries() // before a decoder brings its own
			}
			return e, err
		})
		out = worse(out, proof, one.size == proofLarge)
		if err != nil {
			out.Error = err.Error()
			break
		}
	}
	return out
}

// worse takes in what one proof saw.
func worse(f contract.ProbedFormat, p codec.Proof, large bool) contract.ProbedFormat {
	if f.Encoder = p.Info.Encoder; large {
		f.MS = p.MS
	}
	if p.NoDecoder != nil {
		f.Unseen = p.NoDecoder.Error()
		return f
	}
	if p.Decoder == "" { // it did not come so far
		return f
	}
	if f.Decoder == "" || p.PSNR < f.PSNR {
		f.PSNR = p.PSNR
	}
	f.Decoder, f.Worst = p.Decoder, max(f.Worst, p.Worst)
	return f
}

// libraries are the files that this process's code was mapped from.
func libraries() []string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	var all []string
	for line := range bytes.Lines(maps) {
		fields := strings.Fields(string(line)) // addresses, permissions, offset, device, inode, path
		if len(fields) == 6 && strings.Contains(fields[1], "x") && strings.HasPrefix(fields[5], "/") {
			all = append(all, fields[5])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
