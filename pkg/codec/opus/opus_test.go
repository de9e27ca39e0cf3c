package opus

import (
	"math"
	"testing"
)

// tone is a frame of a sine in each channel, from a sample on.
func tone(from int, left, right float64) []int16 {
	pcm := make([]int16, Frame*Channels)
	for i := range Frame {
		at := float64(from+i) / Rate
		pcm[2*i] = int16(9000 * math.Sin(2*math.Pi*left*at))
		pcm[2*i+1] = int16(9000 * math.Sin(2*math.Pi*right*at))
	}
	return pcm
}

// strength is how much of a frequency one channel of some frames has, as an amplitude.
func strength(pcm []int16, channel int, hz float64) float64 {
	var re, im float64
	n := len(pcm) / Channels
	for i := range n {
		v, a := float64(pcm[2*i+channel]), 2*math.Pi*hz*float64(i)/Rate
		re, im = re+v*math.Cos(a), im+v*math.Sin(a)
	}
	return 2 * math.Hypot(re, im) / float64(n)
}

func pair(t testing.TB) (*Encoder, *Decoder) {
	t.Helper()
	e, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); d.Close() })
	return e, d
}

func TestSoundComesBackInStereo(t *testing.T) {
	e, d := pair(t)
	var heard []int16
	bytes := 0
	for n := range 50 {
		packet, err := e.Encode(tone(n*Frame, 440, 1000))
		if err != nil {
			t.Fatal(err)
		}
		bytes += len(packet)
		pcm := make([]int16, Frame*Channels)
		if err := d.Decode(packet, pcm, false); err != nil {
			t.Fatal(err)
		}
		heard = append(heard, pcm...)
	}
	heard = heard[10*Frame*Channels:]
	for channel, hz := range []float64{440, 1000} {
		if s := strength(heard, channel, hz); s < 7000 {
			t.Errorf("channel %d has %.0f of %.0f Hz, want 9000", channel, s, hz)
		}
		if s := strength(heard, channel, 1440-hz); s > 500 {
			t.Errorf("channel %d has %.0f of the other one's tone", channel, s)
		}
	}
	if kbps := bytes * 8 / 1000; kbps > 130 || kbps < 10 {
		t.Errorf("a second takes %d kbit", kbps)
	}
}

func TestSilenceIsNotSent(t *testing.T) {
	e, _ := pair(t)
	silence := make([]int16, Frame*Channels)
	sent := 0
	for range 100 {
		packet, err := e.Encode(silence)
		if err != nil {
			t.Fatal(err)
		}
		if len(packet) > 0 {
			sent++
		}
	}
	if sent > 30 {
		t.Errorf("%d of 100 frames of silence are sent", sent)
	}
}

func TestFramesOfOtherSizesAreRefused(t *testing.T) {
	e, d := pair(t)
	if _, err := e.Encode(make([]int16, 5)); err == nil {
		t.Error("five samples were encoded")
	}
	if err := d.Decode([]byte{1, 2, 3}, make([]int16, 7), false); err == nil {
		t.Error("a frame was decoded into seven samples")
	}
}

func FuzzDecode(f *testing.F) {
	e, err := NewEncoder()
	if err != nil {
		f.Fatal(err)
	}
	packet, err := e.Encode(tone(0, 440, 440))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packet, true)
	f.Add([]byte{}, false)
	e.Close()
	f.Fuzz(func(t *testing.T, packet []byte, repair bool) {
		_, d := pair(t)
		_ = d.Decode(packet, make([]int16, Frame*Channels), repair)
	})
}

func BenchmarkEncode(b *testing.B) {
	e, _ := pair(b)
	pcm := tone(0, 440, 1000)
	for b.Loop() {
		if _, err := e.Encode(pcm); err != nil {
			b.Fatal(err)
		}
	}
}
