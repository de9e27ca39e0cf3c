package stream

import (
	"errors"
	"image"
	"testing"
)

// rowsEncoder counts the rows that it is given, and fails for one.
type rowsEncoder struct {
	Encoder
	bad int
}

func (e rowsEncoder) Update(_ []byte, _ int, rects []image.Rectangle) (int, error) {
	n := 0
	for _, r := range rects {
		if r.Min.Y <= e.bad && e.bad < r.Max.Y {
			return n, errors.New("no")
		}
		n += r.Dy()
	}
	return n, nil
}

func TestIntakeTakesEachPieceOnceAndMakesNothingNew(t *testing.T) {
	in := newIntake()
	defer in.close()
	rects := []image.Rectangle{image.Rect(0, 10, 50, 300), image.Rect(20, 500, 30, 520)}
	take := func(enc Encoder) (int, error) {
		in.begin(enc, nil, 0, rects)
		for y := 0; y < 576; y += 64 {
			in.arrived(image.Rect(0, y, 100, y+64))
		}
		return in.wait()
	}
	var good Encoder = rowsEncoder{bad: -1}
	check := func() {
		if n, err := take(good); n != 310 || err != nil {
			t.Errorf("%d rows, %v; want 310", n, err)
		}
	}
	check()
	// Half of one: elsewhere in the process something may be made meanwhile.
	if n := testing.AllocsPerRun(100, check); n >= 0.5 {
		t.Errorf("%v allocations a frame, want none", n)
	}
	if n, err := take(rowsEncoder{bad: 510}); n != 298 || err == nil {
		t.Errorf("%d rows, %v; want 298 and what was wrong with the others", n, err)
	}
	check()
}
