package homefiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const testUpload = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-1000"

// before serves h, and a relay before it as a node's or a streamer's, so many times one before the other.
func before(t testing.TB, h http.Handler, times int) *httptest.Server {
	t.Helper()
	last := httptest.NewServer(h)
	t.Cleanup(last.Close)
	for range times {
		next := last.Listener.Addr().String()
		relay := Relay{
			Dial: func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", next)
			},
			Unreachable: func(w http.ResponseWriter, err error) {
				http.Error(w, "unreachable: "+err.Error(), http.StatusBadGateway)
			},
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /content/{file}", func(w http.ResponseWriter, r *http.Request) {
			path, err := ParseID(r.PathValue("file"))
			if err != nil {
				t.Error(err)
			}
			relay.Content(w, r, path, func(h http.Header) { h.Set("Content-Disposition", Disposition(path.Name())) })
		})
		mux.HandleFunc("PATCH /uploads/{upload}", func(w http.ResponseWriter, r *http.Request) {
			offset, _ := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
			relay.Append(w, r, r.PathValue("upload"), offset, r.ContentLength, Whole)
		})
		mux.HandleFunc("GET /list", func(w http.ResponseWriter, r *http.Request) {
			relay.Ask(w, r, Question{Method: "GET", Path: "/list", Patience: 5 * time.Second, Read: Whole})
		})
		last = httptest.NewServer(mux)
		t.Cleanup(last.Close)
	}
	return last
}

func get(t *testing.T, url string, headers ...string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return http.DefaultClient.Do(req)
}

// content serves bytes as the file server does.
func content(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1-2-3"`)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Set-Cookie", "a=b")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

func TestContentAndItsRanges(t *testing.T) {
	b := []byte("0123456789")
	server := before(t, content(b), 2)
	at := server.URL + "/content/" + Path("a/猫.html").ID()
	for _, c := range []struct {
		headers []string
		status  int
		body    string
	}{
		{nil, 200, "0123456789"},
		{[]string{"Range", "bytes=3-"}, 206, "3456789"},
		{[]string{"Range", "bytes=3-5"}, 206, "345"},
		{[]string{"Range", "bytes=-2"}, 206, "89"},
		{[]string{"Range", "bytes=3-", "If-Range", `"1-2-3"`}, 206, "3456789"},
		{[]string{"Range", "bytes=3-", "If-Range", `"1-2-4"`}, 200, "0123456789"},
		{[]string{"Range", "bytes=3-", "If-Range", `W/"x"`}, 200, "0123456789"},
		{[]string{"Range", "bytes=0-1,4-5"}, 200, "0123456789"},
		{[]string{"Range", "bytes=10-"}, 416, ""},
	} {
		resp, err := get(t, at, c.headers...)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || c.status < 400 && string(body) != c.body {
			t.Errorf("%v: %d %q, %v", c.headers, resp.StatusCode, body, err)
		}
		if h := resp.Header; c.status < 400 && (h.Get("Content-Type") != "application/octet-stream" || h.Get("Set-Cookie") != "" || h.Get("Etag") != `"1-2-3"` || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment;")) {
			t.Errorf("%v: %v", c.headers, h)
		}
	}
}

// TestHostileFileServer: whatever it answers, it neither hangs nor bloats who passes it on, and no part is taken for the whole.
func TestHostileFileServer(t *testing.T) {
	say := func(status int, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"1-2-3"`)
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1-2-3"`)
		for piece := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		h      http.HandlerFunc
		path   string
		asked  string
		status int // 0: it breaks off
	}{
		"no length":            {endless, "/content/YQ", "", 502},
		"endless list":         {endless, "/list", "", 502},
		"no tag":               {say(200, "x", "Etag", ""), "/content/YQ", "", 502},
		"a tag of its own":     {say(200, "x", "Etag", `"<b>"`), "/content/YQ", "", 502},
		"a part unasked":       {say(206, "x", "Content-Range", "bytes 0-0/5"), "/content/YQ", "", 502},
		"another part":         {say(206, "x", "Content-Range", "bytes 1-1/5"), "/content/YQ", "bytes=0-0", 502},
		"a part without range": {say(206, "x"), "/content/YQ", "bytes=0-0", 502},
		"a part too long":      {say(206, "xyz", "Content-Range", "bytes 0-0/5"), "/content/YQ", "bytes=0-0", 502},
		"redirect":             {say(302, "", "Location", "http://evil.example/"), "/content/YQ", "", 502},
		"not modified":         {say(304, ""), "/content/YQ", "", 502},
		"server error":         {say(500, "boo"), "/content/YQ", "", 502},
		"huge headers":         {say(200, "x", "X", strings.Repeat("x", 1<<20)), "/content/YQ", "", 502},
		"a page of refusal":    {say(404, "<script>", "Content-Type", "text/html"), "/content/YQ", "", 404},
		"words":                {say(404, "{\"title\":\"a\\u001b[2J\",\"detail\":\"b\\nc\\u202e\"}", "Content-Type", "application/problem+json"), "/list", "", 404},
		"full":                 {say(507, ""), "/list", "", 507},
		"too short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"1-2-3"`)
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "/content/YQ", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := before(t, c.h, 1)
			var headers []string
			if c.asked != "" {
				headers = []string{"Range", c.asked}
			}
			resp, err := get(t, server.URL+c.path, headers...)
			if err != nil {
				if c.status != 0 {
					t.Fatal(err)
				}
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			if c.status == 0 {
				if err == nil {
					t.Fatalf("%d, %q: the part passes for the whole", resp.StatusCode, body)
				}
				return
			}
			if err != nil || resp.StatusCode != c.status || strings.Contains(string(body), "<script>") || strings.ContainsAny(string(body), "\x1b\u202e") || len(body) > 4096 {
				t.Fatalf("%d, %.200q, %v; want %d", resp.StatusCode, body, err, c.status)
			}
		})
	}
}

