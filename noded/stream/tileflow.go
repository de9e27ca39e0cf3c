package stream

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
)

// Bounds of what is on its way to a viewer on the tiles channel.
const (
	maxTileMessages = 192 // unconfirmed
	// maxTileGens is how many generations may be unconfirmed: a frame's timestamp tells them apart up to half of genMask.
	maxTileGens     = 24
	minTileWindow   = 8 << 10
	startTileWindow = 32 << 10
	maxTileWindow   = 2 << 20
	changeShare     = 16 << 10
	// tileQueue is how much later than at best a confirmation may come before less is sent at once.
	tileQueue = 25 * time.Millisecond
	// tileRescue is how long a change may be unconfirmed before the video shows it too.
	tileRescue = 250 * time.Millisecond
	tileLeast  = 10 * time.Second // how long the best time of a confirmation counts
)

// errAck is a confirmation of what was not sent, or was confirmed before.
var errAck = errors.New("a report on tiles confirms what was not sent")

// tileFlow is the tiles channel of one peer: what is on its way, how fast it gets there, and what the viewer says of it. What is sent is the
// painter's alone; the rest is safe for several goroutines.
type tileFlow struct {
	rate    *outgoing
	channel atomic.Pointer[webrtc.DataChannel]

	// The painter's: numbers of the last message and generation.
	n, gen uint32

	mu       sync.Mutex
	waiting  [maxTileMessages]tileOnWay // from n confirmed+1 on, by number
	acked    uint32
	ackedGen uint32
	bytes    int // on their way
	window   float64
	least    time.Duration
	leastAt  time.Time
	report   tileReport
	reports  bool
}

// tileOnWay is a message that has not been confirmed.
type tileOnWay struct {
	at     time.Time
	bytes  int
	gen    uint32
	change bool // of the picture: late ones are rescued
}

func newTileFlow(r *outgoing) *tileFlow { return &tileFlow{rate: r, window: startTileWindow} }

// open tells whether the viewer takes tiles.
func (f *tileFlow) open() bool {
	c := f.channel.Load()
	return c != nil && c.ReadyState() == webrtc.DataChannelStateOpen
}

// stop takes the channel from the viewer, which shows the video alone then.
func (f *tileFlow) stop() {
	f.gen++ // what is on show above the video does not fit the next frame
	if c := f.channel.Swap(nil); c != nil {
		_ = c.Close()
	}
}

// room is how many bytes may go now; 0 while the viewer has to confirm something first. What was still leaves a share for changes.
func (f *tileFlow) room(change bool) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	room := int(f.window) - f.bytes
	switch {
	case f.n-f.acked >= maxTileMessages-8 || f.gen-f.ackedGen >= maxTileGens:
		return 0
	case change:
		return room + changeShare
	}
	return max(room, 0)
}

// full tells whether the viewer is so far behind that nothing may be on show above the video.
func (f *tileFlow) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n-f.acked >= maxTileMessages-4 || f.gen-f.ackedGen >= maxTileGens+2
}

// send sends the message of number n and generation gen. Whoever sends what can wait looks for room first.
func (f *tileFlow) send(b []byte, change bool, now time.Time) error {
	c := f.channel.Load()
	if c == nil {
		return errors.New("send tiles: the viewer takes none")
	}
	f.mu.Lock()
	if f.n-f.acked > maxTileMessages {
		f.mu.Unlock()
		return fmt.Errorf("send tiles: the viewer has not confirmed %d messages", maxTileMessages)
	}
	f.waiting[f.n%maxTileMessages] = tileOnWay{now, len(b), f.gen, change}
	f.bytes += len(b)
	f.mu.Unlock()
	if err := c.Send(b); err != nil {
		return fmt.Errorf("send tiles: %w", err)
	}
	return nil
}

// overdue is when the first change that was sent after the given time will be unconfirmed for too long: zero for never.
func (f *tileFlow) overdue(after time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := f.acked + 1; n != f.n+1; n++ {
		if w := f.waiting[n%maxTileMessages]; w.change && w.at.After(after) {
			return w.at.Add(tileRescue)
		}
	}
	return time.Time{}
}

// take takes in what the viewer reports.
func (f *tileFlow) take(r tileReport, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	on := r.N - f.acked
	if on > maxTileMessages || (on > 0 && f.waiting[r.N%maxTileMessages].bytes == 0) {
		return errAck
	}
	for n := f.acked + 1; n != r.N+1; n++ {
		w := &f.waiting[n%maxTileMessages]
		if n == r.N {
			f.learn(now.Sub(w.at), w.bytes, now)
		}
		f.bytes -= w.bytes
		f.rate.tookTiles(w.bytes, now)
		f.ackedGen = w.gen
		*w = tileOnWay{}
	}
	f.acked, f.report, f.reports = r.N, r, true
	return nil
}

// learn brings the window to what keeps the way busy without a queue.
func (f *tileFlow) learn(took time.Duration, bytes int, now time.Time) {
	if f.leastAt.IsZero() || took <= f.least || now.Sub(f.leastAt) > tileLeast {
		f.least, f.leastAt = took, now
	}
	busy := float64(f.bytes) > f.window/2
	switch {
	case took-f.least > tileQueue:
		f.window = max(f.window*0.85, minTileWindow)
	case busy:
		f.window = min(f.window+float64(bytes), maxTileWindow)
	}
}

// kbps is what the way is seen to carry without a queue; 0 while that is unknown.
func (f *tileFlow) kbps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.least <= 0 {
		return 0
	}
	return int(f.window * 8 / 1000 / f.least.Seconds())
}

// client is how long the viewer takes, by its own report, for a video frame, for a message of tiles, and for each tile; false while it has
// not said.
func (f *tileFlow) client() (video, tiles, cell time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Duration(f.report.Video) * 100 * time.Microsecond, time.Duration(f.report.Tile) * 100 * time.Microsecond,
		time.Duration(f.report.Cell) * 100 * time.Nanosecond, f.reports
}

// confirmed is the number of the last confirmed message, and how many tiles the viewer found wrong.
func (f *tileFlow) confirmed() (n, bad uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked, f.report.Bad
}
