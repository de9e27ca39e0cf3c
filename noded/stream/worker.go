// Package stream is the work of one session's streamer: the screen's picture to one viewer, the viewer's hand back, and
// everything else that crosses the session's edge (easel-init's reports, VNC), each parsed here and nowhere else.
package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"easel/noded/stream/clipboard"
	"easel/noded/stream/congestion"
	"easel/noded/stream/contract"
	"easel/noded/stream/input"
	"easel/noded/stream/sound"
	"easel/pkg/display"
	"easel/pkg/safesocket"

	"golang.org/x/sync/errgroup"
)

const (
	// displayRetry is the shortest and displayRetryMax the longest wait between attempts to reach an X server that is reported to run.
	displayRetry    = 100 * time.Millisecond
	displayRetryMax = 3 * time.Second
	// resizeRate and cursorRate bound how often a viewer may resize and the session change its cursor.
	resizeRate = 40 * time.Millisecond
	cursorRate = 10 * time.Millisecond
	seqPacket  = safesocket.SeqPacket
	byteStream = safesocket.Stream
	// noSound is what the session's status says while there is none that should be.
	noSound = "there is no sound"
)

// Worker is one session's streamer. Run runs it.
type Worker struct {
	cfg       contract.Config
	log       *slog.Logger
	transport *transport
	board     *board
	screens   [maxScreens]*screen
	pen       *input.Driver
	clipboard *clipboard.Clipboard
	sound     *sound.Sound
	files     atomic.Pointer[string] // which way they may cross, as far as the pages were told
	company   *company
	room      Room
	vnc       chan struct{} // places of who watches by VNC
	clock     clock
	latency   *latency
	peers     sync.WaitGroup

	xRuns     atomic.Bool
	xWake     chan struct{}
	arranging chan struct{}
	typing    atomic.Pointer[display.Keyboard]
}

// Run works until ctx ends, by one encoding; without a codec for sound there is none. An error means that the process should end and be started anew.
func Run(ctx context.Context, cfg contract.Config, e Encoding, opus sound.Codec, log *slog.Logger) error {
	t, err := newTransport(cfg.UDPAddrs, cfg.UDPPort, log)
	if err != nil {
		return err
	}
	defer t.close()
	log.Info("listening for media", "addresses", cfg.UDPAddrs, "port", t.port())
	b := newBoard()
	w := &Worker{cfg: cfg, log: log, transport: t, board: b, room: e.Room, clock: clock{time.Now()}, latency: newLatency(), vnc: make(chan struct{}, maxVNC), xWake: make(chan struct{}, 1), arranging: make(chan struct{}, 1)}
	w.files.Store(&cfg.Policy.Files)
	w.clipboard = clipboard.New(cfg.Policy, w.crossed, log)
	w.sound = sound.New(opus, cfg.Policy, func() (io.ReadCloser, error) { return sound.OpenPipe(cfg.EdgeDir, "audio.pipe", cfg.EdgeUID) }, func(is bool) { b.degrade(noSound, is) }, log)
	w.pen = input.NewDriver(w.dialEdge("pen.sock", seqPacket), log)
	defer w.pen.Close()
	for _, f := range cfg.Failed {
		if f.Kind == contract.X264 { // a card's is told when the processor stands in for it
			b.degrade("codec: no "+f.Format+": it failed this node's proof: "+f.Why, true)
		}
	}
	w.company = newCompany(w.everybody, b, log)
	all := newAudience(b, func() {
		poke(w.arranging)
		poke(w.company.wake)
	})
	for i := range w.screens {
		w.screens[i] = newScreen(i+1, e.Codecs, all, cfg.Policy.Guests, log)
		w.screens[i].meter.latency = w.latency
	}
	if cfg.Initial.Valid() {
		w.screens[0].want.Store(&cfg.Initial)
	}
	defer w.peers.Wait()
	group, ctx := errgroup.WithContext(ctx)
	l := &listener{dial: w.dialEdge("init.sock", byteStream), take: w.take, log: log}
	group.Go(func() error { l.run(ctx); return nil })
	group.Go(func() error { w.company.run(ctx); return nil })
	group.Go(func() error { w.sound.Run(ctx); return nil })
	group.Go(func() error { return w.displays(ctx) })
	group.Go(func() error { return w.serve(ctx) })
	return group.Wait()
}

// everybody is the peers of all screens.
func (w *Worker) everybody() []*peer {
	var all []*peer
	for _, s := range w.screens {
		all = append(all, s.viewers.all()...)
	}
	return all
}

// dialer connects to one of the sockets that the container opens.
type dialer func(ctx context.Context) (net.Conn, error)

