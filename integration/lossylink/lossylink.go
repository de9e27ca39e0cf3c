// Package lossylink is a link that is slow, delays and loses packets, drawn from a seed, and may go dark: for tests of what must hold on a bad
// network, and for measurements. UDP goes through it as it comes, HTTP by a stream of its own.
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
	// headerBytes is what UDP and IP add to a packet.
	headerBytes = 28
	// bufferBytes is for what comes while this machine is busy: it is not to be lost.
	bufferBytes = 4 << 20
)

// Link forwards what comes to its address to the far end, and what that answers back. It is safe for several goroutines.
type Link struct {
	near    *net.UDPConn
	far     atomic.Pointer[net.UDPAddr]
	delay   atomic.Int64  // one way
	loss    atomic.Uint64 // of 2^32
	kbps    atomic.Int64  // each way; 0: no limit
	queue   atomic.Int64  // the longest time that a packet waits for its turn
	dark    atomic.Bool
	lost    atomic.Uint64
	passed  atomic.Uint64
	bytes   atomic.Uint64
	running sync.WaitGroup
	seed    uint64
	there   lane // to the far end
	back    lane

	mu      sync.Mutex
	closed  bool
	clients map[string]*net.UDPConn
	streams []*Stream
}

// lane is one direction of the link: what goes through it waits in one queue, whoever sends it.
type lane struct {
	mu   sync.Mutex
	free time.Time // when the last packet has had its turn
}

// Open makes a link on loopback, on which each packet takes delay one way. It leads nowhere until it is aimed, and loses nothing yet.
func Open(delay time.Duration, seed uint64) (*Link, error) {
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("listen for a lossy link: %w", err)
	}
	_ = near.SetReadBuffer(bufferBytes) // the kernel grants what its limits allow
	l := &Link{near: near, seed: seed, clients: make(map[string]*net.UDPConn)}
	l.Delay(delay)
	l.running.Go(l.serve)
	return l, nil
}

// Aim has the link lead to a UDP port of this machine.
func (l *Link) Aim(port int) { l.far.Store(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}) }

// Port is where the near end is, on 127.0.0.1.
func (l *Link) Port() int { return l.near.LocalAddr().(*net.UDPAddr).Port }

// Lose has the link lose so much of what it carries each way from now on, 0 to 1.
func (l *Link) Lose(share float64) { l.loss.Store(uint64(share * (1 << 32))) }

// Delay has each packet take so long one way from now on, beside its turn in the queue.
func (l *Link) Delay(one time.Duration) { l.delay.Store(int64(one)) }

// Narrow has the link carry no more than so many kilobits a second each way, with a queue in front that is as long as said; 0 kbps: all there is.
func (l *Link) Narrow(kbps int, queue time.Duration) {
	l.queue.Store(int64(queue))
	l.kbps.Store(int64(kbps))
}

// Dark has nothing pass any more, or again.
func (l *Link) Dark(on bool) { l.dark.Store(on) }

// Bytes is how many came through both ways, with what UDP and IP add.
func (l *Link) Bytes() uint64 { return l.bytes.Load() }

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
	for _, s := range l.streams {
		s.close()
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
	there := l.way(&l.there, 2*n, func(b []byte) { _, _ = conn.Write(b) })
	back := l.way(&l.back, 2*n+1, func(b []byte) { _, _ = l.near.WriteToUDP(b, from) })
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
	lane  *lane
	draw  *rand.Rand
	queue chan packet
}

type packet struct {
	due time.Time
	b   []byte
}

func (l *Link) way(of *lane, stream uint64, send func([]byte)) *way {
	w := &way{link: l, lane: of, draw: rand.New(rand.NewPCG(l.seed, stream)), queue: make(chan packet, maxOnWay)}
	l.running.Go(func() {
		for p := range w.queue {
			time.Sleep(time.Until(p.due))
			send(p.b)
			l.passed.Add(1)
			l.bytes.Add(uint64(len(p.b) + headerBytes))
		}
	})
	return w
}

func (w *way) put(b []byte) {
	due, ok := w.turn(len(b)+headerBytes, time.Now())
	if ok {
		select {
		case w.queue <- packet{due, append([]byte(nil), b...)}:
			return
		default:
		}
	}
	w.link.lost.Add(1)
}

// turn is when a packet arrives; ok is false for one that does not.
func (w *way) turn(size int, now time.Time) (due time.Time, ok bool) {
	l := w.link
	if l.dark.Load() || uint64(w.draw.Uint32()) < l.loss.Load() {
		return due, false
	}
	w.lane.mu.Lock()
	defer w.lane.mu.Unlock()
	if w.lane.free.Before(now) {
		w.lane.free = now
	}
	if kbps := l.kbps.Load(); kbps > 0 {
		if w.lane.free.Sub(now) > time.Duration(l.queue.Load()) {
			return due, false
		}
		w.lane.free = w.lane.free.Add(time.Duration(size) * 8 * time.Millisecond / time.Duration(kbps))
	}
	return w.lane.free.Add(time.Duration(l.delay.Load())), true
}

// Script has the streams of a page come through a link: it runs in the page before the page's own scripts. The link's port can be changed by
// window.linkPort, as when the machine gets another network; window.offers counts new connections.
func (l *Link) Script() string {
	return fmt.Sprintf(`{
  window.linkPort = %d;
  window.offers = 0;
  const real = window.fetch;
  window.fetch = async (...args) => {
    const r = await real(...args);
    const path = new URL(r.url || location.href).pathname;
    if (!/\/whep(\/\w+)?$/.test(path) || !r.ok || args[1]?.method !== 'POST') return r;
    if (path.endsWith('/whep')) window.offers++;
    // No way but the link's.
    const here = (await r.text()).split('\r\n').filter((line) => !line.startsWith('a=candidate') || line.includes(' 127.0.0.1 '));
    const answer = here.join('\r\n').replace(/( 127\.0\.0\.1 )\d+( typ host)/g, (_, a, b) => a + window.linkPort + b);
    const wrapped = new Response(answer, {status: r.status, headers: r.headers});
    Object.defineProperty(wrapped, 'url', {value: r.url});
    return wrapped;
  };
}`, l.Port())
}
