package sound

import (
	"fmt"
	"testing"
	"time"
)

func TestFramesAfterAGapBeginAnew(t *testing.T) {
	var f frames
	epoch := time.Now()
	take := func(at time.Duration, b []byte) (pcm []int16) {
		n := copy(f.rest(), b)
		return f.took(n, epoch.Add(at))
	}
	loud := make([]byte, frameBytes)
	for i := range loud {
		loud[i] = byte(i / 2)
	}
	if pcm := take(0, loud[:100]); pcm != nil {
		t.Fatal("a part of a frame is one")
	}
	// The rest never came; another sound begins.
	if pcm := take(time.Second, loud[:frameBytes-100]); pcm != nil {
		t.Fatal("what came before the gap was taken for its beginning")
	}
	pcm := take(time.Second+time.Millisecond, loud[frameBytes-100:])
	if pcm == nil || pcm[0] != 0 || pcm[2] == 0 {
		t.Fatal("the frame is not the one that was written")
	}
	first := f.stamp(time.Second)
	if !first.first || first.samples != sampleRate {
		t.Fatalf("stamp %+v", first)
	}
	take(time.Second+frameTime, loud)
	if next := f.stamp(1020 * time.Millisecond); next.first || next.samples != first.samples+frameSamples {
		t.Fatalf("the next frame's stamp is %+v", next)
	}
	silence := make([]byte, frameBytes)
	for i := range quietFrames + 5 {
		take(time.Second+time.Duration(i+2)*frameTime, silence)
		if got := f.silent(); got != (i >= quietFrames) {
			t.Fatalf("frame %d of silence: silent is %t", i, got)
		}
	}
	take(1500*time.Millisecond, loud)
	if again := f.stamp(1500 * time.Millisecond); !again.first || again.samples != sampleRate*3/2 {
		t.Fatalf("after the silence: %+v", again)
	}
	if back := f.stamp(0); back.samples < sampleRate {
		t.Fatal("time goes back")
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, uint16(5))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		var s frames
		at, last := time.Unix(0, 0), uint32(0)
		for len(b) > 0 {
			n := copy(s.rest(), b[:min(len(b), int(step)+1)])
			b = b[n:]
			at = at.Add(time.Duration(step) * time.Millisecond)
			if s.took(n, at) == nil || s.silent() {
				continue
			}
			now := s.stamp(at.Sub(time.Unix(0, 0)))
			if int32(now.samples-last) < 0 {
				t.Fatal(fmt.Sprint("time goes back from ", last, " to ", now.samples))
			}
			last = now.samples
		}
	})
}
