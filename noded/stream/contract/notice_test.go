package contract

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestNoticeIsReadAsWritten(t *testing.T) {
	n := Notice{Text: "Save your work", Until: time.Now().Add(time.Minute).UTC().Round(0)}
	body, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadNotice(strings.NewReader(string(body)))
	if err != nil || got != n {
		t.Fatalf("%+v, %v, want %+v", got, err, n)
	}
	if left := n.Left(n.Until.Add(-time.Second)); left != time.Second {
		t.Errorf("left %s", left)
	}
	if left := n.Left(n.Until.Add(time.Second)); left != 0 {
		t.Errorf("left %s after it", left)
	}
}

func FuzzReadNotice(f *testing.F) {
	f.Add(`{"text":"Save your work","until":"2026-01-02T03:04:05Z"}`)
	f.Add(`{"text":"\u0000"}`)
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ReadNotice(strings.NewReader(s))
		if err != nil {
			return
		}
		if len(n.Text) > maxNoticeText {
			t.Fatalf("a text of %d bytes", len(n.Text))
		}
		if _, err := json.Marshal(n); err != nil {
			t.Fatalf("a notice that was read can't be written: %v", err)
		}
	})
}