func TestUploadPassesThroughWithoutItsRefusalLost(t *testing.T) {
	var got bytes.Buffer
	server := before(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upload-Offset") != "7" {
			http.Error(w, "elsewhere", http.StatusConflict) // before the body is read
			return
		}
		if _, err := io.Copy(&got, r.Body); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, `{}`)
	}), 2)
	patch := func(offset string, body []byte) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, server.URL+"/uploads/"+testUpload, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Upload-Offset", offset)
		req.Header.Set("Expect", "100-continue")
		client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	body := bytes.Repeat([]byte("paint"), 200_000)
	if status := patch("6", body); status != http.StatusConflict {
		t.Fatalf("status %d", status)
	}
	if status := patch("7", body); status != 200 || !bytes.Equal(got.Bytes(), body) {
		t.Fatalf("status %d, %d bytes", status, got.Len())
	}
	if status := patch("7", nil); status != 200 {
		t.Fatalf("status %d of an empty piece", status)
	}
}

// TestTransfersOverHTTP2: where the node has TLS, browsers speak HTTP/2.
func TestTransfersOverHTTP2(t *testing.T) {
	plain := before(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, `{"n":%d,"err":%t}`, n, err != nil)
			return
		}
		w.Header().Set("Etag", `"1-2-3"`)
		http.ServeContent(w, r, "", time.Time{}, &zeros{size: 10 << 20})
	}), 1)
	server := httptest.NewUnstartedServer(plain.Config.Handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := server.Client()
	resp, err := client.Get(server.URL + "/content/YQ")
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil || n != 10<<20 || resp.ProtoMajor != 2 {
		t.Fatalf("%d bytes by %s, %v", n, resp.Proto, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, server.URL+"/uploads/"+testUpload, &zeros{size: 10 << 20})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 10 << 20
	req.Header.Set("Upload-Offset", "0")
	up, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Body.Close()
	if body, err := io.ReadAll(up.Body); err != nil || string(body) != `{"n":10485760,"err":false}` || up.ProtoMajor != 2 {
		t.Fatalf("%s by %s, %v", body, up.Proto, err)
	}
}

// FuzzRanges has the standard library answer whatever range it takes: what it says of a valid one is let through, and what fits no other.
func FuzzRanges(f *testing.F) {
	for _, asked := range []string{"bytes=0-", "bytes=3-5", "bytes=-2", "bytes=5-3", "bytes=99-", "bytes=0-0,2-3", "bytes=-0"} {
		f.Add(asked, uint16(10))
	}
	f.Fuzz(func(t *testing.T, asked string, size uint16) {
		if !ValidRange(asked) || size == 0 { // of an empty file the library sends "bytes 0--1/0"
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Range", asked)
		w := httptest.NewRecorder()
		w.Header().Set("Etag", `"1-2-3"`)
		http.ServeContent(w, r, "", time.Time{}, &zeros{size: int64(size)})
		resp := w.Result()
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return
		}
		resp.ContentLength = int64(w.Body.Len())
		if _, err := partOf(resp, asked); err != nil {
			t.Fatalf("%q of %d bytes: %v", asked, size, err)
		}
		if resp.StatusCode == http.StatusPartialContent {
			resp.ContentLength++
			if p, err := partOf(resp, asked); err == nil {
				t.Fatalf("%q of %d bytes: a byte too many passes as %+v", asked, size, p)
			}
		}
	})
}

// zeros is a file of so many zero bytes that is nowhere.
type zeros struct{ at, size int64 }

func (z *zeros) Read(b []byte) (int, error) {
	if z.at >= z.size {
		return 0, io.EOF
	}
	n := min(int64(len(b)), z.size-z.at)
	clear(b[:n])
	z.at += n
	return int(n), nil
}

func (z *zeros) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		z.at = offset
	case io.SeekCurrent:
		z.at += offset
	case io.SeekEnd:
		z.at = z.size + offset
	}
	return z.at, nil
}

