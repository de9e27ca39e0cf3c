package gateway

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/pkg/homefiles"
)

const anUpload = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-1000"

type option = func(*http.Request)

var (
	files   = "/s/" + living + "/files/"
	allWays = Files{In: true, Out: true, Most: 1 << 20}
	noType  = header("Content-Type", "text/plain")
)

func withFiles(f Files) func(*Options) { return func(o *Options) { o.Files = f } }

func TestFilesReachTheStreamer(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	n := newNode(t, func(o *Options) {
		o.Files = allWays
		o.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))
	})
	n.streamer(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Cookie") != "" || r.Header.Get("Origin") != "" {
			t.Errorf("the streamer got the browser's secrets: %v", r.Header)
		}
		switch r.Method + " " + r.URL.RequestURI() {
		case "GET /files/list?find=cat&folder=YQ":
			fmt.Fprint(w, `{"entries":[],"more":false}`)
		case "GET /files/saved?after=3&watch=w":
			fmt.Fprint(w, `{"watch":"w"}`)
		case "POST /files/uploads":
			fmt.Fprintf(w, `{"got":%q}`, body)
		case "PATCH /files/uploads/" + anUpload:
			fmt.Fprintf(w, `{"at":%q,"got":%q}`, r.Header.Get("Upload-Offset"), body)
		case "POST /files/uploads/" + anUpload + "/finish":
			fmt.Fprintf(w, `{"file":{"id":%q,"name":"my secret.png","kind":"file","size":5,"modified":1},"opened":true}`, homefiles.Path("my secret.png").ID())
		case "DELETE /files/uploads/" + anUpload:
			w.WriteHeader(204)
		case "GET /files/content/" + homefiles.Path("a/my secret.HTML").ID():
			w.Header().Set("Etag", `"1-2-3"`)
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Security-Policy", "none")
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("<script>"))
		default:
			t.Errorf("the streamer got %s %s", r.Method, r.URL)
		}
	})
	say := func(resp *http.Response, status int, part string) {
		t.Helper()
		want(t, resp, status)
		if body := text(t, resp); !strings.Contains(body, part) {
			t.Errorf("%s, want %s", body, part)
		}
	}
	say(n.ask("GET", files+"list?folder=YQ&find=cat&evil=1", "", n.in), 200, "entries")
	say(n.ask("GET", files+"saved?watch=w&after=3", "", n.in), 200, "watch")
	say(n.ask("POST", files+"uploads", `{"size": 7}`, n.in), 200, `{\"size\":7}`)
	say(n.ask("PATCH", files+"uploads/"+anUpload, "paint", n.in, header("Upload-Offset", "3")), 200, `"at":"3","got":"paint"`)
	say(n.ask("POST", files+"uploads/"+anUpload+"/finish", `{"name":"my secret.png","open":true}`, n.in), 200, `"opened":true`)
	say(n.ask("DELETE", files+"uploads/"+anUpload, "", n.in), 204, "")
	resp := n.ask("GET", files+"content/"+homefiles.Path("a/my secret.HTML").ID(), "", n.in, header("Range", "bytes=1-"))
	say(resp, 206, "script>")
	h := resp.Header
	if h.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(h.Get("Content-Disposition"), `attachment; filename="my secret.HTML"`) ||
		!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Etag") != `"1-2-3"` || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", h)
	}
	// The operator's log says what crossed, and not what it is called.
	mu.Lock()
	defer mu.Unlock()
	for _, line := range []string{`"a file came in" session=` + living + " user=ann kind=png bytes=5 opened=true", `"a file went out" session=` + living + " user=ann kind=html bytes=7"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no line %s in\n%s", line, &log)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("a file's name is in the log:\n%s", &log)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

func TestFilesCrossAsTheOperatorSays(t *testing.T) {
	n := newNode(t, withFiles(Files{}))
	n.streamer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	for _, c := range []struct {
		rule    Files
		in, out int
	}{{Files{}, 403, 403}, {Files{In: true, Most: 10}, 204, 403}, {Files{Out: true, Most: 10}, 403, 204}, {Files{In: true, Out: true, Most: 10}, 204, 204}} {
		n.gate.SetFiles(c.rule)
		want(t, n.ask("POST", files+"uploads", `{"size":7}`, n.in), c.in)
		want(t, n.ask("DELETE", files+"uploads/"+anUpload, "", n.in), c.in)
		want(t, n.ask("GET", files+"list", "", n.in), c.out)
		resp := n.ask("GET", "/s/"+living+"/status", "", n.in)
		want(t, resp, 200)
		if body := text(t, resp); !strings.Contains(body, fmt.Sprintf(`"files":{"in":%v,"out":%v,"most":%d}`, c.rule.In, c.rule.Out, c.rule.Most)) {
			t.Errorf("%+v: the viewer is told %s", c.rule, body)
		}
	}
}

func TestFilesNeedTheCookieAndTheNodesOwnPage(t *testing.T) {
	n := newNode(t, withFiles(allWays))
	n.streamer(func(http.ResponseWriter, *http.Request) { t.Error("it reached the streamer") })
	want(t, n.ask("GET", files+"list", ""), 401)
	want(t, n.ask("GET", files+"content/YQ", ""), 401)
	want(t, n.ask("PATCH", files+"uploads/"+anUpload, "x", header("Upload-Offset", "0")), 401)
	want(t, n.ask("PATCH", files+"uploads/"+anUpload, "x", n.in, header("Upload-Offset", "0"), header("Origin", "http://evil.example")), 403)
	want(t, n.ask("POST", files+"uploads", `{"size":1}`, n.in, header("Origin", "http://evil.example")), 403)
}

func TestHostileRequestsAboutFilesStopHere(t *testing.T) {
	n := newNode(t, withFiles(allWays))
	n.streamer(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s reached the streamer", r.URL) })
	for _, c := range []struct {
		method, path, body string
		headers            []option
		status             int
	}{
		{"POST", "uploads", `{"size":2000000}`, nil, 413},
		{"POST", "uploads", `{"size":-1}`, nil, 400},
		{"POST", "uploads", `{"size":1,"x":2}`, nil, 400},
		{"POST", "uploads", `{"size":1}`, []option{noType}, 415},
		{"POST", "uploads", strings.Repeat(" ", homefiles.MaxRequest+1), nil, 413},
		{"POST", "uploads/" + anUpload + "/finish", `{"name":"../x","open":true}`, nil, 400},
		{"POST", "uploads/" + anUpload + "/finish", `{"name":"a\u0000b","open":true}`, nil, 400},
		{"PATCH", "uploads/" + anUpload, "x", nil, 400},
		{"PATCH", "uploads/" + anUpload, "x", []option{header("Upload-Offset", "-1")}, 400},
		{"PATCH", "uploads/" + anUpload, "x", []option{header("Upload-Offset", "1048576")}, 413},
		{"PATCH", "uploads/" + anUpload, "x", []option{header("Upload-Offset", "9223372036854775807")}, 400},
		{"PATCH", "uploads/..%2f..%2fwhep", "x", []option{header("Upload-Offset", "0")}, 404},
		{"GET", "uploads/x", "", nil, 404},
		{"GET", "content/" + homefiles.Path("../x").ID(), "", nil, 404},
		{"GET", "content/" + homefiles.Path("/etc/passwd").ID(), "", nil, 404},
		{"GET", "content/%2e%2e", "", nil, 404},
		{"GET", "content/" + strings.Repeat("A", homefiles.MaxID+1), "", nil, 404},
	} {
		resp := n.ask(c.method, files+c.path, c.body, append([]option{n.in}, c.headers...)...)
		if resp.StatusCode != c.status {
			t.Errorf("%s %.60s %.40s: %d, want %d: %s", c.method, c.path, c.body, resp.StatusCode, c.status, text(t, resp))
		}
	}
}

func TestTransfersOfASessionAreBounded(t *testing.T) {
	n := newNode(t, withFiles(allWays))
	release, came := make(chan struct{}), make(chan struct{}, maxTransfers)
	n.streamer(func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		<-release
		w.WriteHeader(404)
	})
	var all sync.WaitGroup
	for range maxTransfers {
		all.Go(func() { n.ask("GET", files+"content/YQ", "", n.in) })
		<-came
	}
	want(t, n.ask("GET", files+"content/YQ", "", n.in), 429)
	close(release)
	all.Wait()
	want(t, n.ask("GET", files+"content/YQ", "", n.in), 404)
}
