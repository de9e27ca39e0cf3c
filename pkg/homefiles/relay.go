package homefiles

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"easel/pkg/problem"
)

const (
	// IdleTime is how long either side of a transfer may pause.
	IdleTime = 60 * time.Second
	// copyBuffer is what one transfer holds of a file at a time.
	copyBuffer = 64 << 10
	dialTime   = 3 * time.Second
)

// Relay passes requests about files on to the next server on the way to the home, and its answers back as far as they make sense: that
// server may be in hostile hands. It holds no more of a file than a buffer.
type Relay struct {
	Base string // of the next server's paths
	Dial func(context.Context) (net.Conn, error)
	// Unreachable answers when that server does not, or not as it should.
	Unreachable func(w http.ResponseWriter, err error)
	// BrokeOff is told of a download that the next server broke off at some byte, and says how long to seek the rest there; nil is not at all.
	BrokeOff func(at int64) time.Duration
	// Out and In bound how fast files go out and come in; nil is no bound.
	Out, In Pace
}

// Pace bounds how fast the bytes of files cross.
type Pace interface {
	// Piece waits until more may cross, and says how many bytes.
	Piece(ctx context.Context) (int, error)
	// Crossed is told how many have.
	Crossed(bytes int)
}

// Question is a request whose answer is a document.
type Question struct {
	Method, Path string
	Query        url.Values
	Body         []byte
	Patience     time.Duration
	// Read reads the answer; what it returns is passed on.
	Read func(io.Reader) (json []byte, err error)
}

// Ask passes on a question and its answer.
func (l Relay) Ask(w http.ResponseWriter, r *http.Request, q Question) {
	ctx, cancel := context.WithTimeout(r.Context(), q.Patience)
	defer cancel()
	req, err := l.request(ctx, q.Method, q.Path, q.Query, nil)
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "", "the address cannot be passed on")
		return
	}
	if q.Body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(q.Body)), int64(len(q.Body))
	}
	resp, err := l.do(req, q.Patience)
	if err != nil {
		l.Unreachable(w, err)
		return
	}
	defer resp.Body.Close()
	l.document(w, resp, q.Read)
}

// document passes on an answer that is a document, or a refusal.
func (l Relay) document(w http.ResponseWriter, resp *http.Response, read func(io.Reader) ([]byte, error)) {
	if l.refused(w, resp) {
		return
	}
	if resp.StatusCode == http.StatusNoContent {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body, err := read(resp.Body)
	if err != nil {
		l.Unreachable(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // who asked may be gone
}

// refused passes on a refusal, its words made harmless, and tells whether it was one.
func (l Relay) refused(w http.ResponseWriter, resp *http.Response) bool {
	switch {
	case resp.StatusCode >= 400 && resp.StatusCode < 500, resp.StatusCode == http.StatusInsufficientStorage:
		p := problem.Read(resp)
		problem.Write(w, resp.StatusCode, clip(p.Title, 100), clip(p.Detail, 500))
		return true
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		l.Unreachable(w, fmt.Errorf("it answers with status %d", resp.StatusCode))
		return true
	}
	return false
}

// Append passes on a piece of an upload: length bytes of the request's body. It returns how many were read of it.
func (l Relay) Append(w http.ResponseWriter, r *http.Request, upload string, offset, length int64, read func(io.Reader) ([]byte, error)) (taken int64) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	control := http.NewResponseController(w)
	body := &incoming{ctx: ctx, pace: l.In, from: io.LimitReader(r.Body, length), p: newPatience(control.SetReadDeadline, cancel)}
	defer body.p.end()
	req, err := l.request(ctx, http.MethodPatch, "/uploads/"+upload, nil, io.NopCloser(body))
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "", "the address cannot be passed on")
		return 0
	}
	req.ContentLength = length
	req.Header.Set("Expect", "100-continue") // a refusal comes before the bytes
	if length == 0 {
		req.Body = http.NoBody
		req.Header.Del("Expect")
	}
	req.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	resp, err := l.do(req, IdleTime)
	body.p.end() // nothing of the request is read from here on
	_ = control.SetReadDeadline(time.Time{})
	taken = body.taken.Load()
	if err != nil {
		l.Unreachable(w, err)
		return taken
	}
	defer resp.Body.Close()
	l.document(w, resp, read)
	return taken
}

func (l Relay) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	at := url.URL{Scheme: "http", Host: "files", Path: l.Base + path, RawQuery: query.Encode()}
	return http.NewRequestWithContext(ctx, method, at.String(), body)
}

// do sends a request by a connection of its own; headers are the patience's time for the answer's head, once the request is sent.
func (l Relay) do(req *http.Request, headers time.Duration) (*http.Response, error) {
	client := http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, dialTime)
				defer cancel()
				return l.Dial(ctx)
			},
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10, ResponseHeaderTimeout: headers,
			ExpectContinueTimeout: headers, WriteBufferSize: copyBuffer, ReadBufferSize: copyBuffer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Do(req)
}

// Whole reads a document of the next server's as it is, within MaxDocument bytes.
func Whole(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err == nil && len(b) > MaxDocument {
		err = fmt.Errorf("a document longer than %d bytes", MaxDocument)
	}
	return b, err
}

// clip makes a text of elsewhere harmless and short.
func clip(text string, most int) string {
	text = Readable(text)
	for i := range text {
		if i > most {
			return text[:i]
		}
	}
	return text
}

// patience ends a transfer in which nothing moves: by a deadline towards who asked, and by cancelling the request to the next server.
type patience struct {
	deadline func(time.Time) error
	idle     *time.Timer

	mu    sync.Mutex
	ended bool
}

func newPatience(deadline func(time.Time) error, cancel func()) *patience {
	return &patience{deadline: deadline, idle: time.AfterFunc(IdleTime, cancel)}
}

// renew is called before each piece.
func (p *patience) renew() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return net.ErrClosed
	}
	p.idle.Reset(IdleTime)
	return p.deadline(time.Now().Add(IdleTime))
}

// end must come before the handler returns: the connection is another request's then.
func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.idle.Stop()
}

// outgoing is the answer of a download, in pieces.
type outgoing struct {
	ctx  context.Context // of the transfer
	to   io.Writer
	pace Pace
	p    *patience
	err  error // why nothing more can go out
}

func (o *outgoing) Write(b []byte) (sent int, err error) {
	defer func() { o.err = err }()
	for len(b) > 0 {
		piece, err := pieceOf(o.ctx, o.pace, b)
		if err != nil {
			return sent, err
		}
		if err := o.p.renew(); err != nil {
			return sent, err
		}
		n, err := o.to.Write(piece)
		sent, b = sent+n, b[n:]
		crossed(o.pace, n)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// pieceOf waits until some of b may cross, and is that.
func pieceOf(ctx context.Context, by Pace, b []byte) ([]byte, error) {
	if by == nil {
		return b, nil
	}
	n, err := by.Piece(ctx)
	return b[:min(max(n, 1), len(b))], err
}

func crossed(by Pace, n int) {
	if by != nil {
		by.Crossed(n)
	}
}

// incoming is the body of an upload, in pieces.
type incoming struct {
	ctx   context.Context // of the transfer
	from  io.Reader
	pace  Pace
	p     *patience
	taken atomic.Int64
}

func (i *incoming) Read(b []byte) (int, error) {
	piece, err := pieceOf(i.ctx, i.pace, b)
	if err != nil {
		return 0, err
	}
	if err := i.p.renew(); err != nil {
		return 0, err
	}
	n, err := i.from.Read(piece)
	i.taken.Add(int64(n))
	crossed(i.pace, n)
	return n, err
}
