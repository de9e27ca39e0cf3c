package stream

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"easel/pkg/display"
)

func FuzzParseControl(f *testing.F) {
	f.Add([]byte(`{"t":"resize","w":1920,"h":1080,"scale":2}`))
	f.Add([]byte(`{"t":"ping","id":[1,2]}`))
	f.Add([]byte(resume(somePage, 4, 5)))
	f.Add([]byte(`{"t":"resume","page":"` + somePage + `","buttons":[1,65535,2,770,5],"keys":[[65505,42],[1]]}`))
	f.Add([]byte(`{"t":"client","stats":{"fps":60}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseControl(b)
		if err != nil {
			return
		}
		s := screenSize(m.W, m.H)
		if !s.Valid() || s.Width%2 != 0 || s.Height%2 != 0 || s.Width*s.Height > maxPixels {
			t.Fatalf("%v by %v became %+v", m.W, m.H, s)
		}
		if p := interfaceScale(m.Scale); p < display.MinScale || p > display.MaxScale {
			t.Fatalf("a scale of %v became %d per cent", m.Scale, p)
		}
		if m.T == controlResume {
			at := m.progress()
			for _, b := range at.Buttons {
				if b&^knownButtons != 0 || len(m.Page) != 32 || len(at.Keys) > maxHeldKeys {
					t.Fatalf("read %+v", m.resumeTold)
				}
			}
		}
		if m.T == controlPing {
			if _, err := json.Marshal(pongMessage{"pong", m.ID, 0}); err != nil {
				t.Fatalf("a ping can't be answered: %v", err)
			}
		}
	})
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(allRunning))
	f.Add([]byte(`{"gimp":{"state":"failed","pid":-1}}`))
	f.Add([]byte(`{"gimp":{"state":"running"},"opencl":{"state":"failed","device":"d","why":"w"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReport(b)
		if err == nil && (r.GIMP.PID < 0 || len(r.Services) > maxServices || !gimpStates[r.GIMP.State] || !r.OpenCL.Valid()) {
			t.Fatalf("read %+v", r)
		}
	})
}

func TestControlRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"an unknown quality": `{"t":"quality","value":"best"}`, "two documents": `{"t":"seen"}{"t":"seen"}`, "no JSON": `seen`, "a long ping": `{"t":"ping","id":"` + strings.Repeat("x", 100) + `"}`,
		"a long message": `{"t":"client","stats":"` + strings.Repeat("x", maxControl) + `"}`, "a wrong type": `{"t":"resize","w":"wide"}`, "no page": `{"t":"resume"}`, "a page by another name": resume("../../etc/passwd", 0, 0),
		"buttons that nobody has": `{"t":"resume","page":"` + somePage + `","buttons":[1,0,0,0]}`, "a key that no keyboard has": `{"t":"resume","page":"` + somePage + `","keys":[[97,65536]]}`,
	} {
		if m, err := parseControl([]byte(in)); err == nil {
			t.Errorf("%s was read as %+v", name, m)
		}
	}
	if _, err := parseControl([]byte(`{"t":"later"}`)); !errors.Is(err, errUnknownControl) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestScreenSizeStaysInBounds(t *testing.T) {
	for _, c := range []struct{ w, h, wantW, wantH float64 }{
		{1920, 1080, 1920, 1080},
		{1367.9, 767, 1366, 766},
		{1, 1, 320, 320},
		{math.NaN(), math.Inf(1), 320, 8192},
		{8192, 8192, 8192, 4320},
		{-1e308, 1e308, 320, 8192},
	} {
		if s := screenSize(c.w, c.h); float64(s.Width) != c.wantW || float64(s.Height) != c.wantH {
			t.Errorf("%v by %v became %+v, want %v by %v", c.w, c.h, s, c.wantW, c.wantH)
		}
	}
}
