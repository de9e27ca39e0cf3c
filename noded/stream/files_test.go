package stream

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"easel/images/gimp/files"
	"easel/noded/stream/contract"
	"easel/pkg/homefiles"
)

// filesEdge is a streamer's way to the files, and the edge at which the container's file server listens.
func filesEdge(t *testing.T) (edge string, ask func(method, path, body string, headers ...string) (int, string)) {
	t.Helper()
	edge, err := os.MkdirTemp("", "fe") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(edge) })
	w := &Worker{cfg: contract.Config{EdgeDir: edge}, log: slog.New(slog.DiscardHandler)}
	for i := range w.screens {
		w.screens[i] = newScreen(i+1, nil, newAudience(newBoard(), func() {}), 0, w.log)
	}
	mux := http.NewServeMux()
	w.newFileRelay().routes(mux)
	l, err := net.Listen("unix", filepath.Join(edge, "streamer.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
	}}}
	return edge, func(method, path, body string, headers ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://streamer"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, string(b)
	}
}

// TestFilesCrossTheEdge has the file server that ships at the edge.
func TestFilesCrossTheEdge(t *testing.T) {
	edge, ask := filesEdge(t)
	home := filepath.Join(edge, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- files.Run(ctx, filepath.Join(edge, "files.sock"), home, slog.New(slog.DiscardHandler))
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	end := time.Now().Add(30 * time.Second)
	for {
		status, text := ask("GET", "/files/list", "")
		if status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d %s", status, text)
		}
		time.Sleep(10 * time.Millisecond) // the socket is there before it listens
	}
	status, text := ask("POST", "/files/uploads", `{"size":5}`)
	u, err := homefiles.Read[homefiles.Upload](strings.NewReader(text), homefiles.MaxRequest)
	if status != 200 || err != nil {
		t.Fatalf("%d %s", status, text)
	}
	at := "/files/uploads/" + u.ID
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		text               string
	}{
		{"PATCH", at, "xy", []string{"Upload-Offset", "3"}, 409, "byte 0"},
		{"PATCH", at, "01234", []string{"Upload-Offset", "0"}, 200, `"offset":5`},
		{"GET", at, "", nil, 200, `"offset":5`},
		{"POST", at + "/finish", `{"name":"a/b","open":false}`, nil, 400, "slash"},
		{"POST", at + "/finish", `{"name":"é.bin","open":true}`, nil, 200, "no image"},
		{"GET", "/files/list", "", nil, 200, `"name":"é.bin"`},
		{"GET", "/files/list?find=É", "", nil, 200, `"name":"é.bin"`},
		{"GET", "/files/content/" + homefiles.Path("é.bin").ID(), "", []string{"Range", "bytes=2-"}, 206, "234"},
		{"GET", "/files/content/" + homefiles.Path("../x").ID(), "", nil, 404, "no file"},
		{"GET", "/files/content/" + homefiles.Path("none").ID(), "", nil, 404, ""},
		{"DELETE", "/files/uploads/..", "", nil, 404, ""},
		{"PATCH", "/files/uploads/x", "y", []string{"Upload-Offset", "0"}, 400, ""},
		{"GET", "/files/saved", "", nil, 200, `"files":[]`},
		{"POST", "/files/uploads", strings.Repeat(" ", homefiles.MaxRequest+1), nil, 413, ""},
	} {
		if status, text := ask(c.method, c.path, c.body, c.headers...); status != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, status, text, c.status, c.text)
		}
	}
}

// TestFileServerThatLies: what a container that was taken over says about files goes no further.
func TestFileServerThatLies(t *testing.T) {
	for name, answer := range map[string]string{
		"no JSON":       "<script>",
		"a name":        `{"entries":[{"id":"YQ","name":"other","kind":"file","size":1,"modified":1}],"more":false}`,
		"a way out":     `{"entries":[{"id":"` + homefiles.Path("../x").ID() + `","name":"x","kind":"file","size":1,"modified":1}],"more":false}`,
		"a field":       `{"entries":[],"more":false,"html":"<b>"}`,
		"more than one": `{"entries":[],"more":false}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			edge, ask := filesEdge(t)
			l, err := net.Listen("unix", filepath.Join(edge, "files.sock"))
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })}
			go func() { _ = server.Serve(l) }()
			defer server.Close()
			if status, text := ask("GET", "/files/list", ""); status != 502 || strings.Contains(text, "<") {
				t.Errorf("%d %s", status, text)
			}
		})
	}
}

// TestFilesSocketThatIsALinkIsNotFollowed: the container owns the edge's directory.
func TestFilesSocketThatIsALinkIsNotFollowed(t *testing.T) {
	edge, ask := filesEdge(t)
	if err := os.Symlink(filepath.Join(edge, "streamer.sock"), filepath.Join(edge, "files.sock")); err != nil {
		t.Fatal(err)
	}
	if status, text := ask("GET", "/files/list", ""); status != 502 {
		t.Errorf("%d %s", status, text)
	}
}

// Which way files may cross is noded's to keep to: the owner's pages are told that it has changed, and nobody when it has not.
func TestPagesHearThatTheRuleOfFilesChanged(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	v := connect(t, s)
	s.await(t, "the channel", func() bool { return v.heard("screen") != nil })
	post := func(policy string) {
		t.Helper()
		if code, _, body := s.post(t, "/policy", "application/json", policy); code != http.StatusNoContent {
			t.Fatalf("%d %s", code, body)
		}
	}
	post(`{"audio":"off"}`)
	post(`{"audio":"on"}`)
	post(`{"files":"in"}`)
	s.await(t, "word that it has changed", func() bool { return v.heard("files") != nil })
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, m := range v.told {
		if m["t"] == "files" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it was told %d times, want once", n)
	}
}
