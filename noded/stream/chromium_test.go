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

	"easel/integration/browser"

	"github.com/chromedp/chromedp"
	"github.com/jezek/xgb/xproto"
)

// page is the least viewer that a real browser needs.
const page = `<!doctype html><body style="margin:0"><video id=v muted autoplay playsinline></video><script>
const v = document.getElementById('v'), pc = new RTCPeerConnection();
const control = pc.createDataChannel('control');
const t = pc.addTransceiver('video', {direction: 'recvonly'}), r = t.receiver;
const [mime, fmtp] = decodeURIComponent(location.hash.slice(1)).split(' ');
if (mime) t.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter((c) =>
  c.mimeType.toLowerCase() === mime && (c.sdpFmtpLine ?? '').includes(fmtp) || c.mimeType.toLowerCase() === 'video/rtx'));
r.jitterBufferTarget = 0;
pc.ontrack = (e) => { v.srcObject = e.streams[0] ?? new MediaStream([e.track]); };
v.requestVideoFrameCallback((_, m) => {
  const say = () => control.send(JSON.stringify({t: 'seen', rtp: m.rtpTimestamp}));
  if (control.readyState === 'open') say(); else control.onopen = say;
});
(async () => {
  await pc.setLocalDescription();
  if (pc.iceGatheringState !== 'complete') await new Promise((ok) => pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && ok());
  const a = await fetch('/whep', {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp.replace('m=', 'a=x-easel-range:told\r\nm=')});
  await pc.setRemoteDescription({type: 'answer', sdp: await a.text()});
})();
function pixels(x, y, w, h) {
  const c = new OffscreenCanvas(w, h).getContext('2d');
  c.drawImage(v, x, y, w, h, 0, 0, w, h);
  return [...c.getImageData(0, 0, w, h).data];
}
function grab(w, h) {
  const c = new OffscreenCanvas(w, h).getContext('2d');
  c.drawImage(v, 0, 0);
  return new Promise((ok) => {
    const r = new FileReader();
    r.onload = () => ok(r.result.slice(r.result.indexOf(',') + 1));
    r.readAsDataURL(new Blob([c.getImageData(0, 0, w, h).data]));
  });
}
</script>`

// browse shows the session in headless Chromium (Debian package chromium).
func browse(t *testing.T, s *session) context.Context {
	t.Helper()
	ctx := startChromium(t)
	open(t, ctx, servePage(t, s))
	return ctx
}

// open shows the session by a page.
func open(t *testing.T, ctx context.Context, address string) {
	t.Helper()
	err := chromedp.Do(ctx, chromedp.Navigate(address))
	for deadline := time.Now().Add(time.Minute); err == nil; time.Sleep(20 * time.Millisecond) {
		// A page that is on its way out has no context for what is asked of it.
		shown, asked := chromedp.Run(ctx, chromedp.Evaluate[bool]("typeof v === 'object' && v.videoWidth > 0 && control.readyState === 'open'"))
		if asked == nil && shown {
			return
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("no picture within a minute (%w)", asked)
		}
	}
	t.Fatalf("show the session in Chromium: %v", err)
}

// servePage serves the page and takes its offers to the session.
func servePage(t *testing.T, s *session) string {
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
	return server.URL
}

// startChromium starts headless Chromium, which ends with the test.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	dir, remove, err := browser.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Env("TMPDIR="+dir),
		chromedp.Flag("headless", "new"), chromedp.Flag("allow-loopback-in-peer-connection", true),
		chromedp.Flag("disable-features", "WebRtcHideLocalIpsWithMdns"), chromedp.Flag("disable-quic", true),
		chromedp.WSURLReadTimeout(60*time.Second))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
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
