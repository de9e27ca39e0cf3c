package browser

import (
	"image"
	"image/color"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// localScreen is a viewer with nothing remote: a picture that answers a click by itself, shown as a canvas or, through
// captureStream, as a video. It carries xclient's marker of counter 0x1234.
const localScreen = `<!doctype html><style>body{margin:0}#screen *{position:absolute;left:0;top:0}</style><div id="screen"></div>
<script>
const source = document.createElement('canvas');
source.width = 640; source.height = 360;
const g = source.getContext('2d');
let color = '#ffffff';
function draw() {
  g.fillStyle = color; g.fillRect(0, 0, 640, 360);
  const c = 0x1234, sum = (c ^ (c >> 4) ^ (c >> 8) ^ (c >> 12) ^ 9) & 15;
  for (let i = 0; i < 22; i++) {
    const on = i === 0 || (i >= 2 && i < 18 && (c >> (17 - i)) & 1) || (i >= 18 && (sum >> (21 - i)) & 1);
    g.fillStyle = on ? '#fff' : '#000'; g.fillRect(i * 16, 0, 16, 16);
  }
}
draw();
if (location.search === '?video') {
  const v = document.createElement('video');
  v.muted = v.autoplay = true; v.srcObject = source.captureStream(); document.getElementById('screen').append(v);
} else {
  document.getElementById('screen').append(source);
}
window.heard = [];
addEventListener('pointerdown', (e) => {
  heard.push([e.pointerType, e.clientX, e.clientY, e.pressure, e.tiltX, e.button]);
  color = '#c80000'; draw();
});
addEventListener('pointermove', (e) => { for (const c of e.getCoalescedEvents()) heard.push([c.pointerType, c.clientX, c.clientY, c.pressure, c.tiltX, -1]); });
addEventListener('keydown', (e) => heard.push([e.key, e.code]));
</script>`

func openLocal(t *testing.T, query string) *Page {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, localScreen)
	}))
	t.Cleanup(srv.Close)
	c, err := StartChromium(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := c.Open(PageOptions{Width: 800, Height: 600})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := p.Go(srv.URL + "/" + query); err != nil {
		t.Fatal(err)
	}
	if err := p.Until(30*time.Second, "__probe.size().width === 640"); err != nil {
		t.Fatal(err)
	}
	return p
}

// The benchmark's numbers rest on the probe: it must see a change as a canvas and as a video, and time it sensibly.
func TestProbeTimesAChangeInCanvasAndVideo(t *testing.T) {
	for _, query := range []string{"?canvas", "?video"} {
		t.Run(query[1:], func(t *testing.T) {
			p := openLocal(t, query)
			points := []image.Point{{100, 100}, {600, 340}}
			if err := p.Shows(30*time.Second, color.RGBA{255, 255, 255, 255}, points...); err != nil {
				t.Fatal(err)
			}
			if err := p.Move(300, 200); err != nil {
				t.Fatal(err)
			}
			for _, animating := range []bool{false, true} {
				if err := p.Do("color = '#ffffff'; draw()"); err != nil {
					t.Fatal(err)
				}
				if err := p.Shows(30*time.Second, color.RGBA{255, 255, 255, 255}, points...); err != nil {
					t.Fatal(err)
				}
				if err := p.Animate(animating); err != nil {
					t.Fatal(err)
				}
				l, err := p.ClickToPhoton(image.Pt(300, 200), color.RGBA{200, 0, 0, 255}, points)
				if err != nil {
					t.Fatal(err)
				}
				if l.Page <= 0 || l.Event < l.Page || l.Event > time.Second {
					t.Errorf("animating %t: a local change took %v from the event, %v from the handler", animating, l.Event, l.Page)
				}
			}
			if n, err := Eval[int](p, time.Second, "__probe.marker()"); err != nil || n != 0x1234 {
				t.Errorf("marker reads %#x, %v", n, err)
			}
			if err := p.Animate(false); err != nil {
				t.Fatal(err)
			}
			watched := false
			for until := time.Now().Add(30 * time.Second); !watched && time.Now().Before(until); {
				seen, err := p.WatchWhile(300*time.Millisecond, func() error { return p.Do("draw()") })
				if err != nil {
					t.Fatal(err)
				}
				watched = slices.ContainsFunc(seen, func(s Shown) bool { return s.Counter == 0x1234 })
			}
			if !watched {
				t.Error("the probe sees a picture drawn, and never its marker")
			}
			img, err := p.Pixels(image.Rect(50, 50, 60, 60))
			if err != nil {
				t.Fatal(err)
			}
			if c := img.RGBAAt(55, 55); c.R < 180 || c.G > 30 || c.B > 30 {
				t.Errorf("pixel is %v, want dark red", c)
			}
		})
	}
}

// The pen test of the whole product is worth nothing if the browser's pen events carry no pressure.
func TestStrokeCarriesPressureAndTilt(t *testing.T) {
	p := openLocal(t, "?canvas")
	var samples []PenSample
	for i := range 10 {
		samples = append(samples, PenSample{X: 100 + float64(i)*10, Y: 200, Pressure: float64(i+1) / 10, TiltX: 30})
	}
	if err := p.Stroke(samples, func() { time.Sleep(20 * time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	if err := p.Type(Key{Key: "é", Code: "KeyE"}); err != nil {
		t.Fatal(err)
	}
	heard, err := Eval[[][]any](p, 5*time.Second, "heard")
	if err != nil {
		t.Fatal(err)
	}
	last := 0.0
	pens := 0
	for _, h := range heard {
		if h[0] != "pen" || h[3].(float64) == 0 {
			continue
		}
		pens++
		if pressure := h[3].(float64); pressure < last {
			t.Errorf("pressure fell from %g to %g", last, pressure)
		} else {
			last = pressure
		}
		if h[4].(float64) != 30 {
			t.Errorf("tilt is %v, want 30", h[4])
		}
	}
	if pens < 8 || last < 0.99 {
		t.Errorf("%d pen samples up to pressure %g: %v", pens, last, heard)
	}
	if k := heard[len(heard)-1]; k[0] != "é" || k[1] != "KeyE" {
		t.Errorf("key came as %v", k)
	}
}
