// Package files is the file server of a session container: it runs as the artist and is the only one that touches the artist's home from
// outside, so that neither the node nor the streamer need to. It lists, sends and takes files by HTTP on a unix socket (ARCHITECTURE.md,
// "Files"), has GIMP open what came, and tells what was saved.
package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
	"easel/pkg/problem"
)

const (
	// memoryLimit is what the process tries to stay below, whatever it carries.
	memoryLimit  = 48 << 20
	mostRequests = 48
	// idleTime is how long who sends or takes a file may pause.
	idleTime = 60 * time.Second
	// savedWait is how long a question for saved files waits.
	savedWait = 50 * time.Second
	stopTime  = time.Second
	quickTime = 20 * time.Second
	// mostDrained is what is still read of a piece that finds no room.
	mostDrained = 64 << 20
)

// Run serves on the socket until ctx ends.
func Run(ctx context.Context, socket, home string, log *slog.Logger) error {
	debug.SetMemoryLimit(memoryLimit)
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open the files' socket: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("open the files' socket: %w", err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0o666); err != nil { // its directory is the gate; the streamer is another user
		return fmt.Errorf("open the files' socket: %w", err)
	}
	s := newServer(home, gimp{home: home, send: "/usr/bin/dbus-send"}, log)
	defer s.saves.close()
	return s.serve(ctx, l)
}

// server answers about one home.
type server struct {
	tree    tree
	uploads *uploads
	saves   *saves
	gimp    gimp
	log     *slog.Logger
	room    chan struct{}
}

func newServer(home string, g gimp, log *slog.Logger) *server {
	t := tree{home}
	saves := newSaves(t, log)
	return &server{tree: t, uploads: newUploads(t, saves.mine), saves: saves, gimp: g, log: log, room: make(chan struct{}, mostRequests)}
}

func (s *server) serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: quickTime, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	var ended sync.WaitGroup
	defer ended.Wait()
	stopped := context.AfterFunc(ctx, func() {
		ended.Go(func() {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			if h.Shutdown(stop) != nil {
				_ = h.Close()
			}
		})
	})
	defer stopped()
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the artist's files: %w", err)
	}
	return nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /list", s.getList)
	mux.HandleFunc("GET /saved", s.getSaved)
	mux.HandleFunc("GET /content/{file}", s.getContent)
	mux.HandleFunc("POST /uploads", s.postUpload)
	mux.HandleFunc("GET /uploads/{upload}", s.getUpload)
	mux.HandleFunc("PATCH /uploads/{upload}", s.patchUpload)
	mux.HandleFunc("DELETE /uploads/{upload}", s.deleteUpload)
	mux.HandleFunc("POST /uploads/{upload}/finish", s.postFinish)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.room <- struct{}{}:
			defer func() { <-s.room }()
			mux.ServeHTTP(w, r)
		default:
			problem.Write(w, http.StatusTooManyRequests, "", "too many requests about files are under way: wait for some of them to end")
		}
	})
}

func (s *server) getList(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var l homefiles.Listing
	var err error
	if find := q.Get("find"); find != "" && len(find) <= homefiles.MaxSearch {
		l, err = s.tree.search(find)
	} else {
		var folder homefiles.Path
		if folder, err = homefiles.ParseID(q.Get("folder")); err == nil {
			l, err = s.tree.list(folder)
		}
	}
	reply(w, l, err)
}

func (s *server) getSaved(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	if err != nil {
		seq = 0
	}
	ctx, cancel := context.WithTimeout(r.Context(), savedWait)
	defer cancel()
	answer, err := s.saves.after(ctx, r.URL.Query().Get("watch"), seq)
	reply(w, answer, err)
}

