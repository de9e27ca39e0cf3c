package input

import (
	"testing"
	"time"
)

func TestMarksTellTheInputBeforeADamageOnce(t *testing.T) {
	var m marks
	at := time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	if _, ok := m.take(at); ok {
		t.Fatal("a picture follows no input")
	}
	for i := range 10 {
		m.note(Mark{Sample: uint32(i + 1), Came: ms(10*i - 1), Given: ms(10 * i)})
	}
	if k, ok := m.take(ms(45)); !ok || k.Sample != 5 {
		t.Fatalf("a damage after the fifth input follows %+v, %v", k, ok)
	}
	if k, ok := m.take(ms(49)); ok {
		t.Fatalf("the next damage follows %+v again", k)
	}
	if k, ok := m.take(ms(90)); !ok || k.Sample != 10 {
		t.Fatalf("a damage after all input follows %+v, %v", k, ok)
	}
	m.note(Mark{Sample: 11, Given: ms(100)})
	if k, ok := m.take(ms(100).Add(causeTime)); ok {
		t.Fatalf("half a second later, a damage follows %+v", k)
	}
	if k, ok := m.take(ms(101)); ok {
		t.Fatalf("what had no picture has one later: %+v", k)
	}
	for i := range 1000 { // a hand that changes nothing
		m.note(Mark{Sample: uint32(100 + i), Given: ms(2000 + i)})
	}
	if k, ok := m.take(ms(3010)); !ok || k.Sample != 1099 {
		t.Fatalf("after many, a damage follows %+v, %v", k, ok)
	}
}
