package main

import (
	"errors"
	"fmt"
	"image"
	"slices"

	"easel/noded/stream"
	"easel/noded/stream/contract"
	"easel/noded/stream/tile"
	"easel/pkg/codec"
)

// softwareCodec gives the stream what the processor encodes, but for what failed the node's proof.
type softwareCodec struct {
	threads int
	failed  map[stream.Format]error
}

func newSoftware(threads int, failed []contract.FailedEncoder) *softwareCodec {
	return &softwareCodec{threads: threads, failed: failures(failed, contract.X264)}
}

// failures are the formats of one kind of encoder that failed the node's proof.
func failures(all []contract.FailedEncoder, kind string) map[stream.Format]error {
	out := map[stream.Format]error{}
	for _, f := range all {
		if f.Kind == kind {
			out[stream.Format(f.Format)] = fmt.Errorf("it failed this node's proof: %s", f.Why)
		}
	}
	return out
}

func (c *softwareCodec) Makes(f stream.Format) bool {
	return c.failed[f] == nil && slices.Contains(codec.SoftwareFormats(), codec.Format(f))
}

func (c *softwareCodec) Open(size image.Point, what stream.Coding, q stream.Quality, from stream.Encoder) (stream.Encoder, error) {
	if err := c.failed[what.Format]; err != nil {
		return nil, err
	}
	return openEncoder(size, what, from, func(video image.Point) (codec.Encoder, error) {
		return codec.NewSoftware(codingOf(what), video.X, video.Y, c.threads, rateOf(q))
	})
}

// openEncoder makes what encodes a picture of the screen, which is that of from if there is one. open is given the size of the video.
func openEncoder(size image.Point, what stream.Coding, from stream.Encoder, open func(video image.Point) (codec.Encoder, error)) (stream.Encoder, error) {
	enc, err := open(what.Scale.Of(size))
	if err != nil {
		return nil, err
	}
	colours := codingOf(what).Colours()
	before, goesOn := from.(*encoder)
	if !goesOn {
		picture, err := codec.NewPictureOf(colours, size.X, size.Y)
		if err != nil {
			enc.Close()
			return nil, err
		}
		before = &encoder{picture: picture}
	}
	e := &encoder{picture: before.picture}
	old := e.picture.Colours()
	if err = e.picture.SetColours(colours); err == nil {
		e.enc, err = codec.OfSize(enc, e.picture, what.Scale.Of(size))
	}
	switch {
	case err == nil && goesOn:
		before.enc.Close()
	case err != nil && goesOn:
		err = errors.Join(err, e.picture.SetColours(old))
		enc.Close()
	case err != nil:
		enc.Close()
		e.picture.Close()
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// encoder is a picture and what encodes it.
type encoder struct {
	picture *codec.Picture
	enc     codec.Encoder
}

func (e *encoder) Update(pix []byte, stride int, rects []image.Rectangle) (int, error) {
	return e.picture.Update(pix, stride, rects)
}

func (e *encoder) Encode(key bool, qp int) (stream.Packet, error) {
	p, err := e.enc.Encode(e.picture, codec.FrameOptions{Key: key, QP: qp})
	return stream.Packet{Units: p.Units, Key: p.Key, Bytes: p.Bytes, QP: p.QP}, err
}

func (e *encoder) SetQuality(q stream.Quality) error { return e.enc.SetRate(rateOf(q)) }

func (e *encoder) Tiles() tile.Coder { return e.picture.Tiles() }

func (e *encoder) ColourLoss() float64 { return e.picture.ColourLoss() }

func (e *encoder) Info() stream.CodecInfo { return stream.CodecInfo(e.enc.Info()) }

func (e *encoder) Close() {
	e.enc.Close()
	e.picture.Close()
}

func codingOf(c stream.Coding) codec.Coding {
	return codec.Coding{Format: codec.Format(c.Format), Short: c.Short}
}

func rateOf(q stream.Quality) codec.Rate {
	return codec.Rate{Quality: q.Factor, Kbps: q.Kbps, BufferMS: q.BufferMS}
}
