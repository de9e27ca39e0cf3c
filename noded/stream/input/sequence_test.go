package input

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// order runs messages through a sequence and returns what it handed on: samples by their X, reliable messages by -RSeq.
func order(s *sequence, now time.Time, in ...Message) []int {
	var out []int
	for _, m := range in {
		s.take(m, now, into(&out))
	}
	return out
}

func into(out *[]int) func(Message) {
	return func(m Message) {
		for _, p := range m.Samples {
			*out = append(*out, int(p.X))
		}
		if m.Kind != kindPointer {
			*out = append(*out, -int(m.RSeq))
		}
	}
}

func motion(barrier, first uint32, xs ...int32) Message {
	m := Message{Kind: kindPointer, Device: devicePen, Barrier: barrier, First: first}
	for _, x := range xs {
		m.Samples = append(m.Samples, Sample{X: x})
	}
	return m
}

// run is a motion of the samples from first to last, each at its number.
func run(barrier, first, last uint32) Message {
	m := motion(barrier, first)
	for n := first; ; n++ {
		m.Samples = append(m.Samples, Sample{X: int32(n)})
		if n == last {
			return m
		}
	}
}

func press(rseq, first uint32, xs ...int32) Message {
	m := motion(0, first, xs...)
	m.Kind, m.RSeq, m.Button, m.Down = kindButton, rseq, 1, true
	return m
}

func lift(rseq, first uint32, xs ...int32) Message {
	m := press(rseq, first, xs...)
	m.Down = false
	return m
}

func TestSequence(t *testing.T) {
	now := time.Now()
	stroke := motion(1, 3, 3)
	stroke.Kind, stroke.RSeq = kindStroke, 2
	for name, c := range map[string]struct {
		in   []Message
		want []int
	}{
		"repeated samples count once":             {[]Message{motion(0, 1, 1, 2), motion(0, 1, 1, 2, 3), motion(0, 2, 2, 3, 4)}, []int{1, 2, 3, 4}},
		"a late message brings nothing":           {[]Message{motion(0, 3, 3, 4), motion(0, 1, 1, 2)}, []int{3, 4}},
		"a gap of a hover is passed over":         {[]Message{motion(0, 1, 1), motion(0, 9, 9)}, []int{1, 9}},
		"a gap of a stroke is waited for":         {[]Message{press(1, 1, 1), motion(1, 4, 4, 5), motion(1, 3, 3), motion(1, 2, 2)}, []int{1, -1, 2, 3, 4, 5}},
		"motion waits for its press":              {[]Message{motion(1, 2, 2), press(1, 1, 1)}, []int{1, -1, 2}},
		"what waited keeps its order":             {[]Message{motion(2, 3, 3), motion(1, 2, 2), press(1, 1, 1), press(2, 2, 2)}, []int{1, -1, 2, 2, -2, 3}},
		"a lift brings what is missing":           {[]Message{press(1, 1, 1), motion(1, 4, 4), lift(2, 2, 2, 3, 4, 5), motion(2, 6, 6)}, []int{1, -1, 2, 3, 4, 5, -2, 6}},
		"so does a part of a stroke":              {[]Message{press(1, 1, 1), motion(1, 2, 2), motion(1, 4, 4), stroke}, []int{1, -1, 2, 3, -2, 4}},
		"a part of a stroke that is known":        {[]Message{press(1, 1, 1), run(1, 2, 4), stroke}, []int{1, -1, 2, 3, 4}},
		"a release leaves nothing held":           {[]Message{press(1, 1, 1), motion(1, 4, 4), {Kind: kindRelease, RSeq: 2}, motion(2, 9, 9)}, []int{1, -1, 4, -2, 9}},
		"a lift that knows less passes over":      {[]Message{press(1, 1, 1), motion(1, 4, 4), lift(2, 7, 7)}, []int{1, -1, 4, 7, -2}},
		"a press keeps its place if all is known": {[]Message{motion(0, 1, 1, 2), press(1, 1, 1, 2)}, []int{1, 2, 2, -1}},
		"numbers wrap around":                     {[]Message{press(math.MaxUint32, math.MaxUint32, 7), motion(math.MaxUint32, 0, 8)}, []int{7, -math.MaxUint32, 8}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sequence{}
			if name == "numbers wrap around" {
				s.applied, s.reliable = math.MaxUint32-1, math.MaxUint32-1
			}
			if got := order(s, now, c.in...); !slices.Equal(got, c.want) {
				t.Fatalf("handed on %v, want %v", got, c.want)
			}
			if s.held != 0 || !s.deadline().IsZero() {
				t.Fatalf("%d samples are held in the end", s.held)
			}
		})
	}
}

