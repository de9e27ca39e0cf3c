package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/session"
	"easel/pkg/homefiles"
	"easel/pkg/problem"
	"easel/pkg/safesocket"
)

// Files says which way files may cross between artists and their sessions.
type Files struct {
	In, Out bool
	Most    int64 // of one file that comes in, in bytes
}

const (
	// filesTime bounds a question about files; savedTime one that waits for what is saved, finishTime one that waits for the disk and GIMP.
	filesTime  = 25 * time.Second
	savedTime  = 65 * time.Second
	finishTime = 130 * time.Second
	// maxTransfers is how many files of a session may be on their way at once, maxQuestions how many other requests about files.
	maxTransfers = 8
	maxQuestions = 12
	// streamerBack is how long a download waits for a streamer that was killed to be there again: less than who sends or fetches may pause.
	streamerBack = homefiles.IdleTime * 3 / 4
)

// transfers is the files that cross, counted.
type transfers struct {
	open, asks *gate
	bytes      *prometheus.CounterVec
	ended      *prometheus.CounterVec
}

// The ways that files cross, as metrics and the log call them.
const (
	wayIn  = "in"
	wayOut = "out"
)

// What becomes of them.
const (
	wholly    = "whole"
	cancelled = "cancelled"
	brokenOff = "broken off"
)

func newTransfers(r prometheus.Registerer) *transfers {
	t := &transfers{
		open: newGate(maxTransfers), asks: newGate(maxQuestions),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_files_bytes_total", Help: "Bytes of files between artists and sessions, by direction."}, []string{"direction"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_files_total", Help: "Files that crossed, by direction and outcome."}, []string{"direction", "outcome"}),
	}
	r.MustRegister(t.bytes, t.ended)
	for _, way := range []string{wayIn, wayOut} {
		t.bytes.WithLabelValues(way)
		t.ended.WithLabelValues(way, wholly)
	}
	t.ended.WithLabelValues(wayIn, cancelled)
	t.ended.WithLabelValues(wayOut, brokenOff)
	return t
}

// SetFiles changes which way files may cross. A download that is on its way goes on, an upload ends with the piece that is.
func (g *Gateway) SetFiles(f Files) { g.filesRule.Store(&f) }

// filesOf is which way files may cross for who asks.
func (g *Gateway) filesOf(r *http.Request) Files {
	if whoOf(r).Guest() {
		return Files{} // the home is the owner's
	}
	return *g.filesRule.Load()
}

// filesDocument tells a viewer what it may offer.
type filesDocument struct {
	In   bool  `json:"in"`
	Out  bool  `json:"out"`
	Most int64 `json:"most"`
}

func (f Files) document() filesDocument { return filesDocument(f) }

// addFiles lays out the routes of ARCHITECTURE.md, "Files".
func (g *Gateway) addFiles(t *table) {
	add := func(method, path, way string, limit time.Duration, open *gate, h func(http.ResponseWriter, *http.Request, session.Session)) {
		t.add(method, "/s/{id}/files/"+path, limit, g.signedIn(g.crossing(way, open, h)))
	}
	f := g.transfers
	add("GET", "list", wayOut, filesTime, f.asks, g.question(filesTime, "folder", "find"))
	add("GET", "saved", wayOut, savedTime, f.asks, g.question(savedTime, "watch", "after"))
	add("GET", "content/{file}", wayOut, noLimit, f.open, g.download)
	add("POST", "uploads", wayIn, filesTime, f.asks, g.beginUpload)
	add("GET", "uploads/{upload}", wayIn, filesTime, f.asks, g.question(filesTime))
	add("PATCH", "uploads/{upload}", wayIn, noLimit, f.open, g.appendUpload)
	add("DELETE", "uploads/{upload}", wayIn, filesTime, f.asks, g.cancelUpload)
	add("POST", "uploads/{upload}/finish", wayIn, finishTime, f.asks, g.finishUpload)
}

// crossing lets through what may cross, as far as the session has room.
func (g *Gateway) crossing(way string, open *gate, h func(http.ResponseWriter, *http.Request, session.Session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if rule := g.filesOf(r); way == wayIn && !rule.In || way == wayOut && !rule.Out {
			why := fmt.Sprintf("this node lets no files %s sessions: ask who runs it (sessions.files)", map[string]string{wayIn: "into", wayOut: "out of"}[way])
			if whoOf(r).Guest() {
				why = "the session's files are its owner's alone"
			}
			problem.Write(w, http.StatusForbidden, "Files may not cross", why)
			return
		}
		if id := r.PathValue("upload"); id != "" && !homefiles.ValidUpload(id) {
			problem.Write(w, http.StatusNotFound, "No such upload", "the address names no upload")
			return
		}
		s, ok := g.usable(w, r.PathValue("id"))
		if !ok {
			return
		}
		leave, ok := open.enter(s.ID)
		if !ok {
			w.Header().Set("Retry-After", "2")
			problem.Write(w, http.StatusTooManyRequests, "", "too many files of this session are on their way: wait for some of them to end")
			return
		}
		defer leave()
		h(w, r, s)
	}
}

// toStreamer is the way to the file server of a session, which the streamer knows.
func (g *Gateway) toStreamer(s session.Session) homefiles.Relay {
	return homefiles.Relay{
		Base: "/files",
		BrokeOff: func(at int64) time.Duration {
			g.Log.Info("a file that goes out broke off on the way from the session, and is sought again", "session", s.ID, "at", at)
			return streamerBack
		},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return safesocket.Dial(ctx, safesocket.Stream, s.Paths.Worker, session.StreamerSocket)
		},
		Unreachable: func(w http.ResponseWriter, err error) {
			if !errors.Is(err, context.Canceled) { // else who asked has left
				g.Log.Info("files of a session are out of reach", "session", s.ID, "error", err)
			}
			w.Header().Set("Retry-After", "1")
			problem.Write(w, http.StatusServiceUnavailable, "Files not ready", "the session's files are out of reach for the moment: it is starting, or started again; try again in a second")
		},
	}
}

