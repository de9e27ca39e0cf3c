package stream

import (
	"errors"
	"fmt"
	"image"
	"log/slog"
	"time"

	"easel/noded/stream/contract"
)

// encoderRest is how long a codec that had no encoder to give is left alone: another session may have ended by then.
const encoderRest = time.Minute

// encoders opens the first encoder that can be had of several codecs, the best first. The last one needs nothing but the processor. Where a worse one
// takes over, the session's health and the log say so and why. It is for one goroutine.
type encoders struct {
	codecs []Codec
	board  *board
	log    *slog.Logger

	rest []time.Time // until when each codec is left alone
	lost []bool      // that broke in the middle of a stream, which cannot be trusted any more
	why  []error     // that each does not serve
	used int         // the codec of the present encoder
	said []string    // what the health tells of it
}

func newEncoders(codecs []Codec, b *board, log *slog.Logger) *encoders {
	n := len(codecs)
	return &encoders{codecs: codecs, board: b, log: log, rest: make([]time.Time, n), lost: make([]bool, n), why: make([]error, n)}
}

// open makes an encoder. The error is that of the last codec.
func (e *encoders) open(size image.Point, q Quality, now time.Time) (Encoder, error) {
	for i, c := range e.codecs {
		last := i == len(e.codecs)-1
		if !last && (e.lost[i] || now.Before(e.rest[i])) {
			continue
		}
		enc, err := c.Open(size, q)
		if err == nil {
			e.use(i, enc.Info())
			return enc, nil
		}
		if last {
			return nil, fmt.Errorf("open an encoder for a screen of %v: %w", size, err)
		}
		e.fallback(i, err)
		e.rest[i] = now.Add(encoderRest)
	}
	return nil, errors.New("open an encoder: there is no codec")
}

// broke takes in that the present encoder failed in the middle of a stream, and tells whether a worse one can go on.
func (e *encoders) broke(err error) bool {
	if e.used == len(e.codecs)-1 {
		return false
	}
	e.lost[e.used] = true
	e.fallback(e.used, err)
	return true
}

func (e *encoders) fallback(i int, err error) {
	e.why[i] = err
	e.log.Warn("encoder fails, a worse one takes over", "err", err)
	e.board.update(func(h *contract.Health) { h.Fallbacks++ })
}

// use tells what encodes now, and why it is not a better one.
func (e *encoders) use(i int, info CodecInfo) {
	e.used, e.why[i] = i, nil
	for _, text := range e.said {
		e.board.degrade(text, false)
	}
	e.said = nil
	if !info.Hardware {
		e.say("encoder: " + info.Encoder)
	}
	for _, err := range e.why[:i] {
		e.say("encoder: " + info.Encoder + " stands in: " + err.Error())
	}
	if info.Chroma != "4:4:4" {
		e.say("chroma: " + info.Chroma)
	}
	e.board.update(func(h *contract.Health) { h.Encoder = info.Encoder })
	e.log.Info("encoding", "encoder", info.Encoder, "chroma", info.Chroma)
}

func (e *encoders) say(text string) {
	e.said = append(e.said, text)
	e.board.degrade(text, true)
}
