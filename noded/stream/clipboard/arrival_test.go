package clipboard

import (
	"bytes"
	"testing"

	"easel/pkg/display"
)

// A viewer sends more than it may: what is read of it stays bounded.
func TestArrivalIsBounded(t *testing.T) {
	a := newArrival(display.ClipText, 1)
	part := make([]byte, MaxMessage)
	var err error
	for n := 0; n <= display.MaxClipText && err == nil; n += len(part) {
		err = a.add(part)
	}
	if err == nil || a.content.size > display.MaxClipText {
		t.Fatalf("%d bytes were taken, %v", a.content.size, err)
	}
	if err := a.add(part); err == nil {
		t.Fatal("it takes more afterwards")
	}
	r := a.reader(t.Context(), func(bool, bool) {})
	if n, err := bytes.NewBuffer(nil).ReadFrom(r); err == nil {
		t.Fatalf("%d bytes of a content that is too large were read as whole", n)
	}
}
