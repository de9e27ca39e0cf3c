package stream

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/input"
)

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
	e := echo{way: byTile, input: input.Mark{Sample: g.Echo.Sample, RSeq: g.Echo.RSeq}, picture: g.Echo.Picture, arrived: g.Echo.Arrived}
	for i, ms := range g.Echo.Stages {
		e.took[i] = time.Duration(ms * float64(time.Millisecond))
	}
	if got := hex.EncodeToString(e.append(nil)); got != g.Echo.Hex {
		t.Errorf("an ECHO is %s, want %s", got, g.Echo.Hex)
	}
	e.took[0], e.took[1] = -time.Second, 1<<62
	if got := e.append(nil); binary.LittleEndian.Uint32(got[24:]) != 0 || binary.LittleEndian.Uint32(got[28:]) != uint32(time.Hour.Microseconds()) {
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
		"more than can be": strings.Replace(good, "4000.5", "1125899906842624", 1), "a sum of nothing": strings.Replace(good, `"ms":0`, `"ms":5`, 1),
		"no histogram": strings.Replace(good, `{"n":[0,1`, `{"m":[0,1`, 1),
	} {
		if m, err := parseControl([]byte(bad)); err == nil {
			t.Errorf("%s is read as %+v", name, m)
		}
	}
}

// TestViewerThatMakesUpLatenciesSpoilsNoHealth: noded takes no health with counts that nobody can have measured, and ends the streamer that tells of them.
func TestViewerThatMakesUpLatenciesSpoilsNoHealth(t *testing.T) {
	l := newLatency()
	l.all[contract.StageInput].N[0], l.all[contract.StageHand].MS = 1<<50, 1<<50
	most := contract.NewHistogram()
	most.N[0], most.MS = 1, 1
	for range 3 {
		l.add(map[string]contract.Histogram{"hand": most, "input": most})
		if err := l.told().Check(); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.told()[contract.StageHand].Count(); n != 2 {
		t.Errorf("%d durations are counted after it began anew with two", n)
	}
}

// BenchmarkLatency is of what a frame costs beside its encoder: nothing may be allocated in it.
func BenchmarkLatency(b *testing.B) {
	l, c := newLatency(), clock{time.Now()}
	var e echo
	buf := make([]byte, 0, 64)
	took := [stages]time.Duration{1, 2, 3, 4, 5, 6}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		e.input = input.Mark{Sample: 1, Came: now, Given: now}
		buf = e.append(buf[:0])
		_ = c.absCapture(5, now)
		l.observe(contract.StageDamage, took[stageWait:stageTotal]...)
	}
}
