// Package sound brings the session's sound to who listens. ARCHITECTURE.md, "Sound", is the contract with the browser.
package sound

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"easel/noded/stream/contract"
)

// The one format of sound: what the session's sound server writes, and what goes out.
const (
	sampleRate   = 48000
	channels     = 2
	frameSamples = sampleRate / 50 // samples of each channel in a packet
	frameTime    = 20 * time.Millisecond
	frameBytes   = frameSamples * channels * 2
)

const (
	// gapTime is how long after a part of a frame its rest may come. Sound that begins later begins anew.
	gapTime = 60 * time.Millisecond
	// maxAhead is how much more sound may come than time passes: who writes faster has to wait.
	maxAhead = 300 * time.Millisecond
	// quietFrames is how many frames of silence are encoded at the end of a sound.
	quietFrames = 10
	// maxStale bounds what is thrown away of a pipe that nobody had read.
	maxStale = 1 << 20
	// retryFirst is the shortest and retryMax the longest wait between attempts to read the session's sound.
	retryFirst = 250 * time.Millisecond
	retryMax   = 5 * time.Second
)

// Encoder encodes frames of 20 ms: both channels' samples in turn, 48 kHz. A packet's memory is good until the next call; it is empty where
// nothing needs to be sent.
type Encoder interface {
	Encode(pcm []int16) ([]byte, error)
	Close()
}

// Codec makes encoders.
type Codec func() (Encoder, error)

// Sound is the session's sound on its way to who listens: read from the sound server's pipe and encoded once. While nobody listens the pipe is closed, and
// while nothing plays there is nothing to read. It is safe for several goroutines.
type Sound struct {
	open  func() (io.ReadCloser, error)
	codec Codec // nil: there is no sound
	lost  func(bool)
	log   *slog.Logger
	epoch time.Time
	wake  chan struct{}

	mu        sync.Mutex
	allowed   bool
	listeners map[*Out]bool
}

// New makes a sound that is read from what open opens, and encoded by codec; without one there is none. lost is told when there should be sound
// and is none, and when that is over.
func New(codec Codec, p contract.Policy, open func() (io.ReadCloser, error), lost func(bool), log *slog.Logger) *Sound {
	return &Sound{
		open: open, codec: codec, lost: lost, log: log, epoch: time.Now(), wake: make(chan struct{}, 1), allowed: p.HasSound(), listeners: make(map[*Out]bool),
	}
}

// SetPolicy brings another policy into force.
func (s *Sound) SetPolicy(p contract.Policy) {
	s.mu.Lock()
	s.allowed = p.HasSound()
	s.mu.Unlock()
	s.look()
}

// May tells whether there can be sound.
func (s *Sound) May() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allowed && s.codec != nil
}

// Listen has a viewer hear the sound, or hear it no more.
func (s *Sound) Listen(out *Out, on bool) {
	s.mu.Lock()
	if on {
		s.listeners[out] = true
	} else {
		delete(s.listeners, out)
	}
	s.mu.Unlock()
	s.look()
}

// look has the goroutine that reads see what has changed.
func (s *Sound) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wanted tells whether the sound is to be read.
func (s *Sound) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allowed && s.codec != nil && len(s.listeners) > 0
}

// Run reads the session's sound while somebody listens, until ctx ends.
func (s *Sound) Run(ctx context.Context) {
	defer s.lost(false)
	wait := retryFirst
	for {
		for !s.wanted() {
			s.lost(false)
			wait = retryFirst
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
		}
		began := time.Now()
		err := s.play(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // nobody wants it any more
			continue
		}
		if time.Since(began) > retryMax {
			wait = retryFirst
		}
		s.log.Debug("sound lost", "err", err)
		s.lost(wait >= retryMax) // a sound server that starts is no fault
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2, retryMax)
	}
}

// play reads the pipe until it breaks; no error means that nobody listens any more.
func (s *Sound) play(ctx context.Context) error {
	pipe, err := s.open()
	if err != nil {
		return err
	}
	encoder, err := s.codec()
	if err != nil {
		return errors.Join(err, pipe.Close())
	}
	defer encoder.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.read(ctx, pipe, encoder) }()
	for {
		select {
		case err := <-ended:
			return errors.Join(err, pipe.Close())
		case <-s.wake:
			if s.wanted() {
				continue
			}
		case <-ctx.Done():
		}
		_ = pipe.Close() // ends the reading
		<-ended
		return ctx.Err()
	}
}

// read reads frames and sends what is heard of them.
func (s *Sound) read(ctx context.Context, pipe io.Reader, encoder Encoder) error {
	s.lost(false)
	if err := skipStale(pipe); err != nil {
		return err
	}
	f := frames{began: time.Now()}
	for {
		n, err := pipe.Read(f.rest())
		if err != nil {
			return err
		}
		now := time.Now()
		pcm := f.took(n, now)
		if pcm == nil {
			continue
		}
		if f.silent() {
			continue
		}
		packet, err := encoder.Encode(pcm)
		if err != nil {
			return err
		}
		if len(packet) > 0 {
			s.send(packet, f.stamp(now.Sub(s.epoch)))
		}
		if ahead := f.ahead(now); ahead > maxAhead {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(ahead):
			}
		}
	}
}

// skipStale throws away what was written while nobody read: it is old.
func skipStale(pipe io.Reader) error {
	p, ok := pipe.(*os.File)
	if !ok {
		return nil
	}
	if err := p.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for n := 0; n < maxStale; {
		m, err := p.Read(buf)
		if n += m; errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return err
		}
	}
	return p.SetReadDeadline(time.Time{})
}

// send gives a packet to all who listen.
func (s *Sound) send(packet []byte, at stamp) {
	s.mu.Lock()
	outs := make([]*Out, 0, len(s.listeners))
	for out := range s.listeners {
		outs = append(outs, out)
	}
	s.mu.Unlock()
	for _, out := range outs {
		out.send(packet, at)
	}
}
