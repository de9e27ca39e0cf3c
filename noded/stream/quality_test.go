package stream

import "testing"

// TestWhatMovesSharpensBySteps: once tiles gain on the video no more, whether they have won or not.
func TestWhatMovesSharpensBySteps(t *testing.T) {
	const factor, last = 20, 50
	coarse := soften(0, last, false, factor)
	if coarse != 0 {
		t.Fatalf("what was never kept coarse is no finer than %d", coarse)
	}
	for range 3 {
		if coarse = soften(coarse, last, true, factor); coarse != last {
			t.Fatalf("no finer than %d while tiles gain, want the last frame's %d", coarse, last)
		}
	}
	for frames := 0; coarse != 0; frames++ {
		before := coarse
		coarse = soften(coarse, before, false, factor)
		if coarse != 0 && before-coarse != sharpening || frames > (last-factor)/sharpening {
			t.Fatalf("frame %d goes from %d to %d", frames, before, coarse)
		}
	}
}