// question passes on a question about files.
func (g *Gateway) question(patience time.Duration, names ...string) func(http.ResponseWriter, *http.Request, session.Session) {
	return func(w http.ResponseWriter, r *http.Request, s session.Session) {
		q := homefiles.Question{Method: r.Method, Path: filesPath(r), Query: url.Values{}, Patience: patience, Read: homefiles.Whole}
		for _, name := range names {
			if v := r.URL.Query().Get(name); v != "" && len(v) <= homefiles.MaxID {
				q.Query.Set(name, v)
			}
		}
		g.toStreamer(s).Ask(w, r, q)
	}
}

// filesPath is the request's path below files; what it is made of has been looked at.
func filesPath(r *http.Request) string { return r.URL.Path[len("/s/"+r.PathValue("id")+"/files"):] }

func (g *Gateway) download(w http.ResponseWriter, r *http.Request, s session.Session) {
	path, err := homefiles.ParseID(r.PathValue("file"))
	if err != nil || path == "" {
		problem.Write(w, http.StatusNotFound, "No such file", "the address names no file")
		return
	}
	sent, whole := g.toStreamer(s).Content(w, r, path, func(h http.Header) {
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Disposition", homefiles.Disposition(path.Name()))
	})
	if r.Method == http.MethodHead || sent == 0 && !whole {
		return
	}
	outcome := wholly
	if !whole {
		outcome = brokenOff
	}
	g.transfers.bytes.WithLabelValues(wayOut).Add(float64(sent))
	g.transfers.ended.WithLabelValues(wayOut, outcome).Inc()
	g.Log.Info("a file went out", "session", s.ID, "user", s.User, "kind", homefiles.Extension(path.Name()), "bytes", sent, "range", r.Header.Get("Range") != "", "outcome", outcome)
}

func (g *Gateway) beginUpload(w http.ResponseWriter, r *http.Request, s session.Session) {
	wish, ok := readWish[homefiles.NewUpload](w, r)
	if !ok || !g.small(w, r, wish.Size) {
		return
	}
	g.tell(w, r, s, wish, filesTime, homefiles.Whole)
}

// small refuses files that are larger than may come in.
func (g *Gateway) small(w http.ResponseWriter, r *http.Request, size int64) bool {
	most := g.filesOf(r).Most
	if size > most {
		problem.Write(w, http.StatusRequestEntityTooLarge, "File too large", fmt.Sprintf("this node takes files of up to %d MiB (sessions.upload_size)", most>>20))
		return false
	}
	return true
}

func (g *Gateway) appendUpload(w http.ResponseWriter, r *http.Request, s session.Session) {
	offset, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 || offset > homefiles.MaxSize || r.ContentLength < 0 {
		problem.Write(w, http.StatusBadRequest, "", "want Upload-Offset and Content-Length, in bytes")
		return
	}
	if !g.small(w, r, offset+r.ContentLength) {
		return
	}
	taken := g.toStreamer(s).Append(w, r, r.PathValue("upload"), offset, r.ContentLength, homefiles.Whole)
	g.transfers.bytes.WithLabelValues(wayIn).Add(float64(taken))
}

func (g *Gateway) cancelUpload(w http.ResponseWriter, r *http.Request, s session.Session) {
	g.transfers.ended.WithLabelValues(wayIn, cancelled).Inc()
	g.question(filesTime)(w, r, s)
}

func (g *Gateway) finishUpload(w http.ResponseWriter, r *http.Request, s session.Session) {
	wish, ok := readWish[homefiles.Finish](w, r)
	if !ok {
		return
	}
	g.tell(w, r, s, wish, finishTime, func(body io.Reader) ([]byte, error) {
		done, err := homefiles.Read[homefiles.Finished](body, homefiles.MaxDocument)
		if err != nil {
			return nil, err
		}
		g.transfers.ended.WithLabelValues(wayIn, wholly).Inc()
		// The name may say something of the artist: it is not the operator's.
		g.Log.Info("a file came in", "session", s.ID, "user", s.User, "kind", homefiles.Extension(done.File.Name), "bytes", done.File.Size, "opened", done.Opened)
		return json.Marshal(done)
	})
}

// readWish reads the body of a request about uploads.
func readWish[D homefiles.Document](w http.ResponseWriter, r *http.Request) (wish D, ok bool) {
	body, ok := readBody(w, r, forward{takes: "application/json", in: homefiles.MaxRequest})
	if !ok {
		return wish, false
	}
	wish, err := homefiles.Read[D](bytes.NewReader(body), homefiles.MaxRequest)
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "", session.Printable(err.Error(), 300))
		return wish, false
	}
	return wish, true
}

// tell passes on a wish, as it was understood.
func (g *Gateway) tell(w http.ResponseWriter, r *http.Request, s session.Session, wish any, patience time.Duration, read func(io.Reader) ([]byte, error)) {
	body, err := json.Marshal(wish)
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "", "the request cannot be passed on")
		return
	}
	g.toStreamer(s).Ask(w, r, homefiles.Question{Method: r.Method, Path: filesPath(r), Patience: patience, Body: body, Read: read})
}
