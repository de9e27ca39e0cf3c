package stream

import (
	"context"
	"fmt"
	"image"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jezek/xgb/xproto"
)

// page is the least viewer that a real browser needs.
const page = `<!doctype html><video id=v muted autoplay playsinline></video><script>
const v = document.getElementById('v'), pc = new RTCPeerConnection();
const control = pc.createDataChannel('control');
const r = pc.addTransceiver('video', {direction: 'recvonly'}).receiver;
r.jitterBufferTarget = 0;
pc.ontrack = (e) => { v.srcObject = e.streams[0] ?? new MediaStream([e.track]); };
v.requestVideoFrameCallback((_, m) => {
  const say = () => control.send(JSON.stringify({t: 'seen', rtp: m.rtpTimestamp}));
  if (control.readyState === 'open') say(); else control.onopen = say;
});
(async () => {
  await pc.setLocalDescription();
  if (pc.iceGatheringState !== 'complete') await new Promise((ok) => pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && ok());
  const a = await fetch('/whep', {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp});
  await pc.setRemoteDescription({type: 'answer', sdp: await a.text()});
})();
function pixels(x, y, w, h) {
  const c = new OffscreenCanvas(w, h).getContext('2d');
  c.drawImage(v, x, y, w, h, 0, 0, w, h);
  return [...c.getImageData(0, 0, w, h).data];
}
</script>`

// browse shows the session in headless Chromium (Debian package chromium).
func browse(t *testing.T, s *session) context.Context {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/whep" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
			return
		}
		offer, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		code, _, answer := s.post(t, "/whep", "application/sdp", string(offer))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	ctx := startChromium(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL), chromedp.Poll[chromedp.Void]("v.videoWidth > 0 && control.readyState === 'open'")); err != nil {
		t.Fatalf("show the session in Chromium: %v", err)
	}
	return ctx
}

// startChromium starts headless Chromium, which ends with the test.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("headless", "new"), chromedp.Flag("allow-loopback-in-peer-connection", true),
		chromedp.Flag("disable-features", "WebRtcHideLocalIpsWithMdns"), chromedp.Flag("disable-quic", true),
		chromedp.WSURLReadTimeout(60*time.Second))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func pixels(t *testing.T, ctx context.Context, r image.Rectangle) []float64 {
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[[]float64](fmt.Sprintf("pixels(%d, %d, %d, %d)", r.Min.X, r.Min.Y, r.Dx(), r.Dy())))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A wrong matrix or range shows at once in saturated colours: by 20 levels or more.
func TestChromiumShowsTheRightColours(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := browse(t, s)
	const side = 64
	chart := []uint32{
		0xff0000, 0x00ff00, 0x0000ff, 0xffff00, 0x00ffff, 0xff00ff, 0xffffff, 0x000000, 0x808080, 0x101010, 0xf0f0f0,
		0xc04020, 0x20c040, 0x4020c0, 0x7f3f1f, 0xeebb99, 0x336699,
	}
	for i, c := range chart {
		a.fill(t, image.Rect(i*side, 0, (i+1)*side, side), c)
	}
	wrong := func() (found []string) {
		got := pixels(t, ctx, image.Rect(0, 0, len(chart)*side, side))
		for i, c := range chart {
			at := (side/2*len(chart)*side + i*side + side/2) * 4
			for ch, shift := range []int{16, 8, 0} {
				want := float64(c >> shift & 255)
				if d := math.Abs(got[at+ch] - want); d > 4 {
					found = append(found, fmt.Sprintf("#%06x is shown as %v: channel %d is off by %v", c, got[at:at+3], ch, d))
				}
			}
		}
		return found
	}
	found := wrong()
	for end := time.Now().Add(20 * time.Second); len(found) > 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // it sharpens
		found = wrong()
	}
	for _, what := range found {
		t.Error(what)
	}
}

func TestStillPictureSharpens(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := browse(t, s)
	// Grey noise, the worst there is for an encoder, and free of colour, which 4:2:0 does not keep.
	const side = 128
	r := rand.New(rand.NewPCG(1, 1))
	pix := make([]byte, side*side*4)
	for i := 0; i < len(pix); i += 4 {
		v := byte(r.Uint32())
		pix[i], pix[i+1], pix[i+2] = v, v, v
	}
	if err := xproto.PutImageChecked(a.xc, xproto.ImageFormatZPixmap, xproto.Drawable(a.root), a.gc, side, side, 200, 200, 0, 24, pix).Check(); err != nil {
		t.Fatal(err)
	}
	var best float64
	began := time.Now()
	for best < 40 && time.Since(began) < 20*time.Second {
		got := pixels(t, ctx, image.Rect(200, 200, 200+side, 200+side))
		var sum float64
		for i := range pix {
			if i%4 != 3 {
				sum += (got[i] - float64(pix[i])) * (got[i] - float64(pix[i]))
			}
		}
		best = 10 * math.Log10(255*255/(sum/float64(side*side*3)))
	}
	t.Logf("%.1f dB after %v", best, time.Since(began).Round(time.Millisecond))
	if best < 40 {
		t.Fatalf("the picture is at %.1f dB after %v", best, time.Since(began))
	}
}
