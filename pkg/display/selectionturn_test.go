package display

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"easel/pkg/display/xorgtest"
)

// pinged waits until an application has answered so many pings.
func pinged(t *testing.T, a *xorgtest.Application, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); a.Pinged() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("an application was asked %d times whether it is done, want %d", a.Pinged(), n)
		}
	}
}

// Who tells the application to paste learns when it has all that it asks for, and that it asks for nothing.
func TestApplicationHasTakenWhatItWasGiven(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	if err := c.Taken(t.Context()); !errors.Is(err, errNoApplication) {
		t.Fatalf("where no application has the keyboard: %v", err)
	}
	a.Activate(t)
	release := make(chan struct{})
	from := &source{fetch: func() io.ReadCloser {
		<-release
		return io.NopCloser(bytes.NewReader([]byte("vom Tisch")))
	}}
	if err := c.Own(t.Context(), FormatsOf(ClipText), from); err != nil {
		t.Fatal(err)
	}
	if err := c.Taken(t.Context()); err != nil {
		t.Fatalf("who asks for nothing: %v", err)
	}
	if n := a.Pinged(); n != calmTurns {
		t.Errorf("it was asked %d times, want %d", n, calmTurns)
	}
	a.Ask("UTF8_STRING")
	taken := make(chan error, 1)
	go func() { taken <- c.Taken(t.Context()) }()
	pinged(t, a, calmTurns+1)
	if got, err := a.Paste(t.Context(), "TARGETS"); err != nil || len(got) == 0 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	select {
	case err := <-taken:
		t.Fatalf("it is said to have taken what it waits for: %v", err)
	default:
	}
	close(release)
	select {
	case err := <-taken:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("an application that has all that it asked for is not done")
	}
}

// An application that does not say that it is done is waited for until nobody wants to know.
func TestBusyApplicationIsGivenUp(t *testing.T) {
	s := xorgtest.Start(t)
	c, a := openClipboard(t, s, usualPatience), s.Application(t)
	a.Activate(t)
	a.Busy()
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error, 1)
	go func() { given <- c.Taken(ctx) }()
	pinged(t, a, 1)
	cancel()
	select {
	case err := <-given:
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it is waited for still")
	}
}