func TestSequenceSkipsWhatDoesNotComeInTimeAndCountsIt(t *testing.T) {
	s, now := &sequence{}, time.Now()
	got := order(s, now, press(1, 1, 1), run(1, 4, 5), run(1, 9, 9))
	if want := []int{1, -1}; !slices.Equal(got, want) || s.missing() != 4 {
		t.Fatalf("handed on %v, goes on at %d", got, s.missing())
	}
	got = nil
	s.release(now.Add(maxHeldTime-time.Millisecond), into(&got))
	if len(got) != 0 {
		t.Fatalf("%v was handed on too early", got)
	}
	now = s.deadline()
	s.release(now, into(&got))
	if !slices.Equal(got, []int{4, 5}) || s.skipped != 2 {
		t.Fatalf("at the deadline %v was handed on, %d skipped", got, s.skipped)
	}
	if d := s.deadline(); d != now.Add(maxHeldTime) {
		t.Fatalf("the next gap is waited for until %v later", d.Sub(now))
	}
	s.release(s.deadline(), into(&got))
	if !slices.Equal(got, []int{4, 5, 9}) || s.skipped != 5 || !s.deadline().IsZero() {
		t.Fatalf("in the end %v, %d skipped", got, s.skipped)
	}
}

func TestSequenceHoldsNoMoreThanItMay(t *testing.T) {
	s, now := &sequence{}, time.Now()
	order(s, now, press(1, 1, 1))
	var got []int
	for n := uint32(3); n < 3*maxHeldSamples; n++ {
		s.take(run(1, n, n), now, into(&got))
		if s.held > maxHeldSamples || len(s.slots) > maxHeldSamples {
			t.Fatalf("%d samples are held", s.held)
		}
	}
	if s.skipped != 1 || len(got) < maxHeldSamples || !slices.IsSorted(got) {
		t.Fatalf("%d handed on, %d skipped", len(got), s.skipped)
	}
	// A number out of all reason costs no more.
	s.take(run(1, 1<<30, 1<<30), now, into(&got))
	s.take(run(1, 1<<30+5, 1<<30+5), now, into(&got))
	if s.held != 2 || s.missing() != 1<<30 || s.skipped < 1<<29 {
		t.Fatalf("%d held after a leap, goes on at %d", s.held, s.missing())
	}
}

// TestSequenceKeepsStrokesWhole has motion come in any order, some of it twice, none of it never.
func TestSequenceKeepsStrokesWhole(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		s, now := &sequence{}, time.Now()
		got := order(s, now, press(1, 1, 1))[:1]
		var on []Message
		const last = 300
		for n := uint32(2); n <= last; {
			end := min(n+r.Uint32N(30), last)
			on = append(on, run(1, max(n-r.Uint32N(14), 2), end))
			n = end + 1
		}
		again := slices.Clone(on)
		for i := range on { // each up to five places late
			j := min(i+r.IntN(6), len(on)-1)
			on[i], on[j] = on[j], on[i]
		}
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		for _, m := range append(on, again...) {
			if r.IntN(4) != 0 || len(on) == 0 {
				s.take(m, now, into(&got))
			}
		}
		for _, m := range again { // what was lost comes after all
			s.take(m, now, into(&got))
		}
		if len(got) != last || !slices.IsSorted(got) || s.skipped != 0 || s.held != 0 {
			t.Fatalf("seed %d: %d of %d samples in order, %d skipped", seed, len(got), last, s.skipped)
		}
	}
}

func TestAcknowledgementsAreFewAndNameTheGap(t *testing.T) {
	s, now := &sequence{}, time.Now()
	var told [][2]uint32
	a := acks{send: func(b []byte) { told = append(told, [2]uint32{le32(b, 4), le32(b, 8)}) }}
	do := func(m Message) {
		order(s, now, m)
		a.tell(s, now)
	}
	do(run(0, 1, 5)) // a hover is nobody's concern
	do(press(1, 6, 6))
	for n := uint32(7); n < 107; n++ {
		now = now.Add(time.Millisecond)
		do(run(1, n, n))
	}
	if len(told) < 4 || len(told) > 6 || told[0] != [2]uint32{6, 0} {
		t.Fatalf("100 ms of a stroke are told by %v", told)
	}
	now = now.Add(ackGap)
	do(run(1, 110, 112))
	if got := told[len(told)-1]; got != [2]uint32{106, 110} {
		t.Fatalf("a gap is told by %v", got)
	}
	n := len(told)
	do(run(1, 113, 113))
	if len(told) != n || !a.due(s).IsZero() {
		t.Fatal("the same gap is told again")
	}
	now = now.Add(ackEvery)
	do(run(1, 107, 109))
	if got := told[len(told)-1]; got != [2]uint32{113, 0} {
		t.Fatalf("a gap that was filled is told by %v", got)
	}
	do(lift(2, 114, 114))
	now = now.Add(ackEvery)
	a.tell(s, now)
	if got := told[len(told)-1]; got != [2]uint32{114, 0} {
		t.Fatalf("the end of a stroke is told by %v", got)
	}
	do(run(2, 115, 119))
	if !a.due(s).IsZero() {
		t.Fatal("something is to be told after the stroke")
	}
}
