package stream

import (
	"image"
	"sync"

	"easel/noded/stream/contract"
	"easel/pkg/display"
)

// viewers keeps who is watching: at most one peer by WebRTC, any number by VNC, and what a new one must be told. It is safe for
// several goroutines.
type viewers struct {
	number int // of the screen
	board  *board
	all    *audience
	wake   chan struct{} // the painter's: something about the peer changed

	mu     sync.Mutex
	peer   *peer
	vnc    int
	cursor *display.Cursor
	size   contract.Size
	info   CodecInfo
	notice contract.Notice
}

func newViewers(number int, all *audience) *viewers {
	return &viewers{number: number, board: all.board, all: all, wake: make(chan struct{}, 1)}
}

// poke has the painter look again.
func (v *viewers) poke() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// current is the peer that the picture goes to, or nil.
func (v *viewers) current() *peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.peer
}

// replace makes p the peer, ends the one before it and returns that.
func (v *viewers) replace(p *peer) *peer {
	v.mu.Lock()
	old := v.peer
	v.peer = p
	v.mu.Unlock()
	if old != nil {
		old.end(byeMessage{T: "replaced"})
	}
	v.tell()
	return old
}

// setInfo notes what encodes the picture, and the screen's size.
func (v *viewers) setInfo(info CodecInfo, size image.Point) {
	v.mu.Lock()
	v.info = info
	v.mu.Unlock()
	v.setSize(contract.Size{Width: size.X, Height: size.Y})
}

// remove forgets p if it is still the peer.
func (v *viewers) remove(p *peer) {
	v.mu.Lock()
	if v.peer == p {
		v.peer = nil
	}
	v.mu.Unlock()
	v.tell()
}

// countVNC notes that a VNC viewer came (1) or went (-1).
func (v *viewers) countVNC(n int) {
	v.mu.Lock()
	v.vnc += n
	v.mu.Unlock()
	v.tell()
}

// tell brings the board and the painter up to date.
func (v *viewers) tell() {
	v.mu.Lock()
	peer, n, path := v.peer, v.vnc, contract.PathNone
	if n > 0 {
		path = contract.PathVNC
	}
	v.mu.Unlock()
	if peer != nil {
		if p := peer.path(); p != contract.PathNone {
			path = p
			n++
		}
	}
	v.all.set(v.number, n, path)
	v.poke()
}

// setCursor tells the peer what the pointer looks like, and later ones.
func (v *viewers) setCursor(c display.Cursor) {
	v.mu.Lock()
	v.cursor = &c
	p := v.peer
	v.mu.Unlock()
	if p != nil {
		p.sendCursor(c)
	}
}

// setNotice tells the peer what the node has to say, and later ones.
func (v *viewers) setNotice(n contract.Notice) {
	v.mu.Lock()
	same := v.notice == n
	v.notice = n
	p := v.peer
	v.mu.Unlock()
	if p != nil && !same {
		p.sendControl(noticeOf(n))
	}
}

// setSize tells the peer how large the screen is, and later ones.
func (v *viewers) setSize(s contract.Size) {
	v.mu.Lock()
	v.size = s
	p := v.peer
	v.mu.Unlock()
	if p != nil && s.Width > 0 {
		p.sendControl(screenMessage{"screen", s.Width, s.Height})
	}
}

// greet tells a peer whose control channel has just opened what it needs to know.
func (v *viewers) greet(p *peer) {
	v.mu.Lock()
	c, s, n := v.cursor, v.size, v.notice
	v.mu.Unlock()
	if s.Width > 0 {
		p.sendControl(screenMessage{"screen", s.Width, s.Height})
	}
	if c != nil {
		p.sendCursor(*c)
	}
	h, _ := v.board.get()
	p.sendControl(gimpMessage{"gimp", h.GIMP.State, h.GIMP.Restarts})
	if n.Text != "" {
		p.sendControl(noticeOf(n))
	}
}
