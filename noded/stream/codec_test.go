package stream

import (
	"image"

	"easel/noded/stream/tile"
	"easel/pkg/codec"
)

// testCodec is what cmd/streamer gives the worker.
type testCodec struct{ card *codec.NVENC } // nil for x264

type testEncoder struct {
	picture *codec.Picture
	codec.Encoder
}

func (c testCodec) Makes(f Format) bool { return c.card == nil || f == H264 || f == H264444 }

func (c testCodec) Open(size image.Point, what Coding, q Quality, from Encoder) (Encoder, error) {
	coding := codec.Coding{Format: codec.Format(what.Format), Short: what.Short}
	rate := codec.Rate{Quality: q.Factor, Kbps: q.Kbps, BufferMS: q.BufferMS}
	video := what.Scale.Of(size)
	var e codec.Encoder
	var err error
	if c.card != nil {
		e, err = c.card.NewEncoder(video.X, video.Y, coding.Colours(), rate)
	} else {
		e, err = codec.NewSoftware(coding, video.X, video.Y, 2, rate)
	}
	if err != nil {
		return nil, err
	}
	if before, ok := from.(*testEncoder); ok {
		before.Encoder.Close()
		if err := before.picture.SetColours(coding.Colours()); err != nil {
			return nil, err
		}
		e, err = codec.OfSize(e, before.picture, video)
		return &testEncoder{before.picture, e}, err
	}
	p, err := codec.NewPictureOf(coding.Colours(), size.X, size.Y)
	if err != nil {
		e.Close()
		return nil, err
	}
	e, err = codec.OfSize(e, p, video)
	return &testEncoder{p, e}, err
}

func (e *testEncoder) Update(pix []byte, stride int, r []image.Rectangle) (int, error) {
	return e.picture.Update(pix, stride, r)
}

func (e *testEncoder) Encode(key bool, qp int) (Packet, error) {
	p, err := e.Encoder.Encode(e.picture, codec.FrameOptions{Key: key, QP: qp})
	return Packet{Units: p.Units, Key: p.Key, Bytes: p.Bytes, QP: p.QP}, err
}

func (e *testEncoder) SetQuality(q Quality) error {
	return e.SetRate(codec.Rate{Quality: q.Factor, Kbps: q.Kbps, BufferMS: q.BufferMS})
}

func (e *testEncoder) Info() CodecInfo { return CodecInfo(e.Encoder.Info()) }

func (e *testEncoder) Tiles() tile.Coder { return e.picture.Tiles() }

func (e *testEncoder) ColourLoss() float64 { return e.picture.ColourLoss() }

func (e *testEncoder) Close() { e.Encoder.Close(); e.picture.Close() }