// TestTwoGigabytesTakeNoMemory carries the last part of a file of 2 GiB down and up through two relays, as node and streamer are, and
// looks at the heap meanwhile.
func TestTwoGigabytesTakeNoMemory(t *testing.T) {
	const size, part = 2 << 30, 256 << 20
	const most = 24 << 20 // what the heap may grow by
	var taken atomic.Int64
	server := before(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				t.Error(err)
			}
			taken.Add(n)
			fmt.Fprint(w, `{}`)
			return
		}
		w.Header().Set("Etag", `"1-2-3"`)
		http.ServeContent(w, r, "", time.Time{}, &zeros{size: size})
	}), 2)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapSys - m.HeapReleased)
	}
	runtime.GC()
	began := heap()
	look := func(way string) {
		if grown := heap() - began; grown > most {
			t.Errorf("%s, the heap has grown by %d MiB", way, grown>>20)
		}
	}
	resp, err := get(t, server.URL+"/content/YQ", "Range", fmt.Sprintf("bytes=%d-", size-part))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for piece := range 4 {
		if _, err := io.CopyN(io.Discard, resp.Body, part/4); err != nil {
			t.Fatal(err)
		}
		look(fmt.Sprintf("after %d quarters on the way down", piece+1))
	}
	if want := fmt.Sprintf("bytes %d-%d/%d", size-part, size-1, size); resp.Header.Get("Content-Range") != want {
		t.Fatalf("%q came, want %q", resp.Header.Get("Content-Range"), want)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, server.URL+"/uploads/"+testUpload, &zeros{size: part})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = part
	req.Header.Set("Upload-Offset", strconv.Itoa(size-part))
	up, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	up.Body.Close()
	look("on the way up")
	if taken.Load() != part {
		t.Fatalf("%d bytes went", taken.Load())
	}
}

// BenchmarkRelay carries files of 2 GiB down through two relays.
func BenchmarkRelay(b *testing.B) {
	const size = 2 << 30
	server := before(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1-2-3"`)
		http.ServeContent(w, r, "", time.Time{}, &zeros{size: size})
	}), 2)
	b.SetBytes(size)
	for b.Loop() {
		resp, err := http.Get(server.URL + "/content/YQ")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || n != size {
			b.Fatalf("%d bytes, %v", n, err)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys-m.HeapReleased)/(1<<20), "MiB-heap")
}

// steady lets so many bytes cross at a time, and fails after a number of them.
type steady struct {
	piece, fails int
	most, all    atomic.Int64
}

var errPaced = errors.New("no more")

func (s *steady) Piece(context.Context) (int, error) {
	if s.fails > 0 && int(s.all.Load()) >= s.fails {
		return 0, errPaced
	}
	return s.piece, nil
}

func (s *steady) Crossed(n int) {
	s.all.Add(int64(n))
	s.most.Store(max(s.most.Load(), int64(n)))
}

// Files cross in pieces as large as the pace says, whole; where it lets nothing cross any more they end, and no part is taken for the whole.
func TestFilesCrossAtThePaceGiven(t *testing.T) {
	const size, piece = 100_000, 3000
	taken := make(chan int64, 1)
	next := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			n, _ := io.Copy(io.Discard, r.Body)
			taken <- n
			_, _ = w.Write([]byte("{}"))
			return
		}
		content(make([]byte, size))(w, r)
	}))
	defer next.Close()
	relayed := func(out, in Pace) *httptest.Server {
		relay := Relay{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", next.Listener.Addr().String())
			},
			Unreachable: func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusBadGateway) },
			Out:         out, In: in,
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPatch {
				relay.Append(w, r, testUpload, 0, r.ContentLength, Whole)
				return
			}
			relay.Content(w, r, "a", func(http.Header) {})
		}))
		t.Cleanup(server.Close)
		return server
	}
	patch := func(server *httptest.Server) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, server.URL, bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}

	out, in := &steady{piece: piece}, &steady{piece: piece}
	server := relayed(out, in)
	resp, err := get(t, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || len(got) != size || out.all.Load() != size || out.most.Load() != piece {
		t.Errorf("%d bytes went out, %v; the pace was told of %d, of %d at most at a time", len(got), err, out.all.Load(), out.most.Load())
	}
	if status, err := patch(server); err != nil || status != http.StatusOK || <-taken != size || in.all.Load() != size || in.most.Load() > piece {
		t.Errorf("an upload: %d, %v; the pace was told of %d bytes, of %d at most at a time", status, err, in.all.Load(), in.most.Load())
	}

	server = relayed(&steady{piece: piece, fails: size / 2}, &steady{piece: piece, fails: size / 2})
	if resp, err = get(t, server.URL); err != nil {
		t.Fatal(err)
	}
	got, err = io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil || len(got) >= size {
		t.Errorf("%d bytes went out of one that was to end, and it counts as whole", len(got))
	}
	if status, err := patch(server); err == nil && status == http.StatusOK {
		t.Error("an upload that was to end is said to be taken")
	}
	if n := <-taken; n >= size {
		t.Errorf("%d bytes came in", n)
	}
}
