package stream

import (
	"fmt"
	"image"
	"log/slog"
	"slices"
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

	rest []map[Coding]time.Time // until when each codec is left alone with a format
	why  []map[Coding]error     // that each does not serve
	lost []bool                 // that broke in the middle of a stream, which cannot be trusted any more
	used int                    // the codec of the present encoder
	made Coding                 // what that makes
	said []string               // what the health tells of it
}

func newEncoders(codecs []Codec, b *board, log *slog.Logger) *encoders {
	n := len(codecs)
	e := &encoders{codecs: codecs, board: b, log: log, rest: make([]map[Coding]time.Time, n), lost: make([]bool, n), why: make([]map[Coding]error, n)}
	for i := range codecs {
		e.rest[i], e.why[i] = map[Coding]time.Time{}, map[Coding]error{}
	}
	return e
}

// makes tells whether any codec has encoders of a format.
func (e *encoders) makes(f Format) bool {
	return slices.ContainsFunc(e.codecs, func(c Codec) bool { return c.Makes(f) })
}

// open makes an encoder of a format, which goes on with the picture of from unless that is nil. The error is that of the last codec.
func (e *encoders) open(size image.Point, f Coding, q Quality, from Encoder, now time.Time) (Encoder, error) {
	for i, c := range e.codecs {
		last := i == len(e.codecs)-1
		if !c.Makes(f.Format) || (!last && (e.lost[i] || now.Before(e.rest[i][f.whole()]))) {
			continue
		}
		enc, err := c.Open(size, f, q, from)
		if err == nil {
			e.use(i, f.whole(), enc.Info())
			return enc, nil
		}
		if last {
			e.board.degrade("codec: no "+string(f.Format)+": "+err.Error(), true)
			return nil, fmt.Errorf("open an encoder of %s for a screen of %v: %w", f.Format, size, err)
		}
		e.fallback(i, f.whole(), err)
		e.rest[i][f.whole()] = now.Add(encoderRest)
	}
	return nil, fmt.Errorf("open an encoder of %s: no codec makes that", f.Format)
}

// broke takes in that the present encoder failed in the middle of a stream, and tells whether a worse one can go on.
func (e *encoders) broke(err error) bool {
	if e.used == len(e.codecs)-1 {
		return false
	}
	e.lost[e.used] = true
	e.fallback(e.used, e.made, err)
	return true
}

func (e *encoders) fallback(i int, f Coding, err error) {
	e.why[i][f] = err
	e.log.Warn("encoder fails, a worse one takes over", "format", f.Format, "err", err)
	e.board.update(func(h *contract.Health) { h.Fallbacks++ })
}

// use tells what encodes now, and why it is not a better one.
func (e *encoders) use(i int, f Coding, info CodecInfo) {
	e.used, e.made = i, f
	delete(e.why[i], f)
	for _, text := range e.said {
		e.board.degrade(text, false)
	}
	e.said = nil
	if !info.Hardware {
		e.say("encoder: " + info.Encoder)
	}
	for _, why := range e.why[:i] {
		if err := why[f]; err != nil {
			e.say("encoder: " + info.Encoder + " stands in: " + err.Error())
		}
	}
	if info.Chroma != "4:4:4" {
		e.say("chroma: " + info.Chroma)
	}
	e.board.update(func(h *contract.Health) { h.Encoder = info.Encoder })
	e.log.Info("encoding", "encoder", info.Encoder, "codec", info.Codec, "chroma", info.Chroma)
}

func (e *encoders) say(text string) {
	e.said = append(e.said, text)
	e.board.degrade(text, true)
}
