package browser

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// The Firefox test of the whole product rests on this driver.
func TestFirefoxLoadsClicksAndSees(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, localScreen)
	}))
	defer srv.Close()
	f, err := StartFirefox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := f.Go(t.Context(), srv.URL+"/?canvas"); err != nil {
		t.Fatal(err)
	}
	if err := f.Click(t.Context(), 200, 150); err != nil {
		t.Fatal(err)
	}
	if err := f.Until(t.Context(), 30*time.Second, "__probe.sample([[100,100]])[0].join() === '200,0,0'"); err != nil {
		t.Fatal(err)
	}
	var h264 []string
	if err := f.Eval(t.Context(), "RTCRtpReceiver.getCapabilities('video').codecs.map((c) => c.mimeType + ' ' + (c.sdpFmtpLine ?? ''))", &h264); err != nil {
		t.Fatal(err)
	}
	t.Logf("Firefox decodes: %v", h264)
}
