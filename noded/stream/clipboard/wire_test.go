package clipboard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"easel/pkg/display"
)

// The viewer's tests have the same bytes.
func TestEveryGoldenClipboardMessageIsAsTheViewerHasIt(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "pkg", "viewer", "src", "testdata", "clipboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]string
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	text, html, img := uint8(display.ClipText), uint8(display.ClipHTML), uint8(display.ClipPNG)
	all := map[string]Message{
		"offer of all": {Kind: Offer, What: 1<<text | 1<<html | 1<<img, Serial: 258}, "offer of a dear picture": {Kind: Offer, What: 1 << img, How: Dear, Serial: 1},
		"offer of nothing": {Kind: Offer, Serial: 2}, "taken text": {Kind: Taken, What: 1 << text, Serial: 3}, "fetch html": {Kind: Fetch, What: html, Serial: 4},
		"data of a picture": {Kind: Data, What: img, Serial: 5, Data: []byte{137, 80}}, "end, late": {Kind: End, What: text, How: Late, Serial: 6},
		"stop a picture": {Kind: Stop, What: img, Serial: 7}, "policy in": {Kind: Ways, What: InOpen},
		"policy out, with answers": {Kind: Ways, What: OutOpen, How: Answers}, "got a part of a picture": {Kind: Got, What: img, Serial: 8},
		"policy with numbers": {Kind: Ways, What: InOpen | OutOpen, How: Answers | Numbers}, "fetch text, the 200th time": {Kind: Fetch, What: text, Number: 200, Serial: 9},
		"end of the same": {Kind: End, What: text, Number: 200, Serial: 9}, "an application has a text": {Kind: Has, What: text, Serial: 10},
		"an application asks": {Kind: Asked, Serial: 11}, "an application has pasted": {Kind: Past, Serial: 12},
	}
	if len(golden) != len(all) {
		t.Errorf("%d golden messages, want %d", len(golden), len(all))
	}
	for name, m := range all {
		if got := hex.EncodeToString(m.Append(nil)); got != golden[name] {
			t.Errorf("%s is %s here and %s in the viewer", name, got, golden[name])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Message{Kind: Offer, What: 7, Serial: 1}.Append(nil))
	f.Add(Message{Kind: Data, What: 2, Serial: 1, Data: []byte("\x89PNG")}.Append(nil))
	f.Add(Message{Kind: End, What: 1, How: 3}.Append(nil))
	f.Add(Message{Kind: Fetch, What: 1, Number: 255, Serial: 2}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Append(nil), b) {
			t.Fatalf("% x was read as %+v", b, m)
		}
		if len(m.Data) > MaxMessage || m.Kind == Offer && (m.What > 7 || m.Number > 0) {
			t.Fatalf("%+v", m)
		}
	})
}
