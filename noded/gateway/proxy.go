package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"time"

	"easel/noded/session"
	"easel/noded/stream/contract"
	"easel/pkg/problem"
	"easel/pkg/safesocket"
)

// forward is a route to the streamer. What comes back gets the type given here and no other: a streamer
// that a hostile container has taken over must not place a page on the node's own origin.
type forward struct {
	method, path string
	takes        string // the body's type; "" for none
	gives        string // the answer's type; "" for none
	in, out      int64  // most bytes each way
	roles        []string
	screens      bool // ?screen=N says which of the session's screens it is about
}

var forwards = []forward{
	{method: "POST", path: "whep", takes: "application/sdp", gives: "application/sdp", in: 64 << 10, out: 64 << 10, screens: true, roles: everyRole},
	{method: "POST", path: "whep/{peer}", takes: "application/sdp", gives: "application/sdp", in: 64 << 10, out: 64 << 10, roles: everyRole},
	{method: "DELETE", path: "whep/{peer}", roles: everyRole},
	{method: "POST", path: "screen", roles: []string{contract.RoleOwner}, takes: "application/json", in: 1 << 10, out: 4 << 10},
	{method: "GET", path: "stats", gives: "application/json", out: 256 << 10, screens: true, roles: everyRole},
}

var (
	peerPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	screenPattern = regexp.MustCompile(`^[1-9]$`)
)

// streamerPatience bounds a streamer's answer, but for WebSockets.
const streamerPatience = 10 * time.Second

// maxVNC is how many VNC connections a session may have at once: a reload may overlap with the page before.
const maxVNC = 4

// transport reaches one session's streamer.
func transport(dir string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return safesocket.Dial(ctx, safesocket.Stream, dir, session.StreamerSocket)
		},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		ResponseHeaderTimeout:  streamerPatience,
	}
}

// usable answers for itself when the session has no streamer to talk to.
func (g *Gateway) usable(w http.ResponseWriter, id string) (session.Session, bool) {
	s, ok := g.sessionOf(w, id)
	switch {
	case !ok:
		return s, false
	case s.State.Ended():
		g.gone(w, s)
		return s, false
	}
	return s, true
}

// unreachable says that the streamer does not answer, which passes: it is started again when it died.
func (g *Gateway) unreachable(w http.ResponseWriter, id string, err error) {
	g.Log.Info("a streamer does not answer", "session", id, "error", err)
	w.Header().Set("Retry-After", "1")
	problem.Write(w, http.StatusServiceUnavailable, "Picture not ready", "the session's picture is being started: it is there in a moment")
}

// forward passes a request to the streamer and its answer back, both whole and bounded.
func (g *Gateway) forward(f forward) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := readBody(w, r, f)
		if !ok {
			return
		}
		s, ok := g.usable(w, r.PathValue("id"))
		if !ok {
			return
		}
		peer := r.PathValue("peer")
		if peer != "" && !peerPattern.MatchString(peer) {
			problem.Write(w, http.StatusNotFound, "No such peer", "the address names no connection")
			return
		}
		at := "http://streamer/" + strings.Replace(f.path, "{peer}", peer, 1)
		if q := r.URL.Query(); f.screens && q.Has("screen") {
			if !screenPattern.MatchString(q.Get("screen")) {
				problem.Write(w, http.StatusBadRequest, "", "screen must be the number of one of the session's screens")
				return
			}
			at += "?screen=" + q.Get("screen")
		}
		ctx, cancel := context.WithTimeout(r.Context(), streamerPatience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, f.method, at, bytes.NewReader(body))
		if err != nil {
			problem.Write(w, http.StatusBadRequest, "", "the address cannot be passed on")
			return
		}
		said, err := named(whoOf(r), s).Header()
		if err != nil {
			problem.Write(w, http.StatusBadRequest, "", err.Error())
			return
		}
		req.Header.Set(contract.ViewerHeader, said)
		if f.takes != "" {
			req.Header.Set("Content-Type", f.takes)
		}
		client := http.Client{Transport: transport(s.Paths.Worker), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Do(req)
		if err != nil {
			g.unreachable(w, s.ID, err)
			return
		}
		defer resp.Body.Close()
		g.answer(w, s.ID, f, resp)
	}
}

