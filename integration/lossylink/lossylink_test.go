package lossylink

import (
	"math/rand/v2"
	"net"
	"strconv"
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
	w, now := &way{link: l, draw: rand.New(rand.NewPCG(1, 1))}, time.Now()
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
