package files

import (
	"os"
	"strings"
	"testing"

	"easel/pkg/homefiles"
)

// dbusSend puts a program in dbus-send's place that notes how it was called.
func (h *house) dbusSend(answer string) (called string) {
	h.t.Helper()
	called = h.server.gimp.send + ".called"
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + called + "\n" + answer + "\n"
	if err := os.WriteFile(h.server.gimp.send, []byte(script), 0o755); err != nil {
		h.t.Fatal(err)
	}
	return called
}

func (h *house) upload(name string, open bool) homefiles.Finished {
	h.t.Helper()
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 1})
	if status, body := h.patch(u.ID, 0, strings.NewReader("x"), 1); status != 200 {
		h.t.Fatalf("%d %s", status, body)
	}
	return told[homefiles.Finished](h, "POST", "/uploads/"+u.ID+"/finish", homefiles.Finish{Name: name, Open: open})
}

func TestImageIsOpenedInTheRunningGIMP(t *testing.T) {
	h := newHouse(t)
	called := h.dbusSend("echo '   boolean true'")
	done := h.upload("a #1 100% 猫?.PNG", true)
	if !done.Opened || done.Why != "" {
		t.Fatalf("%+v", done)
	}
	text, err := os.ReadFile(called)
	if err != nil {
		t.Fatal(err)
	}
	if want := "string:file://" + h.home + "/a%20%231%20100%25%20%E7%8C%AB%3F.PNG"; !strings.Contains(string(text), want+"\n") || !strings.Contains(string(text), "org.gimp.GIMP.UI.Open\n") {
		t.Errorf("called with %s, want %s", text, want)
	}
}

func TestWhatIsNotOpenedSaysWhy(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct{ name, answer, why string }{
		{"brush.gbr", "exit 1", "no image"},
		{"a.png", "echo 'Error org.freedesktop.DBus.Error.ServiceUnknown: x' >&2; exit 1", "not up"},
		{"b.png", "echo 'Error org.freedesktop.DBus.Error.NoReply: x' >&2; exit 1", "does not answer"},
		{"c.png", "echo '   boolean false'", "refused"},
	} {
		h.dbusSend(c.answer)
		if done := h.upload(c.name, true); done.Opened || !strings.Contains(done.Why, c.why) {
			t.Errorf("%s: %+v, want %q", c.name, done, c.why)
		}
	}
	if _, err := os.Stat(h.at("a.png")); err != nil {
		t.Errorf("what is not opened is not kept either: %v", err)
	}
}

func TestWhichKindsAreOpened(t *testing.T) {
	for name, want := range map[string]bool{"a.png": true, "A.XCF": true, "a.xcf.gz": true, ".xcf.gz": false, "a.gz": false, "a": false, "png": false, "a.html": false, "a.py": false, "a.jpeg": true} {
		if opened(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
