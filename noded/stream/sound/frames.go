package sound

import "time"

// stamp is a packet's time in samples, and whether a sound begins with it.
type stamp struct {
	samples uint32
	first   bool
}

// frames cuts what comes out of the pipe into frames, and tells their times.
type frames struct {
	began time.Time // since when sound is counted against the time that passes
	buf   [frameBytes]byte
	pcm   [frameSamples * channels]int16
	n     int
	last  time.Time // when something came
	count int       // frames since began
	quiet int       // frames of silence in a row
	next  uint32    // the next packet's time, if no gap comes before it
	fresh bool      // a sound begins
}

// rest is where the next bytes go.
func (f *frames) rest() []byte { return f.buf[f.n:] }

// took takes up n bytes that came, and returns a frame if it is whole; its memory is used again.
func (f *frames) took(n int, now time.Time) []int16 {
	if gap := now.Sub(f.last); gap > gapTime { // what came before belongs to another sound
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
func (f *frames) silent() bool {
	if f.quiet <= quietFrames {
		return false
	}
	f.fresh = true
	return true
}

// stamp is the time of the frame, counted from the session's beginning where a sound begins.
func (f *frames) stamp(since time.Duration) stamp {
	at := stamp{samples: f.next, first: f.fresh}
	if f.fresh {
		at.samples = uint32(since.Milliseconds() * sampleRate / 1000)
		if int32(at.samples-f.next) < 0 { // never back
			at.samples = f.next
		}
	}
	f.fresh, f.next = false, at.samples+frameSamples
	return at
}

// ahead is how much more sound has come than time has passed.
func (f *frames) ahead(now time.Time) time.Duration {
	return time.Duration(f.count)*frameTime - now.Sub(f.began)
}
