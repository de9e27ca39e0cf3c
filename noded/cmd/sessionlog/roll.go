package main

import (
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	maxFile = 1 << 20   // bytes of a file; there are two
	rate    = 256 << 10 // bytes a second that may go on for ever
	burst   = 1 << 20   // bytes at once
)

// roll appends to a file and starts it anew at max bytes, keeping one before it as path.1. A disk that is full loses what is written
// and stops nothing: Write never fails.
type roll struct {
	path string
	max  int64
	file *os.File
	size int64
}

func newRoll(path string, limit int64) *roll {
	r := &roll{path: path, max: limit}
	r.open()
	return r
}

func (r *roll) open() {
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return // tried again at the next write
	}
	r.file, r.size = file, 0
	if info, err := file.Stat(); err == nil {
		r.size = info.Size()
	}
}

func (r *roll) Write(p []byte) (int, error) {
	if r.file != nil && r.size+int64(len(p)) > r.max {
		r.Close()
		_ = os.Rename(r.path, r.path+".1")
		r.open()
		if r.size+int64(len(p)) > r.max { // it could not be renamed
			_ = os.Truncate(r.path, 0)
			r.size = 0
		}
	}
	if r.file == nil {
		r.open()
	}
	if r.file != nil {
		n, _ := r.file.Write(p)
		r.size += int64(n)
	}
	return len(p), nil
}

func (r *roll) Close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// paced lets burst bytes through at once and then rate bytes a second, by holding the writer up. Several may write.
type paced struct {
	to    interface{ Write([]byte) (int, error) }
	rate  float64
	burst float64
	now   func() time.Time
	sleep func(time.Duration)

	mu    sync.Mutex
	spent float64 // bytes over what the rate has paid for
	at    time.Time
}

func (p *paced) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // held over the sleep: the other stream waits as well
	now := p.now()
	if !p.at.IsZero() {
		p.spent = max(0, p.spent-now.Sub(p.at).Seconds()*p.rate)
	}
	p.at = now
	p.spent += float64(len(data))
	if over := p.spent - p.burst; over > 0 {
		p.sleep(time.Duration(over / p.rate * float64(time.Second)))
	}
	return p.to.Write(data)
}
