package homefiles

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// breaking serves a file as a server does that is killed again and again: each answer ends after so many bytes of it.
func breaking(b []byte, after int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		content(b)(&killed{ResponseWriter: w, left: after}, r)
	}
}

// killed breaks the connection off.
type killed struct {
	http.ResponseWriter
	left int
}

func (k *killed) Write(b []byte) (int, error) {
	n, err := k.ResponseWriter.Write(b[:min(len(b), k.left)])
	if k.left -= n; k.left == 0 {
		_ = http.NewResponseController(k.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// seeking serves a relay before h that looks again for what breaks off.
func seeking(t *testing.T, h http.Handler, patience time.Duration) (url string, breaks *atomic.Int32) {
	t.Helper()
	next := httptest.NewServer(h)
	t.Cleanup(next.Close)
	breaks = &atomic.Int32{}
	relay := Relay{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", next.Listener.Addr().String())
		},
		Unreachable: func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusBadGateway) },
		BrokeOff:    func(int64) time.Duration { breaks.Add(1); return patience },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		relay.Content(w, r, "a", func(http.Header) {})
	}))
	t.Cleanup(server.Close)
	return server.URL, breaks
}

// numbered is a file in which each place has bytes of its own.
func numbered(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.Bytes()[:size]
}

// Who downloads has every byte once, however often the server with the file is killed; a range too.
func TestDownloadOutlivesAServerThatBreaksOff(t *testing.T) {
	b := numbered(500_000)
	url, breaks := seeking(t, breaking(b, 150_000), time.Minute)
	for asked, want := range map[string][]byte{"": b, "bytes=1000-": b[1000:], "bytes=100000-399999": b[100_000:400_000], "bytes=-200000": b[300_000:], "bytes=0-99": b[:100]} {
		breaks.Store(0)
		var headers []string
		if asked != "" {
			headers = []string{"Range", asked}
		}
		resp, err := get(t, url, headers...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, want) || resp.ContentLength != int64(len(want)) {
			t.Errorf("%q: %d bytes of %d, of %d said, %v", asked, len(got), len(want), resp.ContentLength, err)
		}
		if n, most := int(breaks.Load()), (len(want)-1)/150_000+1; n > most || n < most-1 {
			t.Errorf("%q: it broke off %d times", asked, n)
		}
	}
}

// The server is away for a while, as one that is started again.
func TestDownloadWaitsForAServerThatIsStartedAgain(t *testing.T) {
	b := numbered(300_000)
	var asked atomic.Int32
	url, _ := seeking(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			breaking(b, 100_000)(w, r)
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			http.Error(w, "starting", http.StatusBadGateway)
		case 4:
			http.Error(w, "busy", http.StatusTooManyRequests)
		default:
			content(b)(w, r)
		}
	}), time.Minute)
	resp, err := get(t, url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// What is not the rest of the same file never passes for it: the download breaks off, and the browser finds out for itself.
func TestDownloadGoesOnWithTheSameFileAlone(t *testing.T) {
	b := numbered(300_000)
	other := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"4-5-6"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bytes.ToUpper(b)))
	}
	for name, then := range map[string]http.HandlerFunc{
		"another file": other,
		"another file that heeds no tag": func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Range")
			other(w, r)
		},
		"one that has grown": func(w http.ResponseWriter, r *http.Request) { content(append(b[:len(b):len(b)], "more"...))(w, r) },
		"a part of its own choice": func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=0-")
			content(b)(w, r)
		},
		"no file":       http.NotFound,
		"never again":   func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"byte for byte": breaking(b, 1),
		"no byte more": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"1-2-3"`)
			w.Header().Set("Content-Range", "bytes 100000-299999/300000")
			w.Header().Set("Content-Length", strconv.Itoa(200_000))
			w.WriteHeader(http.StatusPartialContent)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			url, breaks := seeking(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) == 1 {
					breaking(b, 100_000)(w, r)
				}
				then(w, r)
			}), 2*seekPause)
			resp, err := get(t, url)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err == nil || !bytes.HasPrefix(b, got) {
				t.Fatalf("%d bytes came, %v", len(got), err)
			}
			if n := breaks.Load(); n == 0 || n > maxBreaks {
				t.Errorf("it was sought %d times", n)
			}
		})
	}
}
