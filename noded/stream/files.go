package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"easel/pkg/homefiles"
	"easel/pkg/problem"
)

const (
	// fileTime is how long the file server in the container may take for an answer; savedTime for one that waits for news, finishTime for
	// one that waits for the disk, and for GIMP.
	fileTime   = 20 * time.Second
	savedTime  = 60 * time.Second
	finishTime = 2 * time.Minute
	// maxFileRequests bounds how many of them are under way.
	maxFileRequests = 32
)

// fileRelay passes requests about the artist's files on to the file server in the container, and reads what that answers.
type fileRelay struct {
	relay homefiles.Relay
	room  chan struct{}
}

func (w *Worker) newFileRelay() *fileRelay {
	f := &fileRelay{room: make(chan struct{}, maxFileRequests)}
	f.relay = homefiles.Relay{
		Out: &filePace{peers: w.everybody}, In: &filePace{peers: w.everybody, in: true},
		Dial: func(ctx context.Context) (net.Conn, error) { return w.dialEdge("files.sock", byteStream)(ctx) },
		Unreachable: func(rw http.ResponseWriter, err error) {
			if !errors.Is(err, context.Canceled) {
				w.log.Warn("file server not reached", "err", err)
			}
			problem.Write(rw, http.StatusBadGateway, "", "the session's file server does not answer as it should; it may still be starting")
		},
	}
	return f
}

func (f *fileRelay) routes(mux *http.ServeMux) {
	handle := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			select {
			case f.room <- struct{}{}:
				defer func() { <-f.room }()
				h(rw, r)
			default:
				problem.Write(rw, http.StatusTooManyRequests, "", "too many requests about files are under way: wait for some of them to end")
			}
		})
	}
	handle("GET /files/list", f.ask(fileTime, homefiles.MaxDocument, document[homefiles.Listing], "folder", "find"))
	handle("GET /files/saved", f.ask(savedTime, homefiles.MaxDocument, document[homefiles.Saved], "watch", "after"))
	handle("GET /files/content/{file}", f.content)
	handle("POST /files/uploads", f.ask(fileTime, homefiles.MaxRequest, document[homefiles.Upload]))
	handle("GET /files/uploads/{upload}", f.ask(fileTime, homefiles.MaxRequest, document[homefiles.Upload]))
	handle("PATCH /files/uploads/{upload}", f.patch)
	handle("DELETE /files/uploads/{upload}", f.ask(fileTime, homefiles.MaxRequest, document[homefiles.Upload]))
	handle("POST /files/uploads/{upload}/finish", f.ask(finishTime, 4*homefiles.MaxRequest, document[homefiles.Finished]))
}

// document reads one of the file server's, strictly, and writes it anew.
func document[D homefiles.Document](r io.Reader, limit int64) ([]byte, error) {
	d, err := homefiles.Read[D](r, limit)
	if err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

// ask passes on a question: its path, the named parts of its query, and its body.
func (f *fileRelay) ask(patience time.Duration, limit int64, read func(io.Reader, int64) ([]byte, error), names ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		q := homefiles.Question{
			Method: r.Method, Path: r.URL.Path[len("/files"):], Query: url.Values{}, Patience: patience,
			Read: func(r io.Reader) ([]byte, error) { return read(r, limit) },
		}
		if id := r.PathValue("upload"); id != "" && !homefiles.ValidUpload(id) {
			problem.Write(rw, http.StatusNotFound, "", "there is no such upload")
			return
		}
		for _, name := range names {
			if v := r.URL.Query().Get(name); v != "" {
				q.Query.Set(name, v)
			}
		}
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, homefiles.MaxRequest))
			if err != nil {
				problem.Write(rw, http.StatusRequestEntityTooLarge, "", "the request could not be read, or is too long")
				return
			}
			q.Body = bytes.TrimSpace(body)
		}
		f.relay.Ask(rw, r, q)
	}
}

func (f *fileRelay) content(rw http.ResponseWriter, r *http.Request) {
	path, err := homefiles.ParseID(r.PathValue("file"))
	if err != nil {
		problem.Write(rw, http.StatusNotFound, "", err.Error())
		return
	}
	f.relay.Content(rw, r, path, func(http.Header) {})
}

func (f *fileRelay) patch(rw http.ResponseWriter, r *http.Request) {
	offset, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	id := r.PathValue("upload")
	if err != nil || offset < 0 || r.ContentLength < 0 || !homefiles.ValidUpload(id) {
		problem.Write(rw, http.StatusBadRequest, "", "want an upload, Upload-Offset and Content-Length")
		return
	}
	f.relay.Append(rw, r, id, offset, r.ContentLength, func(r io.Reader) ([]byte, error) {
		return document[homefiles.Upload](r, homefiles.MaxRequest)
	})
}
