package stream

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"easel/noded/stream/contract"
)

func TestMarksTellTheInputBeforeADamageOnce(t *testing.T) {
	var m marks
	at := time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	if _, ok := m.take(at); ok {
		t.Fatal("a picture follows no input")
	}
	for i := range 10 {
		m.note(mark{sample: uint32(i + 1), came: ms(10*i - 1), given: ms(10 * i)})
	}
	if k, ok := m.take(ms(45)); !ok || k.sample != 5 {
		t.Fatalf("a damage after the fifth input follows %+v, %v", k, ok)
	}
	if k, ok := m.take(ms(49)); ok {
		t.Fatalf("the next damage follows %+v again", k)
	}
	if k, ok := m.take(ms(90)); !ok || k.sample != 10 {
		t.Fatalf("a damage after all input follows %+v, %v", k, ok)
	}
	m.note(mark{sample: 11, given: ms(100)})
	if k, ok := m.take(ms(100).Add(causeTime)); ok {
		t.Fatalf("half a second later, a damage follows %+v", k)
	}
	if k, ok := m.take(ms(101)); ok {
		t.Fatalf("what had no picture has one later: %+v", k)
	}
	for i := range 1000 { // a hand that changes nothing
		m.note(mark{sample: uint32(100 + i), given: ms(2000 + i)})
	}
	if k, ok := m.take(ms(3010)); !ok || k.sample != 1099 {
		t.Fatalf("after many, a damage follows %+v, %v", k, ok)
	}
}

func TestCaptureTimeIsNTPs(t *testing.T) {
	epoch := time.Date(2026, 3, 4, 5, 6, 7, 250_000_000, time.UTC)
	c := clock{epoch}
	for _, since := range []time.Duration{0, 1500 * time.Millisecond, 100 * time.Hour} { // the timestamp wraps after 13
		captured := epoch.Add(since)
		stamp := uint32(int64(since * 90 / time.Millisecond))
		b := c.absCapture(stamp, captured.Add(40*time.Millisecond))
		v := uint64(0)
		for _, x := range b {
			v = v<<8 | uint64(x)
		}
		got := float64(v>>32) - 2_208_988_800 + float64(v&math.MaxUint32)/(1<<32)
		if want := float64(captured.UnixMicro()) / 1e6; len(b) != 8 || math.Abs(got-want) > 1e-4 {
			t.Errorf("%v after the start: %f s, want %f", since, got, want)
		}
	}
	if got, want := c.ms(epoch.Add(1500*time.Microsecond)), float64(epoch.UnixMilli())+1.5; math.Abs(got-want) > 1e-3 {
		t.Errorf("the clock says %f ms, want %f", got, want)
	}
}

func TestEchoHasItsGoldenBytes(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "pkg", "viewer", "src", "testdata", "wire.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Echo struct {
			Sample, RSeq, Picture uint32
			Arrived               float64
			Stages                [7]float64
			Hex                   string
		}
	}
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	e := echo{way: byTile, input: mark{sample: g.Echo.Sample, rseq: g.Echo.RSeq}, picture: g.Echo.Picture, arrived: g.Echo.Arrived}
	for i, ms := range g.Echo.Stages {
		e.took[i] = time.Duration(ms * float64(time.Millisecond))
	}
	if got := hex.EncodeToString(e.append(nil)); got != g.Echo.Hex {
		t.Errorf("an ECHO is %s, want %s", got, g.Echo.Hex)
	}
	e.took[0], e.took[1] = -time.Second, 1<<62
	if got := e.append(nil); le32(got, 24) != 0 || le32(got, 28) != uint32(time.Hour.Microseconds()) {
		t.Errorf("what is out of bounds is %x", got)
	}
}

func TestViewerMayTellOfItsOwnStagesOnly(t *testing.T) {
	l := newLatency()
	good := `{"t":"latency","stages":{"hand":{"n":[0,1,0,0,0,0,0,0,0,0,0,0,0,2],"ms":4000.5},"input":{"n":[0,0,0,0,0,0,0,0,0,0,0,0,0,0],"ms":0}}}`
	m, err := parseControl([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	l.add(m.Stages)
	l.add(m.Stages)
	told := l.told()
	if h := told[contract.StageHand]; h.N[1] != 2 || h.N[13] != 4 || h.MS != 8001 {
		t.Fatalf("counted %+v", h)
	}
	if err := told.Check(); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"the node's stage": strings.Replace(good, `"hand"`, `"encode"`, 1), "no stage": strings.Replace(good, `"hand"`, `"heart"`, 1),
		"too few counts": strings.Replace(good, "[0,1,", "[", 1), "a flood": strings.Replace(good, "[0,1,", "[0,1000000,", 1),
		"less than nothing": strings.Replace(good, "[0,1,", "[0,-1,", 1), "a negative sum": strings.Replace(good, "4000.5", "-4000.5", 1),
		"no histogram": strings.Replace(good, `{"n":[0,1`, `{"m":[0,1`, 1),
	} {
		if m, err := parseControl([]byte(bad)); err == nil {
			t.Errorf("%s is read as %+v", name, m)
		}
	}
}

// BenchmarkEcho is of what a frame costs beside its encoder: nothing may be allocated in it.
func BenchmarkLatency(b *testing.B) {
	l, m, c := newLatency(), &marks{}, clock{time.Now()}
	var e echo
	buf := make([]byte, 0, 64)
	took := [stages]time.Duration{1, 2, 3, 4, 5, 6}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		m.note(mark{sample: 1, came: now, given: now})
		e.input, _ = m.take(now)
		buf = e.append(buf[:0])
		_ = c.absCapture(5, now)
		l.observe(contract.StageDamage, took[stageWait:stageTotal]...)
	}
}
