package lossylink

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestLinkDelaysLosesAndAnswers(t *testing.T) {
	far, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	const delay = 20 * time.Millisecond
	l, err := Open(delay, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Aim(far.LocalAddr().(*net.UDPAddr).Port)
	near, err := net.Dial("udp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port())))
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	deadline := time.Now().Add(20 * time.Second)
	_ = far.SetReadDeadline(deadline)
	_ = near.SetReadDeadline(deadline)
	buf := make([]byte, 16)
	began := time.Now()
	if _, err := near.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	n, back, err := far.ReadFromUDP(buf)
	if err != nil || string(buf[:n]) != "there" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if _, err := far.WriteToUDP([]byte("back"), back); err != nil {
		t.Fatal(err)
	}
	if n, err = near.Read(buf); err != nil || string(buf[:n]) != "back" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Fatalf("there and back took %v, want at least %v", took, 2*delay)
	}
	l.Lose(0.25)
	for sent := uint64(1); sent <= 1000; sent++ {
		if _, err := near.Write(buf[:1]); err != nil {
			t.Fatal(err)
		}
		if sent%50 != 0 {
			continue
		}
		for lost, passed := l.Counts(); lost+passed < 2+sent; lost, passed = l.Counts() {
			if time.Now().After(deadline) {
				t.Fatalf("%d lost and %d passed of %d", lost, passed, 2+sent)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if lost, _ := l.Counts(); lost < 180 || lost > 320 {
		t.Fatalf("%d of 1000 were lost, want a quarter", lost)
	}
}

// A turn is told by the clock that it is given: the tests of a narrow link need none.
func TestNarrowLinkGivesTurnsAndDropsWhatWouldWaitTooLong(t *testing.T) {
	l, err := Open(30*time.Millisecond, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Narrow(1000, 100*time.Millisecond) // 1250 bytes take 10 ms
	w, now := &way{link: l, lane: &l.there, draw: rand.New(rand.NewPCG(1, 1))}, time.Now()
	passed := 0
	for i := range 20 {
		due, ok := w.turn(1250, now)
		if !ok {
			continue
		}
		passed++
		if want := time.Duration(i+1)*10*time.Millisecond + 30*time.Millisecond; due.Sub(now) != want {
			t.Fatalf("packet %d arrives after %v, want %v", i, due.Sub(now), want)
		}
	}
	if passed != 11 {
		t.Errorf("%d packets of 20 passed, want 11", passed)
	}
	l.Dark(true)
	if _, ok := w.turn(10, now.Add(time.Second)); ok {
		t.Error("a packet passed in the dark")
	}
	l.Dark(false)
	l.Narrow(0, 0)
	if due, ok := w.turn(1250, now.Add(time.Second)); !ok || due.Sub(now) != time.Second+30*time.Millisecond {
		t.Errorf("on a wide link again a packet arrives after %v", due.Sub(now))
	}
}

// A stream carries every byte both ways, no faster than the link does, and shares it with packets.
func TestStreamGoesThroughTheLink(t *testing.T) {
	far, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	go func() { // an echo
		for {
			c, err := far.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	l, err := Open(5*time.Millisecond, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const kbps, bytes = 8000, 300_000
	l.Narrow(kbps, 50*time.Millisecond)
	s, err := l.Stream(far.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	sent := make([]byte, bytes)
	for i := range sent {
		sent[i] = byte(i * i >> 3)
	}
	began, wrote := time.Now(), make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		wrote <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-wrote); err != nil || !slices.Equal(got, sent) {
		t.Fatalf("%d bytes of %d came back, %v", len(got), bytes, err)
	}
	if took, least := time.Since(began), time.Duration(bytes)*8*time.Millisecond/kbps; took < least {
		t.Errorf("%d bytes took %v, want %v at least", bytes, took, least)
	}
	if s.Bytes() != 2*bytes {
		t.Errorf("%d bytes came through, want %d", s.Bytes(), 2*bytes)
	}
}

// A stream's connections can be cut, at the near end by a reset; the next one goes through.
func TestStreamIsCut(t *testing.T) {
	far, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	l, err := Open(time.Millisecond, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := l.Stream(far.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		near, err := net.Dial("tcp4", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		other, err := far.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		b := make([]byte, 4)
		for _, c := range []net.Conn{near, other} {
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		}
		if _, err := near.Write([]byte("here")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other, b); err != nil || string(b) != "here" {
			t.Fatalf("%q came, %v", b, err)
		}
		s.Cut()
		if n, err := near.Read(b); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("at the near end of a connection that was cut %d bytes come, %v", n, err)
		}
		if n, err := other.Read(b); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			t.Errorf("at its far end %d bytes come, %v", n, err)
		}
	}
}

// A stream's window doubles in a round trip until something is lost, and grows by one segment in a round trip from then on.
func TestStreamsWindowFollowsLoss(t *testing.T) {
	f := &flight{window: firstWindow}
	f.room = sync.NewCond(&f.mu)
	trip := func() {
		for range int(f.window) {
			f.take()
		}
		for f.out > 0 {
			f.acked()
		}
	}
	trip()
	trip()
	if f.window != 4*firstWindow {
		t.Errorf("after two round trips the window is %.0f segments, want %d", f.window, 4*firstWindow)
	}
	f.cut()
	before := f.window
	if before != 4*firstWindow*cutWindow {
		t.Errorf("after a loss it is %.1f", before)
	}
	if trip(); f.window < before+0.9 || f.window > before+1 {
		t.Errorf("a round trip later it is %.2f, want one more than %.2f", f.window, before)
	}
	for range 100 {
		f.cut()
	}
	if f.window != leastWindow {
		t.Errorf("after much loss it is %.2f", f.window)
	}
}
