package tile

import (
	"testing"
	"time"
)

func TestFlowCountsWhatIsOnItsWay(t *testing.T) {
	f, now := NewFlow(func(int, time.Time) {}), time.Unix(1000, 0)
	send := func(bytes int, gen uint32) {
		f.n++
		f.gen = gen
		f.waiting[f.n%maxMessages] = sentMessage{now, bytes, gen, true}
		f.bytes += bytes
	}
	for i := range 10 {
		send(1000, uint32(i+1))
	}
	if got := f.room(false); got != startWindow-10_000 {
		t.Fatalf("%d bytes of room, want %d", got, startWindow-10_000)
	}
	now = now.Add(5 * time.Millisecond)
	if err := f.Take(Report{N: 4}, now); err != nil {
		t.Fatal(err)
	}
	if f.bytes != 6000 || f.ackedGen != 4 {
		t.Fatalf("%d bytes on their way in generations after %d, want 6000 after 4", f.bytes, f.ackedGen)
	}
	for _, n := range []uint32{3, 11, 4 + maxMessages, 1 << 31} {
		if err := f.Take(Report{N: n}, now); err == nil {
			t.Fatalf("a confirmation of message %d was taken", n)
		}
	}
	if at := f.overdue(now.Add(-time.Second)); !at.Equal(now.Add(rescueAfter - 5*time.Millisecond)) {
		t.Fatalf("the first change is overdue at %v", at)
	}
	if at := f.overdue(now); !at.IsZero() {
		t.Fatalf("a change that the video has shown since is overdue at %v", at)
	}
	for i := range maxGens {
		send(1, uint32(11+i))
	}
	if f.room(true) != 0 {
		t.Fatal("there is room for a generation too many")
	}
	if err := f.Take(Report{N: f.n}, now); err != nil || f.bytes != 0 {
		t.Fatalf("%d bytes on their way when all is confirmed: %v", f.bytes, err)
	}
}

func TestFlowShrinksWithAQueueAndGrowsWithout(t *testing.T) {
	f, now := NewFlow(func(int, time.Time) {}), time.Unix(1000, 0)
	turn := func(took time.Duration) {
		for f.bytes < int(f.window) {
			f.n++
			f.waiting[f.n%maxMessages] = sentMessage{at: now, bytes: 4000}
			f.bytes += 4000
		}
		now = now.Add(took)
		if err := f.Take(Report{N: f.acked + 1}, now); err != nil {
			t.Fatal(err)
		}
		if err := f.Take(Report{N: f.n}, now); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		turn(5 * time.Millisecond)
	}
	grown := f.window
	if grown < 2*startWindow {
		t.Fatalf("the window is %.0f after 20 quick turns", grown)
	}
	for range 20 {
		turn(200 * time.Millisecond)
	}
	if f.window > grown/4 {
		t.Fatalf("the window is %.0f after 20 slow turns, was %.0f", f.window, grown)
	}
}
