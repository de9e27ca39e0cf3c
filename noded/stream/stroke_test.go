package stream

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"easel/integration/lossylink"
	"easel/noded/stream/input/inputtest"
)

// strokes are what the artist of this test draws, in samples a millisecond apart: a long one, because the end of a stroke brings all that is
// missing of it.
var strokes = []int{300, 4000, 300}

// drawStrokes draws them in the page with a pen, as a browser hands it on: several samples at once, sometimes many.
const drawStrokes = `(async () => {
  const target = document.getElementById('screen');
  const sample = (type, n, init) => {
    const a = n * Math.PI / 300;
    const e = new PointerEvent(type, {
      bubbles: true, cancelable: true, pointerId: 5, pointerType: 'pen', isPrimary: true, button: -1, twist: n %% 360,
      clientX: 640 + 500 * Math.sin(a), clientY: 360 + 300 * Math.sin(a * 1.7),
      pressure: 0.5 + 0.499 * Math.sin(a * 3.1), altitudeAngle: 1 + 0.3 * Math.sin(a), azimuthAngle: 3 + 2.9 * Math.sin(a * 0.7), ...init});
    Object.defineProperty(e, 'timeStamp', {value: 10000 + n});
    return e;
  };
  let n = 0, events = 0;
  for (const length of %s) {
    const end = n + length - 1;
    target.dispatchEvent(sample('pointermove', n, {buttons: 0}));
    target.dispatchEvent(sample('pointerdown', n++, {button: 0, buttons: 1}));
    while (n < end) {
      const coalescedEvents = [];
      for (let k = ++events %% 5 === 0 ? 36 : 8; k > 0 && n < end; k--) coalescedEvents.push(sample('pointermove', n++, {buttons: 1}));
      const last = coalescedEvents.at(-1);
      const e = sample('pointermove', n - 1, {buttons: 1, coalescedEvents});
      target.dispatchEvent(e);
      await new Promise((r) => setTimeout(r, coalescedEvents.length));
    }
    target.dispatchEvent(sample('pointerup', n++, {button: 0, buttons: 0}));
  }
  return n;
})()`

// curve is sample n of what drawStrokes draws.
func curve(n int) inputtest.Record {
	a := float64(n) * math.Pi / 300
	altitude, azimuth := 1+0.3*math.Sin(a), 3+2.9*math.Sin(a*0.7)
	degrees := func(v float64) int16 { return int16(math.Round(math.Atan(v/math.Tan(altitude)) * 18000 / math.Pi)) }
	return inputtest.Record{
		X: int32(math.Round((640 + 500*math.Sin(a)) * 256)), Y: int32(math.Round((360 + 300*math.Sin(a*1.7)) * 256)),
		Pressure: uint16(math.Round((0.5 + 0.499*math.Sin(a*3.1)) * 65535)),
		TiltX:    degrees(math.Cos(azimuth)), TiltY: degrees(math.Sin(azimuth)), Twist: uint16(n % 360 * 100), TimeMS: uint32(10000 + n),
	}
}

// linked has the viewers of s come through a link of 50 ms each way.
func linked(t testing.TB, s *session, seed uint64) *lossylink.Link {
	t.Helper()
	link, err := lossylink.Open(50*time.Millisecond, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	port := regexp.MustCompile(`( 127\.0\.0\.1 )(\d+)( typ host)`)
	s.via = func(answer string) string {
		if m := port.FindStringSubmatch(answer); m != nil {
			far, _ := strconv.Atoi(m[2])
			link.Aim(far)
		}
		return port.ReplaceAllString(answer, "${1}"+strconv.Itoa(link.Port())+"${3}")
	}
	return link
}

// TestStrokesKeepTheirShapeOverALossyLink draws in real Chromium, over a link of 100 ms there and back that loses a twentieth each way and, once,
// everything for 300 ms. All samples must reach the pen driver, once, in order, as they were drawn.
func TestStrokesKeepTheirShapeOverALossyLink(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	link := linked(t, s, 7)
	ctx := watch(t, s, "size=1280x720")
	link.Lose(0.05)
	drawn := make(chan int, 1)
	go func() {
		drawn <- evaluate[int](t, ctx, fmt.Sprintf(drawStrokes, strings.Join(strings.Fields(fmt.Sprint(strokes)), ",")))
	}()

	all := 0
	for _, n := range strokes {
		all += n
	}
	var got []inputtest.Record
	down, blackout := 0, time.Time{}
	for lifted := 0; lifted < len(strokes); {
		r := s.pen.Next(t)
		switch r.Kind {
		case inputtest.Press:
			down++
		case inputtest.Release:
			down--
			lifted++
		case inputtest.Motion:
			// What a button happened at is said again.
			if len(got) == 0 || got[len(got)-1] != r {
				got = append(got, r)
			}
		}
		if blackout.IsZero() && len(got) > 2*strokes[0] {
			blackout = time.Now()
			link.Lose(1)
			time.AfterFunc(300*time.Millisecond, func() { link.Lose(0.05) })
		}
	}
	if n := <-drawn; n != all || down != 0 {
		t.Fatalf("%d samples were drawn, %d buttons are down", n, down)
	}
	var worst, worstTilt, worstPressure float64
	for i, r := range got {
		if i == all {
			t.Fatalf("%d samples came, want %d", len(got), i)
		}
		w := curve(i)
		if r.TimeMS != w.TimeMS || r.Device != inputtest.ToPen || r.Twist != w.Twist {
			t.Fatalf("record %d is %+v, want %+v", i, r, w)
		}
		worst = max(worst, math.Hypot(float64(r.X-w.X), float64(r.Y-w.Y))/256)
		worstPressure = max(worstPressure, math.Abs(float64(r.Pressure)-float64(w.Pressure)))
		worstTilt = max(worstTilt, math.Abs(float64(r.TiltX-w.TiltX)), math.Abs(float64(r.TiltY-w.TiltY)))
	}
	var st Stats
	s.get(t, "/stats", &st)
	lost, passed := link.Counts()
	t.Logf("%d samples, %d of %d packets lost: off by at most %.4f px, %v/65535 of pressure, %v/100 ° of tilt", len(got), lost, lost+passed, worst, worstPressure, worstTilt)
	if len(got) != all || st.Skipped != 0 {
		t.Errorf("%d samples came, want %d; %d skipped", len(got), all, st.Skipped)
	}
	if worst > 2.0/256 || worstPressure > 1 || worstTilt > 1 {
		t.Error("the strokes lost their shape")
	}
	if lost < 10 {
		t.Errorf("the link lost %d packets only: nothing was proven", lost)
	}
}
