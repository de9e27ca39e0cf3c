package tile

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

// Bounds of what is on its way to a viewer on the tiles channel.
const (
	maxMessages = 192 // unconfirmed
	// maxGens is how many generations may be unconfirmed: a frame's timestamp tells them apart up to half of genMask.
	maxGens     = 24
	minWindow   = 8 << 10
	startWindow = 32 << 10
	maxWindow   = 2 << 20
	changeShare = 16 << 10
	// queueTime is how much later than at best a confirmation may come before less is sent at once.
	queueTime = 25 * time.Millisecond
	// rescueAfter is how long a change may be unconfirmed before the video shows it too.
	rescueAfter = 250 * time.Millisecond
	leastCounts = 10 * time.Second // how long the best time of a confirmation counts
)

// errAck is a confirmation of what was not sent, or was confirmed before.
var errAck = errors.New("a report on tiles confirms what was not sent")

// Flow is the tiles channel of one peer: what is on its way, how fast it gets there, and what the viewer says of it. What is sent is the
// painter's alone; the rest is safe for several goroutines.
type Flow struct {
	// took hears of bytes that the viewer has confirmed.
	took func(bytes int, now time.Time)

	// The painter's: numbers of the last message and generation.
	n, gen uint32

	mu       sync.Mutex
	channel  Channel                  // nil while the viewer takes none
	waiting  [maxMessages]sentMessage // from n confirmed+1 on, by number
	acked    uint32
	ackedGen uint32
	bytes    int // on their way
	window   float64
	least    time.Duration
	leastAt  time.Time
	report   Report
	reports  bool
}

// sentMessage is a message that has not been confirmed.
type sentMessage struct {
	at     time.Time
	bytes  int
	gen    uint32
	change bool // of the picture: late ones are rescued
}

// Channel is the part of a data channel that a flow needs.
type Channel interface {
	Send(b []byte) error
	ReadyState() webrtc.DataChannelState
	Close() error
}

// NewFlow makes the flow of a viewer that has no channel yet; took is told of the bytes that the viewer confirms.
func NewFlow(took func(bytes int, now time.Time)) *Flow {
	return &Flow{took: took, window: startWindow}
}

// Use has tiles go by this channel, unless they go by another.
func (f *Flow) Use(c Channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.channel == nil {
		f.channel = c
	}
}

// Open tells whether the viewer takes tiles.
func (f *Flow) Open() bool {
	f.mu.Lock()
	c := f.channel
	f.mu.Unlock()
	return c != nil && c.ReadyState() == webrtc.DataChannelStateOpen
}

// Stop takes the channel from the viewer, which shows the video alone then.
func (f *Flow) Stop() {
	f.Next()
	f.mu.Lock()
	c := f.channel
	f.channel = nil
	f.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// Next begins another generation: what is on show above the video until now does not fit the next frame.
func (f *Flow) Next() { f.gen++ }

// Stamp makes a video frame's timestamp of its time: the last bits say which generation of tiles it goes with. It comes after last where that was
// a moment ago.
func (f *Flow) Stamp(at, last uint32, recent bool) uint32 {
	at, last = at&^genMask, last&^genMask
	if recent && !after(at, last) {
		at = last + genMask + 1
	}
	return at | f.gen&genMask
}

// Sent is the number of the last message.
func (f *Flow) Sent() uint32 { return f.n }

// Shows tells whether the viewer has said to show a frame, or a later one.
func (f *Flow) Shows(frame uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reports && !after(frame, f.report.Shown)
}

// room is how many bytes may go now; 0 while the viewer has to confirm something first. What was still leaves a share for changes.
func (f *Flow) room(change bool) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	room := int(f.window) - f.bytes
	switch {
	case f.n-f.acked >= maxMessages-8 || f.gen-f.ackedGen >= maxGens:
		return 0
	case change:
		return room + changeShare
	}
	return max(room, 0)
}

// roomIn is the room for what can wait, if at least so many bytes may be on their way.
func (f *Flow) roomIn(bytes int) int {
	room := f.room(false)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n-f.acked >= maxMessages/2 {
		return 0
	}
	return max(room, bytes-f.bytes)
}

// full tells whether the viewer is so far behind that nothing may be on show above the video.
func (f *Flow) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n-f.acked >= maxMessages-4 || f.gen-f.ackedGen >= maxGens+2
}

// send sends the message of number n and generation gen. Whoever sends what can wait looks for room first.
func (f *Flow) send(b []byte, change bool, now time.Time) error {
	f.mu.Lock()
	c := f.channel
	if c == nil {
		f.mu.Unlock()
		return errors.New("send tiles: the viewer takes none")
	}
	if f.n-f.acked > maxMessages {
		f.mu.Unlock()
		return fmt.Errorf("send tiles: the viewer has not confirmed %d messages", maxMessages)
	}
	f.waiting[f.n%maxMessages] = sentMessage{now, len(b), f.gen, change}
	f.bytes += len(b)
	f.mu.Unlock()
	if err := c.Send(b); err != nil {
		return fmt.Errorf("send tiles: %w", err)
	}
	return nil
}

// overdue is when the first change that was sent after the given time will be unconfirmed for too long: zero for never.
func (f *Flow) overdue(after time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := f.acked + 1; n != f.n+1; n++ {
		if w := f.waiting[n%maxMessages]; w.change && w.at.After(after) {
			return w.at.Add(rescueAfter)
		}
	}
	return time.Time{}
}

// Take takes in what the viewer reports.
func (f *Flow) Take(r Report, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	on := r.N - f.acked
	if on > maxMessages || (on > 0 && f.waiting[r.N%maxMessages].bytes == 0) {
		return errAck
	}
	for n := f.acked + 1; n != r.N+1; n++ {
		w := &f.waiting[n%maxMessages]
		if n == r.N {
			f.learn(now.Sub(w.at), w.bytes, now)
		}
		f.bytes -= w.bytes
		f.took(w.bytes, now)
		f.ackedGen = w.gen
		*w = sentMessage{}
	}
	f.acked, f.report, f.reports = r.N, r, true
	return nil
}

// learn brings the window to what keeps the way busy without a queue.
func (f *Flow) learn(took time.Duration, bytes int, now time.Time) {
	if f.leastAt.IsZero() || took <= f.least || now.Sub(f.leastAt) > leastCounts {
		f.least, f.leastAt = took, now
	}
	busy := float64(f.bytes) > f.window/2
	switch {
	case took-f.least > queueTime:
		f.window = max(f.window*0.85, minWindow)
	case busy:
		f.window = min(f.window+float64(bytes), maxWindow)
	}
}

// Kbps is what the way is seen to carry without a queue; 0 while that is unknown.
func (f *Flow) Kbps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.least <= 0 {
		return 0
	}
	return int(f.window * 8 / 1000 / f.least.Seconds())
}

// client is what the viewer says that it takes; false while it has said nothing.
func (f *Flow) client() (client, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.report
	return client{
		video: time.Duration(r.Video) * 100 * time.Microsecond, tiles: time.Duration(r.Tile) * 100 * time.Microsecond,
		cell: time.Duration(r.Cell) * 100 * time.Nanosecond,
	}, f.reports
}

// confirmed is the number of the last confirmed message, and how many tiles the viewer found wrong.
func (f *Flow) confirmed() (n, bad uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked, f.report.Bad
}
