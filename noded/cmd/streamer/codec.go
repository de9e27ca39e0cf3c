package main

import (
	"image"

	"easel/noded/stream"
	"easel/pkg/codec"
)

// x264Codec gives the stream x264.
type x264Codec struct{ threads int }

func (x264Codec) Makes(f stream.Format) bool { return f == stream.H264 }

func (c x264Codec) Open(size image.Point, _ stream.Format, q stream.Quality, _ stream.Encoder) (stream.Encoder, error) {
	return openEncoder(size, func() (codec.Encoder, error) { return codec.NewX264(size.X, size.Y, c.threads, rateOf(q)) })
}

// openEncoder makes a picture and what encodes it.
func openEncoder(size image.Point, open func() (codec.Encoder, error)) (stream.Encoder, error) {
	picture, err := codec.NewPicture(size.X, size.Y)
	if err != nil {
		return nil, err
	}
	enc, err := open()
	if err != nil {
		picture.Close()
		return nil, err
	}
	return &encoder{picture: picture, enc: enc}, nil
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

func (e *encoder) Tiles() stream.TileCoder { return e.picture.Tiles() }

func (e *encoder) Info() stream.CodecInfo { return stream.CodecInfo(e.enc.Info()) }

func (e *encoder) Close() {
	e.enc.Close()
	e.picture.Close()
}

func rateOf(q stream.Quality) codec.Rate {
	return codec.Rate{Quality: q.Factor, Kbps: q.Kbps, BufferMS: q.BufferMS}
}
