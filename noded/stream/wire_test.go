package stream

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"easel/pkg/display"
)

// golden is the file of messages that the viewer's tests encode.
type golden struct {
	Messages []struct {
		Name   string          `json:"name"`
		Kind   string          `json:"kind"`
		Hex    string          `json:"hex"`
		Fields json.RawMessage `json:"fields"`
	} `json:"messages"`
	Ack struct {
		Applied, Next uint32
		Hex           string
	}
}

type goldenFields struct {
	Device, Button, Locks  uint8
	Down, In               bool
	RSeq                   uint32 `json:"rseq"`
	Barrier, First, Keysym uint32
	Code                   uint16
	Text                   string
	X, Y, DX, DY           float64
	Samples                []goldenSample
}

type goldenSample struct{ X, Y, Pressure, TiltX, TiltY, Twist, Buttons, Time float64 }

func TestEveryGoldenMessageOfTheViewerIsRead(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "pkg", "viewer", "src", "testdata", "wire.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]uint8{
		"POINTER": kindPointer, "BUTTON": kindButton, "WHEEL": kindWheel, "KEY": kindKey, "TEXT": kindText,
		"RELEASE": kindRelease, "PROXIMITY": kindProximity, "STROKE": kindStroke,
	}
	seen := map[uint8]bool{}
	for _, want := range g.Messages {
		t.Run(want.Name, func(t *testing.T) {
			raw, err := hex.DecodeString(want.Hex)
			if err != nil {
				t.Fatal(err)
			}
			kind := kinds[want.Kind]
			m, err := parseMessage(raw, kind != kindPointer)
			if err != nil {
				t.Fatal(err)
			}
			var f goldenFields
			if err := json.Unmarshal(want.Fields, &f); err != nil {
				t.Fatal(err)
			}
			seen[m.Kind] = true
			compareGolden(t, m, kind, f)
		})
	}
	if got := hex.EncodeToString(ack(nil, g.Ack.Applied, g.Ack.Next)); got != g.Ack.Hex {
		t.Errorf("an acknowledgement is %s, want %s", got, g.Ack.Hex)
	}
	if len(seen) != len(kinds) {
		t.Errorf("the file has %d of %d kinds", len(seen), len(kinds))
	}
}

func compareGolden(t *testing.T, m message, kind uint8, f goldenFields) {
	t.Helper()
	if m.Kind != kind || m.RSeq != f.RSeq || m.Barrier != f.Barrier || m.First != f.First || m.Sym != f.Keysym || m.Code != f.Code || m.Text != f.Text {
		t.Errorf("read %+v, want %+v", m, f)
	}
	if m.Device != f.Device || m.Button != f.Button || m.Down != (f.Down || f.In) || len(m.Samples) != len(f.Samples) {
		t.Errorf("read %+v, want %+v", m, f)
	}
	if fixed := func(v float64) int32 { return int32(math.Round(v * 256)) }; m.X != fixed(f.X) || m.Y != fixed(f.Y) || m.DX != int32(f.DX) || m.DY != int32(f.DY) {
		t.Errorf("read %+v, want %+v", m, f)
	}
	for i, s := range m.Samples {
		w := f.Samples[i]
		want := sample{
			X: int32(math.Round(w.X * 256)), Y: int32(math.Round(w.Y * 256)), Pressure: uint16(math.Round(w.Pressure * 65535)),
			TiltX: int16(math.Round(w.TiltX * 100)), TiltY: int16(math.Round(w.TiltY * 100)), Twist: uint16(math.Round(w.Twist * 100)), Buttons: uint16(w.Buttons), Time: uint32(math.Round(w.Time * 10)),
		}
		if s != want {
			t.Errorf("sample %d: read %+v, want %+v", i, s, want)
		}
	}
}

func TestMessagesThatAreOutOfShapeAreRefused(t *testing.T) {
	good := encodePointer(deviceMouse, 0, 1, sample{X: 1})
	for name, c := range map[string]struct {
		b        []byte
		reliable bool
	}{
		"nothing":                        {nil, true},
		"an unknown kind":                {[]byte{99, 0, 0, 0, 0, 0, 0, 0}, true},
		"a motion on the input channel":  {good, true},
		"a key on the motion channel":    {make([]byte, 14), false},
		"one byte short":                 {good[:len(good)-1], false},
		"one byte long":                  {append(slices.Clone(good), 0), false},
		"no samples":                     {encodePointer(deviceMouse, 0, 1), false},
		"samples numbered from 0":        {encodePointer(deviceMouse, 0, 0, sample{}), false},
		"a device that isn't":            {encodePointer(9, 0, 1, sample{}), false},
		"a wheel's button":               {encodeButton(deviceMouse, 4, true, 1, 1, sample{}), true},
		"a count beyond the message":     {[]byte{kindPointer, 0, 0xff, 0xff, 0, 0, 0, 0, 1, 0, 0, 0}, false},
		"text that is no UTF-8":          {append([]byte{kindText, 0, 0, 0, 1, 0, 0, 0}, 0xff, 0xfe), true},
		"text that is too long":          {append([]byte{kindText, 0, 0, 0, 1, 0, 0, 0}, bytes.Repeat([]byte("a"), maxText+1)...), true},
		"a proximity without its number": {[]byte{kindProximity, 1, 1, 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := parseMessage(c.b, c.reliable); err == nil {
				t.Fatalf("read as %+v", m)
			}
		})
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(encodePointer(devicePen, 3, 1, sample{X: 5}, sample{X: 6}), false)
	f.Add(encodeButton(deviceMouse, 1, true, 1, 1, sample{}), true)
	f.Add(encodeProximity(devicePen, true, 1), true)
	f.Add([]byte{kindText, 0, 0, 0, 1, 0, 0, 0, 'h', 'i'}, true)
	f.Add([]byte{kindKey, 1, 0, 0, 1, 0, 0, 0, 97, 0, 0, 0, 30, 0}, true)
	f.Fuzz(func(t *testing.T, b []byte, reliable bool) {
		m, err := parseMessage(b, reliable)
		if err != nil {
			return
		}
		if (m.Kind == kindPointer || m.Kind == kindButton) && (len(m.Samples) == 0 || len(m.Samples) > maxSamples) {
			t.Fatalf("%d samples were read", len(m.Samples))
		}
		p := &pen{driver: &penDriver{retry: time.Now().Add(time.Hour)}}
		h := newHand(func() typist { return nil }, func() image.Rectangle { return image.Rectangle{} }, p, func([]byte) {}, nil)
		h.seq.take(m, time.Now(), h.apply) // must not panic whatever a browser sends
		h.letGo()
	})
}

func FuzzParseControl(f *testing.F) {
	f.Add([]byte(`{"t":"resize","w":1920,"h":1080,"scale":2}`))
	f.Add([]byte(`{"t":"ping","id":[1,2]}`))
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
		"a long message": `{"t":"client","stats":"` + strings.Repeat("x", maxControl) + `"}`, "a wrong type": `{"t":"resize","w":"wide"}`,
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