// dialEdge connects to one of the container's sockets.
func (w *Worker) dialEdge(name, network string) dialer {
	return func(ctx context.Context) (net.Conn, error) { return w.dial(ctx, network, w.cfg.EdgeDir, name) }
}

// dial connects to a socket that the container made, by a way that it can't bend, and only if the session's own user listens there.
func (w *Worker) dial(ctx context.Context, network, dir, name string) (net.Conn, error) {
	c, err := safesocket.Dial(ctx, network, dir, name)
	if err != nil {
		return nil, err
	}
	if w.cfg.EdgeUID == 0 {
		return c, nil
	}
	uid, err := safesocket.PeerUID(c)
	if err == nil && uid != w.cfg.EdgeUID {
		err = fmt.Errorf("user %d listens there, want the session's, %d", uid, w.cfg.EdgeUID)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connecting to %s: %w", filepath.Join(dir, name), err)
	}
	return c, nil
}

// take takes up a report of easel-init's.
func (w *Worker) take(r report) {
	x := r.Services[serviceX]
	if running := x.State == contract.Running; w.xRuns.Swap(running) != running {
		poke(w.xWake)
	}
	before, _ := w.board.get()
	w.board.update(func(h *contract.Health) {
		h.Ready, h.GIMP, h.Services, h.XPID, h.OpenCL = r.Ready, r.GIMP, r.Services, x.PID, r.OpenCL
	})
	if r.OpenCL != before.OpenCL {
		w.log.Info("GIMP's OpenCL", "state", r.OpenCL.State, "device", r.OpenCL.Device, "why", r.OpenCL.Why)
	}
	if r.GIMP.State != before.GIMP.State || r.GIMP.Restarts != before.GIMP.Restarts {
		for _, s := range w.screens {
			s.viewers.sendAll(gimpMessage{"gimp", r.GIMP.State, r.GIMP.Restarts})
		}
	}
}

// displays works with one X server after the other, as they come and go.
func (w *Worker) displays(ctx context.Context) error {
	wait := displayRetry
	for {
		for !w.xRuns.Load() {
			select {
			case <-ctx.Done():
				return nil
			case <-w.xWake:
			}
		}
		began := time.Now()
		err := w.display(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, display.ErrUnresponsive) {
			return err // what waits for it can't be ended otherwise
		}
		w.board.update(func(h *contract.Health) { h.Error = err.Error() })
		w.log.Warn("display lost", "err", err, "after", time.Since(began).Round(time.Millisecond))
		if time.Since(began) > displayRetryMax {
			wait = displayRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(wait*2, displayRetryMax)
	}
}

// display works with one X server until it ends.
func (w *Worker) display(ctx context.Context) error {
	d, err := display.Open(ctx, display.Config{Dial: w.dialX, Cookie: w.cfg.Cookie(), Log: w.log})
	if err != nil {
		return err
	}
	defer d.Close()
	keys, err := d.NewKeyboard()
	if err != nil {
		return err
	}
	if _, err := w.arrangeOnce(d, time.Now()); err != nil {
		return err
	}
	w.typing.Store(keys)
	defer w.typing.Store(nil)
	w.board.update(func(h *contract.Health) { h.Error = "" })
	w.log.Info("display open", "size", d.Output(1).Size())
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range w.screens {
		out := d.Output(i + 1)
		s.output.Store(out)
		s.viewers.setSize(out.Size(), congestion.Whole)
		painter := &painter{d: out, viewers: s.viewers, encoders: s.encoders, meter: s.meter, chooser: newChooser(w.room), log: w.log, epoch: w.clock.epoch}
		group.Go(func() error { return painter.run(ctx) })
	}
	group.Go(func() error { return w.arrange(ctx, d) })
	group.Go(func() error { return w.cursors(ctx, d) })
	group.Go(func() error { return w.clipboards(ctx, d) })
	return group.Wait()
}

func (w *Worker) dialX(ctx context.Context) (net.Conn, error) {
	return w.dial(ctx, byteStream, filepath.Dir(w.cfg.XSocket), filepath.Base(w.cfg.XSocket))
}

// keyboard is the present display's keyboard, or nil.
func (w *Worker) keyboard() input.Keyboard {
	if k := w.typing.Load(); k != nil {
		return k
	}
	return nil
}

func (w *Worker) cursors(ctx context.Context, d *display.Display) error {
	for {
		c, err := d.Cursor()
		switch {
		case errors.Is(err, display.ErrUnresponsive), errors.Is(err, display.ErrClosed):
			return err
		case err != nil:
			w.log.Debug("cursor not read", "err", err)
		default:
			for _, s := range w.screens {
				s.viewers.setCursor(c)
			}
		}
		if !pause(ctx, cursorRate) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.CursorChanged():
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits d; false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
