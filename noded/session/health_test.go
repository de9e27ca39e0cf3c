package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"easel/noded/stream/contract"
)

func TestCheckHealthRefusesNonsense(t *testing.T) {
	for name, h := range map[string]contract.Health{
		"viewers":   {Viewers: -1},
		"guests":    {Viewers: 1, Guests: contract.Guests{View: 2}},
		"no guests": {Viewers: 1, Guests: contract.Guests{View: -1}},
		"the hand":  {Hand: "../owner"},
		"path":      {Path: "../direct"},
		"x pid":     {XPID: -3},
		"gimp":      {GIMP: contract.GIMP{State: "dancing"}},
		"gimp pid":  {GIMP: contract.GIMP{PID: 1 << 30}},
		"window":    {GIMP: contract.GIMP{WindowMS: -1}},
		"fallbacks": {Fallbacks: -1},
		"clipboard": {Clipboard: contract.Clipboard{Out: contract.Crossed{PNG: contract.Count{N: 1, Bytes: -1}}}},
		"opencl":    {OpenCL: contract.OpenCL{State: "maybe"}},
		"opencl 2":  {OpenCL: contract.OpenCL{State: contract.OpenCLFailed, Why: strings.Repeat("x", 5000)}},
		"service":   {Services: map[string]contract.Service{"a\nb": {}}},
		"service 2": {Services: map[string]contract.Service{"xorg": {Restarts: -1}}},
	} {
		if _, err := checkHealth(h); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckHealthBoundsItsTexts(t *testing.T) {
	h := contract.Health{Error: "bad\x1b]0;title\a" + strings.Repeat("x", 5000), Degraded: make([]string, 100)}
	h.Degraded[0] = "line\nbreak\u202e"
	h.OpenCL = contract.OpenCL{State: contract.OpenCLFailed, Why: "no\x1bkernel\n"}
	h.Encoder = "an\x1b encoder\n"
	got, err := checkHealth(h)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(got.Encoder, "\x1b\n") || !strings.Contains(got.Encoder, "encoder") {
		t.Errorf("the encoder: %q", got.Encoder)
	}
	if strings.ContainsAny(got.OpenCL.Why, "\x1b\n") || !strings.Contains(got.OpenCL.Why, "kernel") {
		t.Errorf("OpenCL: %q", got.OpenCL.Why)
	}
	if len(got.Degraded) != maxDegraded || got.Degraded[0] != "line break" || len(got.Error) > maxWords+4 || strings.ContainsAny(got.Error, "\x1b\a") {
		t.Fatalf("%q, %q", got.Degraded[0], got.Error)
	}
}

func serveStreamer(t *testing.T, h http.Handler) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, StreamerSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return dir
}

func TestWatchReadsWhatAStreamerSays(t *testing.T) {
	dir := serveStreamer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/watch" || r.URL.Query().Get("after") != "41" {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprint(w, `{"seq":42,"ready":true,"viewers":1,"path":"direct","gimp":{"state":"running","pid":9,"restarts":0,"window_ms":1500},"x_pid":4,"services":{},"degraded":[],"error":""}`)
	}))
	h, err := StreamerClient{}.Watch(t.Context(), dir, 41)
	if err != nil || h.Seq != 42 || !h.Ready || h.GIMP.PID != 9 {
		t.Fatalf("%+v, %v", h, err)
	}
}

func TestWatchHoldsAgainstAHostileStreamer(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"endless":  func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"an error":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"huge headers":  func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"impossible":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"seq":1,"viewers":-5}`) },
		"two documents": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"seq":1}{"seq":2}`) },
		"a dead end":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if h, err := (StreamerClient{}).Watch(ctx, serveStreamer(t, handler), 0); err == nil {
				t.Fatalf("accepted %+v", h)
			}
			if ctx.Err() != nil {
				t.Fatal("it hung until its deadline")
			}
		})
	}
}

func endless(w http.ResponseWriter) {
	chunk := []byte(strings.Repeat(" ", 32<<10))
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	dir := serveStreamer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (StreamerClient{}).Watch(ctx, dir, 0); err == nil {
		t.Fatal("it answered")
	}
}

func TestParseXauthority(t *testing.T) {
	good := xauthority(cookieName, "0123456789abcdef")
	if c, err := parseXauthority(append(xauthority("XDM-AUTHORIZATION-1", "12345678"), good...)); err != nil || string(c) != "0123456789abcdef" {
		t.Fatalf("%q, %v", c, err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "cut short": good[:len(good)-1], "one byte": {1}, "short cookie": xauthority(cookieName, "short"), "lying length": {0, 0, 0xff, 0xff, 1},
	} {
		if c, err := parseXauthority(data); err == nil {
			t.Errorf("%s: accepted as %q", name, c)
		}
	}
}

func FuzzParseXauthority(f *testing.F) {
	f.Add(xauthority(cookieName, "0123456789abcdef"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseXauthority(data); err == nil && len(c) != 16 {
			t.Fatalf("a cookie of %d bytes", len(c))
		}
	})
}

func FuzzHealth(f *testing.F) {
	f.Add(`{"seq":1,"ready":true,"viewers":1,"path":"vnc","gimp":{"state":"running","pid":7,"restarts":0,"window_ms":2000},"x_pid":3,"services":{"xorg":{"state":"running","pid":3,"restarts":0}},"degraded":["a"],"error":""}`)
	f.Add(`{"degraded":["\u001b[2J"],"error":"\n"}`)
	f.Fuzz(func(t *testing.T, s string) {
		h, err := contract.ReadHealth(strings.NewReader(s))
		if err != nil {
			return
		}
		if h, err = checkHealth(h); err != nil {
			return
		}
		for _, text := range append(h.Degraded, h.Error, lacking(h)) {
			if len(text) > maxWords+4 || !utf8.ValidString(text) || strings.ContainsAny(text, "\x1b\n\r\x00") {
				t.Fatalf("%q", text)
			}
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add("a\x1b[31m b\n\u202ec", 10)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(1, limit%1000)
		got := words(s, limit)
		if len(got) > limit+4 || !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\n\x00\u202e") {
			t.Fatalf("words(%q, %d) = %q", s, limit, got)
		}
	})
}

func TestStreamersRefusalIsToldFromItsSilence(t *testing.T) {
	for code, want := range map[int]struct{ refused, failed bool }{204: {}, 404: {}, 400: {true, true}, 413: {true, true}, 500: {false, true}} {
		dir := serveStreamer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }))
		err := StreamerClient{}.SetPolicy(t.Context(), dir, contract.Policy{})
		if errors.Is(err, ErrRefused) != want.refused || (err != nil) != want.failed {
			t.Errorf("an answer of %d is %v", code, err)
		}
	}
}

// TestHealthOfANewerStreamerIsRead: a node that goes back to an older version keeps the sessions that a newer one began.
func TestHealthOfANewerStreamerIsRead(t *testing.T) {
	dir := serveStreamer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"seq":42,"ready":true,"viewers":1,"path":"direct","gimp":{"state":"running","pid":9,"restarts":0,"window_ms":1500,"brush":"soft"},"x_pid":4,"services":{},"degraded":[],"error":"","mood":{"is":"good"}}`)
	}))
	if h, err := (StreamerClient{}).Watch(t.Context(), dir, 0); err != nil || h.Seq != 42 || h.GIMP.PID != 9 {
		t.Fatalf("%+v, %v", h, err)
	}
}
