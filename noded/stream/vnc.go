package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"easel/pkg/problem"

	"github.com/coder/websocket"
)

const (
	vncProtocol = "binary"
	// maxVNCMessage bounds one message of the browser's; noVNC's are small but for pasted text.
	maxVNCMessage = 1 << 20
	vncBuffer     = 32 << 10
	// vncWrite is how long either side may leave what it is sent unread.
	vncWrite = 20 * time.Second
	vncDial  = 3 * time.Second
	// maxVNC bounds how many may watch by VNC at once.
	maxVNC = 8
)

// getVNC carries bytes between a WebSocket and the session's VNC server; neither side's are looked at.
func (w *Worker) getVNC(rw http.ResponseWriter, r *http.Request) {
	select {
	case w.vnc <- struct{}{}:
		defer func() { <-w.vnc }()
	default:
		problem.Write(rw, http.StatusServiceUnavailable, "", "too many VNC viewers; close another window of this session")
		return
	}
	dial, cancel := context.WithTimeout(r.Context(), vncDial)
	server, err := w.dialEdge("vnc.sock", byteStream)(dial)
	cancel()
	if err != nil {
		w.log.Warn("VNC server not reached", "err", err)
		problem.Write(rw, http.StatusBadGateway, "", "the session's VNC server does not answer; it may still be starting")
		return
	}
	defer server.Close()
	// noded, which passes this on, has checked the origin; here it would be that of another host name.
	ws, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: []string{vncProtocol}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != vncProtocol {
		_ = ws.Close(websocket.StatusPolicyViolation, "the subprotocol must be binary")
		return
	}
	ws.SetReadLimit(maxVNCMessage)
	w.screens[0].viewers.countVNC(1)
	defer w.screens[0].viewers.countVNC(-1)
	err = carry(r.Context(), ws, server)
	w.log.Info("VNC viewer gone", "why", err)
	_ = ws.Close(websocket.StatusNormalClosure, "")
}

// carry copies both ways until either side ends, and waits for both copies.
func carry(ctx context.Context, ws *websocket.Conn, server net.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	down := make(chan struct{})
	go func() {
		defer close(down)
		cancel(toBrowser(ctx, ws, server))
	}()
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	cancel(toServer(ctx, ws, server))
	<-down
	return context.Cause(ctx)
}

func toBrowser(ctx context.Context, ws *websocket.Conn, server io.Reader) error {
	buf := make([]byte, vncBuffer)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			write, cancel := context.WithTimeout(ctx, vncWrite)
			werr := ws.Write(write, websocket.MessageBinary, buf[:n])
			cancel()
			err = errors.Join(err, werr)
		}
		if err != nil {
			return err
		}
	}
}

func toServer(ctx context.Context, ws *websocket.Conn, server net.Conn) error {
	for {
		kind, b, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary {
			return errors.New("the browser sent text")
		}
		if err := server.SetWriteDeadline(time.Now().Add(vncWrite)); err != nil {
			return err
		}
		if _, err := server.Write(b); err != nil {
			return err
		}
	}
}
