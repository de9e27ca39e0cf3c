package stream

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
	soundRate     = 48000
	soundChannels = 2
	soundFrame    = soundRate / 50 // samples of each channel in a packet
	soundTime     = 20 * time.Millisecond
	soundBytes    = soundFrame * soundChannels * 2
)

const (
	// soundGap is how long after a part of a frame its rest may come. Sound that begins later begins anew.
	soundGap = 60 * time.Millisecond
	// soundAhead is how much more sound may come than time passes: who writes faster has to wait.
	soundAhead = 300 * time.Millisecond
	// quietFrames is how many frames of silence are encoded at the end of a sound.
	quietFrames = 10
	// staleSound bounds what is thrown away of a pipe that nobody had read.
	staleSound = 1 << 20
	// soundRetry is the shortest and soundRetryMax the longest wait between attempts to read the session's sound.
	soundRetry    = 250 * time.Millisecond
	soundRetryMax = 5 * time.Second
)

// SoundEncoder encodes frames of 20 ms: both channels' samples in turn, 48 kHz. A packet's memory is good until the next call; it is empty where
// nothing needs to be sent.
type SoundEncoder interface {
	Encode(pcm []int16) ([]byte, error)
	Close()
}

// SoundCodec makes encoders.
type SoundCodec func() (SoundEncoder, error)

// sound is the session's sound on its way to who listens: read from the sound server's pipe and encoded once. While nobody listens the pipe is closed, and
// while nothing plays there is nothing to read. It is safe for several goroutines.
type sound struct {
	open  func() (io.ReadCloser, error)
	codec SoundCodec // nil: there is no sound
	board *board
	log   *slog.Logger
	epoch time.Time
	wake  chan struct{}

	mu        sync.Mutex
	allowed   bool
	listeners map[*soundOut]bool
}

func newSound(codec SoundCodec, p contract.Policy, open func() (io.ReadCloser, error), b *board, log *slog.Logger) *sound {
	return &sound{
		open: open, codec: codec, board: b, log: log, epoch: time.Now(), wake: make(chan struct{}, 1), allowed: p.HasSound(), listeners: make(map[*soundOut]bool),
	}
}

// setPolicy brings another policy into force.
func (s *sound) setPolicy(p contract.Policy) {
	s.mu.Lock()
	s.allowed = p.HasSound()
	s.mu.Unlock()
	poke(s.wake)
}

// setSound brings another policy into force for the sound, and tells who could hear it.
func (w *Worker) setSound(p contract.Policy) {
	w.sound.setPolicy(p)
	for _, peer := range w.everybody() {
		if peer.sound != nil {
			peer.sendControl(audioMessage{"audio", w.sound.may()})
		}
	}
}

// may tells whether there can be sound.
func (s *sound) may() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allowed && s.codec != nil
}

// listen has a viewer hear the sound, or hear it no more.
func (s *sound) listen(out *soundOut, on bool) {
	s.mu.Lock()
	if on {
		s.listeners[out] = true
	} else {
		delete(s.listeners, out)
	}
	s.mu.Unlock()
	poke(s.wake)
}

// wanted tells whether the sound is to be read.
func (s *sound) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allowed && s.codec != nil && len(s.listeners) > 0
}

// run reads the session's sound while somebody listens, until ctx ends.
func (s *sound) run(ctx context.Context) {
	const lost = "there is no sound"
	defer s.board.degrade(lost, false)
	wait := soundRetry
	for {
		for !s.wanted() {
			s.board.degrade(lost, false)
			wait = soundRetry
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
		if time.Since(began) > soundRetryMax {
			wait = soundRetry
		}
		s.log.Debug("sound lost", "err", err)
		s.board.degrade(lost, wait >= soundRetryMax) // a sound server that starts is no fault
		if !pause(ctx, wait) {
			return
		}
		wait = min(wait*2, soundRetryMax)
	}
}

// play reads the pipe until it breaks; no error means that nobody listens any more.
func (s *sound) play(ctx context.Context) error {
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
func (s *sound) read(ctx context.Context, pipe io.Reader, encoder SoundEncoder) error {
	s.board.degrade("there is no sound", false)
	if err := skipStale(pipe); err != nil {
		return err
	}
	f := soundFrames{began: time.Now()}
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
		if ahead := f.ahead(now); ahead > soundAhead && !pause(ctx, ahead) {
			return ctx.Err()
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
	for n := 0; n < staleSound; {
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
func (s *sound) send(packet []byte, at soundStamp) {
	s.mu.Lock()
	outs := make([]*soundOut, 0, len(s.listeners))
	for out := range s.listeners {
		outs = append(outs, out)
	}
	s.mu.Unlock()
	for _, out := range outs {
		out.send(packet, at)
	}
}

// soundStamp is a packet's time in samples, and whether a sound begins with it.
type soundStamp struct {
	samples uint32
	first   bool
}

// soundFrames cuts what comes out of the pipe into frames, and tells their times.
type soundFrames struct {
	began time.Time // since when sound is counted against the time that passes
	buf   [soundBytes]byte
	pcm   [soundFrame * soundChannels]int16
	n     int
	last  time.Time // when something came
	count int       // frames since began
	quiet int       // frames of silence in a row
	next  uint32    // the next packet's time, if no gap comes before it
	fresh bool      // a sound begins
}

// rest is where the next bytes go.
func (f *soundFrames) rest() []byte { return f.buf[f.n:] }

// took takes up n bytes that came, and returns a frame if it is whole; its memory is used again.
func (f *soundFrames) took(n int, now time.Time) []int16 {
	if gap := now.Sub(f.last); gap > soundGap { // what came before belongs to another sound
		copy(f.buf[:], f.buf[f.n:f.n+n])
		f.n, f.began, f.count, f.quiet, f.fresh = 0, now, 0, 0, true
	}
	f.last = now
	if f.n += n; f.n < len(f.buf) {
		return nil
	}
	f.n = 0
	f.count++
	loud := false
	for i := range f.pcm {
		f.pcm[i] = int16(uint16(f.buf[2*i]) | uint16(f.buf[2*i+1])<<8)
		loud = loud || f.pcm[i] != 0
	}
	if loud {
		f.quiet = 0
	} else {
		f.quiet++
	}
	return f.pcm[:]
}

// silent tells whether the frame is one of a longer silence, of which nothing is sent. A sound server goes on for a while with it.
func (f *soundFrames) silent() bool {
	if f.quiet <= quietFrames {
		return false
	}
	f.fresh = true
	return true
}

// stamp is the time of the frame, counted from the session's beginning where a sound begins.
func (f *soundFrames) stamp(since time.Duration) soundStamp {
	at := soundStamp{samples: f.next, first: f.fresh}
	if f.fresh {
		at.samples = uint32(since.Milliseconds() * soundRate / 1000)
		if int32(at.samples-f.next) < 0 { // never back
			at.samples = f.next
		}
	}
	f.fresh, f.next = false, at.samples+soundFrame
	return at
}

// ahead is how much more sound has come than time has passed.
func (f *soundFrames) ahead(now time.Time) time.Duration {
	return time.Duration(f.count)*soundTime - now.Sub(f.began)
}
