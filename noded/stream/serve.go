package stream

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/problem"
	"easel/pkg/safesocket"
)

// Bounds of requests, in bytes. noded is trusted, but what it passes on comes from browsers.
const (
	maxOffer  = 64 << 10
	maxScreen = 4 << 10
)

// stopTime is how long requests under way may take when the streamer ends.
const stopTime = 2 * time.Second

// serve answers noded on the session's socket until ctx ends.
func (w *Worker) serve(ctx context.Context) error {
	l, err := safesocket.Listen(byteStream, w.cfg.Socket, 0o600, os.Getuid(), os.Getgid())
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: w.routes(ctx), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		_ = server.Close()
	}
	<-done
	return nil
}

// routes is the HTTP API of ARCHITECTURE.md. Peers live as long as life, not as the request that made them.
func (w *Worker) routes(life context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /watch", w.getWatch)
	mux.HandleFunc("POST /whep", func(rw http.ResponseWriter, r *http.Request) { w.postWHEP(life, rw, r) })
	mux.HandleFunc("POST /whep/{peer}", w.postRestart)
	mux.HandleFunc("DELETE /whep/{peer}", w.deleteWHEP)
	mux.HandleFunc("GET /vnc", w.getVNC)
	mux.HandleFunc("POST /screen", w.postScreen)
	mux.HandleFunc("POST /notice", w.postNotice)
	mux.HandleFunc("GET /stats", w.getStats)
	mux.HandleFunc("POST /policy", w.postPolicy)
	mux.HandleFunc("POST /revoked", w.postRevoked)
	w.newFileRelay().routes(mux)
	return mux
}

func (w *Worker) getWatch(rw http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	if err != nil && r.URL.Query().Has("after") {
		problem.Write(rw, http.StatusBadRequest, "", "after must be the number of a health document")
		return
	}
	h := w.board.watch(r.Context(), after)
	h.Latency, h.Link = w.latency.told(), w.link(time.Now())
	writeJSON(rw, h)
}

// readOffer reads the SDP of a request; it answers for itself when that is none.
func readOffer(rw http.ResponseWriter, r *http.Request) (string, bool) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/sdp" {
		problem.Write(rw, http.StatusUnsupportedMediaType, "", "an offer must be application/sdp")
		return "", false
	}
	offer, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxOffer))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		problem.Write(rw, http.StatusRequestEntityTooLarge, "", "an offer may be 64 KiB long")
		return "", false
	}
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", "the offer could not be read: "+err.Error())
		return "", false
	}
	return string(offer), true
}

func (w *Worker) postWHEP(life context.Context, rw http.ResponseWriter, r *http.Request) {
	offer, ok := readOffer(rw, r)
	if !ok {
		return
	}
	on, err := w.screenOf(r)
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", err.Error())
		return
	}
	who, err := contract.ReadViewer(r.Header.Get(contract.ViewerHeader))
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", err.Error())
		return
	}
	if who.Guest() && on.number != 1 {
		problem.Write(rw, http.StatusForbidden, "", "guests see the session's first screen")
		return
	}
	p, answer, err := w.newPeer(life, on, who, offer)
	switch {
	case errors.Is(err, errNoFormat):
		problem.Write(rw, http.StatusNotAcceptable, "No common video format", err.Error()+"; use the VNC transport")
		return
	case err != nil:
		problem.Write(rw, http.StatusBadRequest, "Offer refused", err.Error())
		return
	}
	before, err := on.viewers.join(p)
	switch {
	case errors.Is(err, errNoFormat):
		p.abandon()
		problem.Write(rw, http.StatusNotAcceptable, "No common video format", "this browser takes no format that all who watch take: try another browser")
		return
	case err != nil:
		p.abandon()
		problem.Write(rw, http.StatusServiceUnavailable, "Full", "as many guests watch this session as may: try again when one has left")
		return
	}
	w.peers.Go(func() { p.live(before) })
	if !w.company.admit(p) {
		problem.Write(rw, http.StatusForbidden, "Not shared", "the session is no longer shared by this link: ask its owner for another")
		return
	}
	rw.Header().Set("Content-Type", "application/sdp")
	rw.Header().Set("Location", "whep/"+p.id)
	rw.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(rw, answer)
}

func (w *Worker) deleteWHEP(rw http.ResponseWriter, r *http.Request) {
	if p := w.peerOf(rw, r); p != nil {
		p.end(byeMessage{T: "bye", Reason: "the viewer left"})
		rw.WriteHeader(http.StatusNoContent)
	}
}

func (w *Worker) postScreen(rw http.ResponseWriter, r *http.Request) {
	var s struct {
		Width  float64 `json:"width"`
		Height float64 `json:"height"`
		Scale  float64 `json:"scale"`
	}
	d := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxScreen))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		problem.Write(rw, http.StatusBadRequest, "", `want {"width","height","scale"}: `+err.Error())
		return
	}
	size := screenSize(s.Width, s.Height)
	w.resize(w.screens[0], size, s.Scale)
	writeJSON(rw, contract.Size{Width: size.Width, Height: size.Height})
}

func (w *Worker) getStats(rw http.ResponseWriter, r *http.Request) {
	on, err := w.screenOf(r)
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", err.Error())
		return
	}
	writeJSON(rw, w.stats(on))
}

// postNotice takes what the node has to say to the artist; an empty text takes it back.
func (w *Worker) postNotice(rw http.ResponseWriter, r *http.Request) {
	n, err := contract.ReadNotice(r.Body)
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", err.Error())
		return
	}
	for _, s := range w.screens {
		s.viewers.setNotice(n)
	}
	rw.WriteHeader(http.StatusNoContent)
}

// halfPolicy is what the session's status says while the node's policy has more to it than this streamer knows.
const halfPolicy = "policy: this session's streamer is older than the node and keeps to what it knows of its policy, until it is started anew"

// postPolicy takes what the operator lets cross from now on.
func (w *Worker) postPolicy(rw http.ResponseWriter, r *http.Request) {
	p, whole, err := contract.ReadPolicy(r.Body)
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", err.Error())
		return
	}
	w.board.degrade(halfPolicy, !whole)
	w.clipboard.SetPolicy(r.Context(), p)
	w.setSound(p)
	w.toldFiles(p)
	for _, s := range w.screens {
		s.viewers.setMost(p.Guests)
	}
	rw.WriteHeader(http.StatusNoContent)
}

// toldFiles has the owner's pages ask the node anew which way files may cross, where that has changed: it is the node that keeps to it.
func (w *Worker) toldFiles(p contract.Policy) {
	if before := w.files.Swap(&p.Files); *before == p.Files {
		return
	}
	for _, peer := range w.everybody() {
		if !peer.who.Guest() {
			peer.sendControl(filesMessage{"files"})
		}
	}
}

// postRevoked takes which links to the session are gone.
func (w *Worker) postRevoked(rw http.ResponseWriter, r *http.Request) {
	gone, err := contract.ReadRevoked(r.Body)
	if err != nil {
		problem.Write(rw, http.StatusBadRequest, "", err.Error())
		return
	}
	w.company.revoke(gone.Shares)
	rw.WriteHeader(http.StatusNoContent)
}

func writeJSON(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(rw).Encode(v)
}

// setSound brings another policy into force for the sound, and tells who could hear it.
func (w *Worker) setSound(p contract.Policy) {
	w.sound.SetPolicy(p)
	for _, peer := range w.everybody() {
		if peer.sound != nil {
			peer.sendControl(audioMessage{"audio", w.sound.May()})
		}
	}
}