func (s *server) getContent(w http.ResponseWriter, r *http.Request) {
	path, err := homefiles.ParseID(r.PathValue("file"))
	if err != nil {
		refuse(w, err)
		return
	}
	f, info, err := s.tree.file(path)
	if err != nil {
		refuse(w, err)
		return
	}
	defer f.Close()
	state, _ := stateOf(info)
	if info.Size() == 0 {
		r.Header.Del("Range") // there is no part of nothing
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Etag", fmt.Sprintf(`"%x-%x-%x"`, state.ino, uint64(state.modified), state.size))
	http.ServeContent(patient{w, http.NewResponseController(w)}, r, "", time.Time{}, f)
}

// patient gives who takes a file a while for each piece, however long all of it takes. It hides ReadFrom, so that pieces are small.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(idleTime)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

func (s *server) postUpload(w http.ResponseWriter, r *http.Request) {
	wish, err := homefiles.Read[homefiles.NewUpload](r.Body, homefiles.MaxRequest)
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "", err.Error())
		return
	}
	u, err := s.uploads.begin(wish.Size)
	reply(w, u, err)
}

func (s *server) getUpload(w http.ResponseWriter, r *http.Request) {
	u, err := s.uploads.at(r.PathValue("upload"))
	reply(w, u, err)
}

func (s *server) patchUpload(w http.ResponseWriter, r *http.Request) {
	offset, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 || r.ContentLength < 0 {
		problem.Write(w, http.StatusBadRequest, "", "want Upload-Offset and Content-Length, in bytes")
		return
	}
	body := &intake{body: r.Body, control: http.NewResponseController(w)}
	u, err := s.uploads.write(r.PathValue("upload"), offset, r.ContentLength, body, body.stop)
	if errors.Is(err, errFull) {
		// Who still sends would not hear why: the connection would break under it.
		_, _ = io.CopyN(io.Discard, body, mostDrained)
	}
	reply(w, u, err)
}

// intake gives who sends a file a while for each piece, until somebody stops it.
type intake struct {
	body    io.Reader
	control *http.ResponseController

	mu      sync.Mutex
	stopped bool
}

func (i *intake) Read(b []byte) (int, error) {
	if err := i.wait(time.Now().Add(idleTime)); err != nil {
		return 0, err
	}
	return i.body.Read(b)
}

func (i *intake) wait(until time.Time) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped {
		return os.ErrDeadlineExceeded
	}
	return i.control.SetReadDeadline(until)
}

// stop ends what reads, at once.
func (i *intake) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	_ = i.control.SetReadDeadline(time.Unix(1, 0)) // a connection that takes no deadline is gone
}

func (s *server) deleteUpload(w http.ResponseWriter, r *http.Request) {
	if err := s.uploads.cancel(r.PathValue("upload")); err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) postFinish(w http.ResponseWriter, r *http.Request) {
	wish, err := homefiles.Read[homefiles.Finish](r.Body, homefiles.MaxRequest)
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "", err.Error())
		return
	}
	id := r.PathValue("upload")
	done, err := s.uploads.finish(id, wish.Name)
	if err == nil && wish.Open && !done.Opened {
		done = s.open(r.Context(), done)
		s.uploads.remember(id, done)
	}
	reply(w, done, err)
}

func (s *server) open(ctx context.Context, done homefiles.Finished) homefiles.Finished {
	path, err := homefiles.ParseID(done.File.ID)
	if err == nil {
		err = s.gimp.open(ctx, path)
	}
	if done.Opened = err == nil; !done.Opened {
		done.Why = err.Error()
		s.log.Info("a file that came was not opened", "error", err)
	}
	return done
}

func reply(w http.ResponseWriter, document any, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document) // who asked may be gone
}

// refuse says what was wrong.
func refuse(w http.ResponseWriter, err error) {
	var offset *offsetError
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, &offset), errors.Is(err, errBusy):
		status = http.StatusConflict
	case errors.Is(err, errFull):
		status = http.StatusInsufficientStorage
	case errors.Is(err, errTooMany):
		status = http.StatusTooManyRequests
	case errors.Is(err, errNoUpload), errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotRegular), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		status = http.StatusNotFound
	case errors.Is(err, homefiles.ErrPath), errors.Is(err, homefiles.ErrName), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded):
		status = http.StatusBadRequest
	case errors.Is(err, fs.ErrPermission):
		status = http.StatusForbidden
	}
	problem.Write(w, status, "", err.Error())
}
