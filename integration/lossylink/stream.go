package lossylink

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// How a stream shares the link with what else goes through it: as TCP does, by a window that grows until something is lost (RFC 5681, with CUBIC's
// gentler cut).
const (
	segment      = 1448
	segmentExtra = 52 // what TCP and IP add
	firstWindow  = 10 // segments
	leastWindow  = 2
	mostWindow   = 4096
	cutWindow    = 0.7
	streamBuffer = 64 << 10
	dialTime     = 5 * time.Second
)

// Stream is a TCP address on loopback whose connections lead through the link to another address.
type Stream struct {
	link    *Link
	near    net.Listener
	far     string
	bytes   atomic.Uint64
	mu      sync.Mutex
	closed  bool
	conns   []net.Conn
	running sync.WaitGroup
}

// Stream has connections to the address that it gives lead through the link to the far one. It ends with the link.
func (l *Link) Stream(far string) (*Stream, error) {
	near, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a stream by a lossy link: %w", err)
	}
	s := &Stream{link: l, near: near, far: far}
	l.mu.Lock()
	l.streams = append(l.streams, s)
	l.mu.Unlock()
	s.running.Go(s.serve)
	return s, nil
}

// Addr is where the near end is.
func (s *Stream) Addr() string { return s.near.Addr().String() }

// Bytes is how many came through both ways.
func (s *Stream) Bytes() uint64 { return s.bytes.Load() }

// Cut breaks off the connections that there are, as a line does whose ends have given it up. Who connects anew is let through.
func (s *Stream) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // by a reset: an orderly end might be taken for the end of what was sent
		_ = c.Close()
	}
	s.conns = nil
}

func (s *Stream) close() {
	s.mu.Lock()
	s.closed = true
	_ = s.near.Close()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *Stream) serve() {
	for n := uint64(0); ; n++ {
		near, err := s.near.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", s.far, dialTime)
		if err != nil {
			_ = near.Close()
			continue
		}
		if !s.keep(near, far) {
			return
		}
		s.running.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { s.pass(&s.link.there, far, near, 2*n) })
			both.Go(func() { s.pass(&s.link.back, near, far, 2*n+1) })
			both.Wait()
			_ = near.Close()
			_ = far.Close()
		})
	}
}

// keep notes connections, which end with the stream; false if it has ended.
func (s *Stream) keep(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		t := c.(*net.TCPConn)
		_, _ = t.SetReadBuffer(streamBuffer), t.SetWriteBuffer(streamBuffer) // little may hide outside the link
		if s.closed {
			_ = c.Close()
		}
	}
	s.conns = append(s.conns, conns...)
	return !s.closed
}

// pass brings one direction's bytes to the other end, segment by segment, each in its turn.
func (s *Stream) pass(of *lane, to, from net.Conn, dice uint64) {
	w := &way{link: s.link, lane: of, draw: rand.New(rand.NewPCG(s.link.seed, 1<<32|dice))}
	f := &flight{window: firstWindow}
	f.room = sync.NewCond(&f.mu)
	onWay := make(chan packet, mostWindow)
	var writing sync.WaitGroup
	writing.Go(func() {
		for p := range onWay {
			time.Sleep(time.Until(p.due))
			_, err := to.Write(p.b)
			s.bytes.Add(uint64(len(p.b)))
			if err != nil {
				_ = from.Close() // whoever sends learns of it
			}
			time.AfterFunc(time.Duration(s.link.delay.Load()), f.acked)
		}
		_ = to.(*net.TCPConn).CloseWrite()
	})
	buf := make([]byte, segment)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		f.take()
		due, ok := w.turn(n+segmentExtra, time.Now())
		for !ok && !s.ended() {
			f.cut()
			time.Sleep(2*time.Duration(s.link.delay.Load()) + 10*time.Millisecond) // a round trip later it is sent again
			due, ok = w.turn(n+segmentExtra, time.Now())
		}
		onWay <- packet{due, append([]byte(nil), buf[:n]...)}
	}
	close(onWay)
	writing.Wait()
}

func (s *Stream) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// flight is the window of one direction.
type flight struct {
	mu     sync.Mutex
	room   *sync.Cond
	window float64 // segments
	slow   float64 // from which window on it grows slowly; 0: not known yet
	out    int
}

// take waits until another segment may go.
func (f *flight) take() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for float64(f.out) >= f.window {
		f.room.Wait()
	}
	f.out++
}

func (f *flight) acked() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out--
	by := 1.0
	if f.slow > 0 && f.window >= f.slow {
		by = 1 / f.window
	}
	f.window = min(f.window+by, mostWindow)
	f.room.Signal()
}

func (f *flight) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.window = max(f.window*cutWindow, leastWindow)
	f.slow = f.window
}