func readBody(w http.ResponseWriter, r *http.Request, f forward) ([]byte, bool) {
	if f.takes == "" {
		return nil, true
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != f.takes {
		problem.Write(w, http.StatusUnsupportedMediaType, "", "want a body of type "+f.takes)
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, f.in))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		problem.Write(w, http.StatusRequestEntityTooLarge, "", "the body is larger than any that makes sense here")
		return nil, false
	}
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "", "the body could not be read")
		return nil, false
	}
	return body, true
}

// answer passes on what the streamer said, as far as it makes sense.
func (g *Gateway) answer(w http.ResponseWriter, id string, f forward, resp *http.Response) {
	if resp.StatusCode >= 400 && resp.StatusCode < 500 {
		p := problem.Read(resp)
		problem.Write(w, resp.StatusCode, session.Printable(p.Title, 100), session.Printable(p.Detail, 500))
		return
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		g.unreachable(w, id, errors.New("it answers "+session.Printable(resp.Status, 64)))
		return
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, f.out+1))
	if err != nil || int64(len(body)) > f.out {
		g.unreachable(w, id, errors.Join(errors.New("its answer broke off or has no end"), err))
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if peer, ok := strings.CutPrefix(strings.TrimPrefix(resp.Header.Get("Location"), "/"), "whep/"); ok && peerPattern.MatchString(peer) {
		h.Set("Location", "/s/"+id+"/whep/"+peer)
	}
	if f.gives == "" || len(body) == 0 {
		w.WriteHeader(min(resp.StatusCode, http.StatusNoContent))
		return
	}
	h.Set("Content-Type", f.gives)
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body) // the viewer may be gone
}

// socket joins the viewer's WebSocket to the streamer's. Each direction holds one buffer: who reads slowly
// slows the other side down, and bloats nothing here.
func (g *Gateway) socket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		problem.Write(w, http.StatusUpgradeRequired, "", "this is a WebSocket")
		return
	}
	s, ok := g.usable(w, r.PathValue("id"))
	if !ok {
		return
	}
	leave, ok := g.vnc.enter(s.ID)
	if !ok {
		problem.Write(w, http.StatusTooManyRequests, "", "the session has too many VNC connections: close other tabs that show it")
		return
	}
	defer leave()
	proxy := httputil.ReverseProxy{
		Transport: transport(s.Paths.Worker),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.Path, p.Out.URL.RawPath, p.Out.URL.RawQuery = "http", "streamer", "/vnc", "", ""
			p.Out.Host = "streamer"
			p.Out.Header = socketHeaders(p.In.Header)
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode != http.StatusSwitchingProtocols {
				return errors.New("it answers " + session.Printable(resp.Status, 64))
			}
			resp.Header = answerHeaders(resp.Header)
			if conn, ok := resp.Body.(io.ReadWriteCloser); ok {
				resp.Body = wholeConn{conn}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { g.unreachable(w, s.ID, err) },
		ErrorLog:     slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, r)
}

// wholeConn hides that a connection can be closed by halves: when the viewer goes, all of it ends, and a
// streamer that keeps its half open holds no place.
type wholeConn struct{ io.ReadWriteCloser }

var (
	askHeaders  = []string{"Upgrade", "Connection", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol"}
	giveHeaders = []string{"Upgrade", "Connection", "Sec-Websocket-Accept", "Sec-Websocket-Protocol"}
)

// socketHeaders is what a WebSocket's handshake needs: no cookie reaches the streamer.
func socketHeaders(in http.Header) http.Header { return pick(in, askHeaders) }

func answerHeaders(in http.Header) http.Header { return pick(in, giveHeaders) }

func pick(in http.Header, names []string) http.Header {
	out := http.Header{}
	for _, name := range names {
		if v := in.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out
}
