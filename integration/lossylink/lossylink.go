// Package lossylink is a UDP link that delays and loses packets, drawn from a seed: for tests of what must hold on a bad network.
package lossylink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds: packets under way in one direction, and addresses that talk through one link.
const (
	maxOnWay   = 8192
	maxClients = 64
	maxPacket  = 2048
	// bufferBytes is for what comes while this machine is busy: it is not to be lost.
	bufferBytes = 4 << 20
)

// Link forwards what comes to its address to the far end, and what that answers back. It is safe for several goroutines.
type Link struct {
	near    *net.UDPConn
	far     atomic.Pointer[net.UDPAddr]
	delay   time.Duration
	loss    atomic.Uint64 // of 2^32
	lost    atomic.Uint64
	passed  atomic.Uint64
	running sync.WaitGroup
	seed    uint64

	mu      sync.Mutex
	closed  bool
	clients map[string]*net.UDPConn
}

// Open makes a link on loopback, on which each packet takes delay one way. It leads nowhere until it is aimed, and loses nothing yet.
func Open(delay time.Duration, seed uint64) (*Link, error) {
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("listen for a lossy link: %w", err)
	}
	_ = near.SetReadBuffer(bufferBytes) // the kernel grants what its limits allow
	l := &Link{near: near, delay: delay, seed: seed, clients: make(map[string]*net.UDPConn)}
	l.running.Go(l.serve)
	return l, nil
}

// Aim has the link lead to a UDP port of this machine.
func (l *Link) Aim(port int) { l.far.Store(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}) }

// Port is where the near end is, on 127.0.0.1.
func (l *Link) Port() int { return l.near.LocalAddr().(*net.UDPAddr).Port }

// Lose has the link lose so much of what it carries each way from now on, 0 to 1.
func (l *Link) Lose(share float64) { l.loss.Store(uint64(share * (1 << 32))) }

// Counts says how many packets were lost and how many came through.
func (l *Link) Counts() (lost, passed uint64) { return l.lost.Load(), l.passed.Load() }

// Close ends the link; nothing of it is left when it returns.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	_ = l.near.Close()
	for _, c := range l.clients {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// serve takes what comes from the near end, each client by a socket of its own.
func (l *Link) serve() {
	ways := make(map[string]*way)
	defer func() {
		for _, w := range ways {
			close(w.queue)
		}
	}()
	buf := make([]byte, maxPacket)
	for {
		n, from, err := l.near.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		w := ways[from.String()]
		if w == nil {
			if w = l.client(from, uint64(len(ways))); w == nil {
				continue
			}
			ways[from.String()] = w
		}
		w.put(buf[:n])
	}
}

// client begins with a new address at the near end; nil if there are too many or the link is closing.
func (l *Link) client(from *net.UDPAddr, n uint64) *way {
	l.mu.Lock()
	defer l.mu.Unlock()
	far := l.far.Load()
	if l.closed || far == nil || len(l.clients) == maxClients {
		return nil
	}
	conn, err := net.DialUDP("udp4", nil, far)
	if err != nil {
		return nil
	}
	_ = conn.SetReadBuffer(bufferBytes)
	l.clients[from.String()] = conn
	there := l.way(2*n, func(b []byte) { _, _ = conn.Write(b) })
	back := l.way(2*n+1, func(b []byte) { _, _ = l.near.WriteToUDP(b, from) })
	l.running.Go(func() {
		defer close(back.queue)
		buf := make([]byte, maxPacket)
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil { // else nobody listens there at the moment
				back.put(buf[:n])
			}
		}
	})
	return there
}

// way is one direction of one client.
type way struct {
	link  *Link
	draw  *rand.Rand
	queue chan packet
}

type packet struct {
	due time.Time
	b   []byte
}

func (l *Link) way(stream uint64, send func([]byte)) *way {
	w := &way{link: l, draw: rand.New(rand.NewPCG(l.seed, stream)), queue: make(chan packet, maxOnWay)}
	l.running.Go(func() {
		for p := range w.queue {
			time.Sleep(time.Until(p.due))
			send(p.b)
			l.passed.Add(1)
		}
	})
	return w
}

func (w *way) put(b []byte) {
	if uint64(w.draw.Uint32()) < w.link.loss.Load() {
		w.link.lost.Add(1)
		return
	}
	select {
	case w.queue <- packet{time.Now().Add(w.link.delay), append([]byte(nil), b...)}:
	default:
		w.link.lost.Add(1)
	}
}
