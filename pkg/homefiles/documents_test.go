package homefiles

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDocumentsAreReadStrictly(t *testing.T) {
	good := Entry{ID: Path("a/猫.png").ID(), Name: "猫.png", Kind: File, Size: 5, Modified: 1}
	text := func(change func(*Entry)) string {
		e := good
		change(&e)
		b, err := json.Marshal(Listing{Entries: []Entry{e}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if l, err := Read[Listing](strings.NewReader(text(func(*Entry) {})), MaxDocument); err != nil || l.Entries[0] != good {
		t.Fatalf("%+v, %v", l, err)
	}
	for name, bad := range map[string]string{
		"another name":  text(func(e *Entry) { e.Name = "dog.png" }),
		"the home":      text(func(e *Entry) { e.ID, e.Name = "", "" }),
		"outside":       text(func(e *Entry) { e.ID, e.Name = Path("../x").ID(), "x" }),
		"a kind":        text(func(e *Entry) { e.Kind = "device" }),
		"a size":        text(func(e *Entry) { e.Size = -1 }),
		"a time":        text(func(e *Entry) { e.Modified = 1 << 60 }),
		"a field":       `{"entries":[],"more":false,"x":1}`,
		"what follows":  `{"entries":[]} {}`,
		"no JSON":       `{`,
		"too much":      `{"entries":[` + strings.Repeat(`{},`, MaxEntries) + `{}]}`,
		"another shape": `[]`,
	} {
		if l, err := Read[Listing](strings.NewReader(bad), MaxDocument); err == nil {
			t.Errorf("%s: read as %+v", name, l)
		}
	}
	if _, err := Read[Listing](strings.NewReader(text(func(*Entry) {})), 20); err == nil {
		t.Error("a document above the limit was read")
	}
}

func FuzzReadDocuments(f *testing.F) {
	f.Add(`{"entries":[{"id":"YQ","name":"a","kind":"file","size":1,"modified":2}],"more":true}`)
	f.Add(`{"watch":"ABCDEFGHIJKLMNOPQRSTUVWXYZ","seq":1,"files":[]}`)
	f.Add(`{"id":"ABCDEFGHIJKLMNOPQRSTUVWXYZ-10","offset":3,"size":10}`)
	f.Add(`{"name":"a.png","open":true}`)
	f.Add(`{"file":{"id":"YQ","name":"a","kind":"file","size":1,"modified":2},"opened":false,"why":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		again[Listing](t, text)
		again[Saved](t, text)
		again[NewUpload](t, text)
		again[Upload](t, text)
		again[Finish](t, text)
		again[Finished](t, text)
	})
}

// again checks that what was read can be passed on.
func again[D Document](t *testing.T, text string) {
	d, err := Read[D](strings.NewReader(text), MaxDocument)
	if err != nil {
		return
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read[D](strings.NewReader(string(b)), 10*MaxDocument); err != nil {
		t.Fatalf("%q was read, and is not read again as %q: %v", text, b, err)
	}
}

func TestWordsOfTheProtocol(t *testing.T) {
	for text, want := range map[string]bool{"bytes=0-": true, "bytes=5-9": true, "bytes=-7": true, "bytes=-": false, "bytes=-0": false, "bytes=0-1,3-4": false, "bytes=a-": false, "items=0-": false, "bytes=0-" + strings.Repeat("9", 30): false} {
		if ValidRange(text) != want {
			t.Errorf("range %q", text)
		}
	}
	for text, want := range map[string]bool{`"1a-2b-3c"`: true, `W/"1-2-3"`: false, `"<script>"`: false, "": false} {
		if ValidETag(text) != want {
			t.Errorf("tag %q", text)
		}
	}
	for text, want := range map[string]bool{"ABCDEFGHIJKLMNOPQRSTUVWXYZ-10": true, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-": false, "../x-1": false, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-10\n": false} {
		if ValidUpload(text) != want {
			t.Errorf("upload %q", text)
		}
	}
	for _, c := range []struct {
		asked              string
		first, last, total int64
		want               bool
	}{
		{"bytes=0-", 0, 9, 10, true},
		{"bytes=2-4", 2, 4, 10, true},
		{"bytes=2-40", 2, 9, 10, true},
		{"bytes=-3", 7, 9, 10, true},
		{"bytes=-30", 0, 9, 10, true},
		{"bytes=2-", 1, 9, 10, false},
		{"bytes=2-4", 2, 5, 10, false},
		{"bytes=-3", 6, 9, 10, false},
		{"bytes=0-", 0, 8, 10, false},
		{"", 0, 9, 10, false},
	} {
		if fits(c.asked, c.first, c.last, c.total) != c.want {
			t.Errorf("%+v", c)
		}
	}
}
