package stream

import (
	"errors"
	"image"
	"slices"
	"sync"
	"sync/atomic"

	"easel/noded/stream/congestion"
	"easel/noded/stream/contract"
	"easel/pkg/display"
)

// errFull means that as many guests watch as may.
var errFull = errors.New("as many guests watch as may")

// viewers keeps who is watching: by WebRTC one peer of each person, of whom the owner leads and the others are guests, any number by VNC, and what a
// new one must be told. It is safe for several goroutines.
type viewers struct {
	number int // of the screen
	board  *board
	shown  *audience
	most   int           // guests
	wake   chan struct{} // the painter's: something about the peers changed

	// followers are those of the guests that are connected.
	followers atomic.Pointer[[]*follower]

	telling sync.Mutex // so that the last to look has the last word

	mu     sync.Mutex
	peers  []*peer // in the order in which they came
	vnc    int
	cursor *display.Cursor
	size   image.Point // of the screen
	scale  congestion.Scale
	info   CodecInfo
	notice contract.Notice
}

func newViewers(number int, shown *audience, most int) *viewers {
	return &viewers{number: number, board: shown.board, shown: shown, most: most, wake: make(chan struct{}, 1)}
}

// poke has the painter look again.
func (v *viewers) poke() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// current is the peer that the picture is made for, or nil: the owner's, or the first guest's while the owner is away.
func (v *viewers) current() *peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lead()
}

// lead needs mu.
func (v *viewers) lead() *peer {
	var first *peer
	for _, p := range v.peers {
		switch {
		case !p.connected.Load():
		case !p.who.Guest():
			return p
		case first == nil:
			first = p
		}
	}
	return first
}

// all is every peer, connected or not yet.
func (v *viewers) all() []*peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.peers)
}

// find returns the peer with the id, or nil.
func (v *viewers) find(id string) *peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range v.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// join lets p in, or says why not: errFull, errNoFormat. The same person's peer before it is ended and returned.
func (v *viewers) join(p *peer) (*peer, error) {
	v.mu.Lock()
	i, guests := -1, 0
	for j, q := range v.peers {
		if q.who.ID == p.who.ID {
			i = j
		} else if q.who.Guest() {
			guests++
		}
	}
	if p.who.Guest() && guests >= v.most {
		v.mu.Unlock()
		return nil, errFull
	}
	over := v.disagree(p)
	if p.who.Guest() && len(over) > 0 {
		v.mu.Unlock()
		return nil, errNoFormat
	}
	var old *peer
	if i < 0 {
		v.peers = append(v.peers, p)
	} else {
		old, v.peers[i] = v.peers[i], p
	}
	v.mu.Unlock()
	if old != nil {
		old.end(byeMessage{T: "replaced"})
	}
	for _, q := range over {
		q.end(byeMessage{T: "bye", Reason: "the owner's browser takes no video format that this one takes: try another browser"})
	}
	v.tell()
	return old, nil
}

// disagree is who of the others would be shown nothing beside p, because no format is left that all take. It needs mu.
func (v *viewers) disagree(p *peer) (over []*peer) {
	all := p.takes
	for _, q := range v.peers {
		if q.who.ID == p.who.ID || q.ctx.Err() != nil {
			continue
		}
		if both := all.and(q.takes); len(both) > 0 {
			all = both
		} else {
			over = append(over, q)
		}
	}
	return over
}

// setMost changes how many guests may watch. Those who came last leave if there are more.
func (v *viewers) setMost(n int) {
	v.mu.Lock()
	v.most = n
	var over []*peer
	for _, p := range v.peers {
		if !p.who.Guest() {
			continue
		}
		if n--; n < 0 {
			over = append(over, p)
		}
	}
	v.mu.Unlock()
	for _, p := range over {
		p.end(byeMessage{T: "bye", Reason: "fewer guests may watch now"})
	}
}

// setInfo notes what encodes the picture, the screen's size, and how much smaller the video is.
func (v *viewers) setInfo(info CodecInfo, size image.Point, by congestion.Scale) {
	v.mu.Lock()
	v.info = info
	v.mu.Unlock()
	v.setSize(size, by)
}

// remove forgets p if it is still among the peers.
func (v *viewers) remove(p *peer) {
	v.mu.Lock()
	v.peers = slices.DeleteFunc(v.peers, func(q *peer) bool { return q == p })
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
	v.telling.Lock()
	defer v.telling.Unlock()
	v.mu.Lock()
	lead, h := v.lead(), heads{all: v.vnc, path: contract.PathNone}
	var followers []*follower
	for _, p := range v.peers {
		if p.connected.Load() {
			h.count(p.who.Role, p.tilesLost.Load())
			if p.who.Guest() {
				followers = append(followers, p.follower)
			}
		}
	}
	if v.vnc > 0 {
		h.path = contract.PathVNC
	}
	v.mu.Unlock()
	v.followers.Store(&followers)
	if lead != nil {
		if p := lead.path(); p != contract.PathNone && (h.path == contract.PathNone || !lead.who.Guest()) {
			h.path = p
		}
	}
	v.shown.set(v.number, h)
	v.poke()
}

// watchedBy is the guests that are connected.
func (v *viewers) watchedBy() []*follower {
	if f := v.followers.Load(); f != nil {
		return *f
	}
	return nil
}

// sendAll sends every peer a control message.
func (v *viewers) sendAll(m any) {
	for _, p := range v.all() {
		p.sendControl(m)
	}
}

// setCursor tells the peers what the pointer looks like, and later ones.
func (v *viewers) setCursor(c display.Cursor) {
	v.mu.Lock()
	v.cursor = &c
	v.mu.Unlock()
	for _, p := range v.all() {
		p.sendCursor(c)
	}
}

// setNotice tells the peers what the node has to say, and later ones.
func (v *viewers) setNotice(n contract.Notice) {
	v.mu.Lock()
	same := v.notice == n
	v.notice = n
	v.mu.Unlock()
	if !same {
		v.sendAll(noticeOf(n))
	}
}

// setSize tells the peers how large the screen is and its video, and later ones.
func (v *viewers) setSize(size image.Point, by congestion.Scale) {
	v.mu.Lock()
	v.size, v.scale = size, by
	v.mu.Unlock()
	if size.X > 0 {
		v.sendAll(screenOf(size, by))
	}
}

// greet tells a peer whose control channel has just opened what it needs to know.
func (v *viewers) greet(p *peer) {
	v.mu.Lock()
	c, size, by, n := v.cursor, v.size, v.scale, v.notice
	v.mu.Unlock()
	if size.X > 0 {
		p.sendControl(screenOf(size, by))
	}
	if c != nil {
		p.sendCursor(*c)
	}
	h, _ := v.board.get()
	p.sendControl(gimpMessage{"gimp", h.GIMP.State, h.GIMP.Restarts})
	if n.Text != "" {
		p.sendControl(noticeOf(n))
	}
	p.sendControl(audioMessage{"audio", p.sound != nil && p.worker.sound.May()})
}
