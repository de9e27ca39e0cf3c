package input

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"easel/noded/stream/input/inputtest"
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
	Times                  uint8
	Samples                []goldenSample
}

type goldenSample struct{ X, Y, Pressure, TiltX, TiltY, Twist, Buttons, Time float64 }

func TestEveryGoldenMessageOfTheViewerIsRead(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "pkg", "viewer", "src", "testdata", "wire.json"))
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
			m, err := Parse(raw, kind != kindPointer)
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

func compareGolden(t *testing.T, m Message, kind uint8, f goldenFields) {
	t.Helper()
	if m.Kind != kind || m.RSeq != f.RSeq || m.Barrier != f.Barrier || m.First != f.First || m.Sym != f.Keysym || m.Code != f.Code || m.Text != f.Text {
		t.Errorf("read %+v, want %+v", m, f)
	}
	if m.Device != f.Device || m.Button != f.Button || m.Down != (f.Down || f.In) || len(m.Samples) != len(f.Samples) {
		t.Errorf("read %+v, want %+v", m, f)
	}
	if fixed := func(v float64) int32 { return int32(math.Round(v * 256)) }; m.X != fixed(f.X) || m.Y != fixed(f.Y) || m.DX != fixed(f.DX) || m.DY != fixed(f.DY) {
		t.Errorf("read %+v, want %+v", m, f)
	}
	if kind == kindWheel && int(m.Again)+1 != int(max(f.Times, 1)) {
		t.Errorf("read %d turns, want %d", int(m.Again)+1, f.Times)
	}
	for i, s := range m.Samples {
		w := f.Samples[i]
		want := Sample{
			X: int32(math.Round(w.X * 256)), Y: int32(math.Round(w.Y * 256)), Pressure: uint16(math.Round(w.Pressure * 65535)),
			TiltX: int16(math.Round(w.TiltX * 100)), TiltY: int16(math.Round(w.TiltY * 100)), Twist: uint16(math.Round(w.Twist * 100)), Buttons: uint16(w.Buttons), Time: uint32(math.Round(w.Time * 10)),
		}
		if s != want {
			t.Errorf("sample %d: read %+v, want %+v", i, s, want)
		}
	}
}

func TestMessagesThatAreOutOfShapeAreRefused(t *testing.T) {
	good := inputtest.Pointer(inputtest.Mouse, 0, 1, inputtest.Sample{X: 1})
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
		"no samples":                     {inputtest.Pointer(inputtest.Mouse, 0, 1), false},
		"samples numbered from 0":        {inputtest.Pointer(inputtest.Mouse, 0, 0, inputtest.Sample{}), false},
		"a device that isn't":            {inputtest.Pointer(9, 0, 1, inputtest.Sample{}), false},
		"a wheel's button":               {inputtest.Button(inputtest.Mouse, 4, true, 1, 1, inputtest.Sample{}), true},
		"a count beyond the message":     {[]byte{kindPointer, 0, 0xff, 0xff, 0, 0, 0, 0, 1, 0, 0, 0}, false},
		"text that is no UTF-8":          {append([]byte{kindText, 0, 0, 0, 1, 0, 0, 0}, 0xff, 0xfe), true},
		"text that is too long":          {append([]byte{kindText, 0, 0, 0, 1, 0, 0, 0}, bytes.Repeat([]byte("a"), maxText+1)...), true},
		"more turns than there are":      {append([]byte{kindWheel, maxTurns, 0, 0}, make([]byte, 20)...), true},
		"a proximity without its number": {[]byte{kindProximity, 1, 1, 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := Parse(c.b, c.reliable); err == nil {
				t.Fatalf("read as %+v", m)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(inputtest.Pointer(inputtest.Pen, 3, 1, inputtest.Sample{X: 5}, inputtest.Sample{X: 6}), false)
	f.Add(inputtest.Button(inputtest.Mouse, 1, true, 1, 1, inputtest.Sample{}), true)
	f.Add(inputtest.Proximity(inputtest.Pen, true, 1), true)
	f.Add([]byte{kindText, 0, 0, 0, 1, 0, 0, 0, 'h', 'i'}, true)
	f.Add([]byte{kindKey, 1, 0, 0, 1, 0, 0, 0, 97, 0, 0, 0, 30, 0}, true)
	f.Fuzz(func(t *testing.T, b []byte, reliable bool) {
		m, err := Parse(b, reliable)
		if err != nil {
			return
		}
		if (m.Kind == kindPointer || m.Kind == kindButton) && (len(m.Samples) == 0 || len(m.Samples) > maxSamples) {
			t.Fatalf("%d samples were read", len(m.Samples))
		}
		h := New(Owner{
			Keyboard: func() Keyboard { return nil }, Place: func() image.Rectangle { return image.Rectangle{} }, May: func() bool { return true }, Tell: func([]byte) {},
		}, &Driver{retry: time.Now().Add(time.Hour)}, nil)
		h.seq.take(m, time.Now(), h.apply) // must not panic whatever a browser sends
		h.letGo()
	})
}
