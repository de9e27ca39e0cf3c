package codec

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// ErrHung means that a call into a driver did not return in time. What it works on is lost, and the driver is not to be used again by this process.
var ErrHung = errors.New("the driver hangs")

// driverThread makes calls into a driver, one after the other, on one thread, as a CUDA context belongs to a thread. Who asks for a call that
// does not return stops waiting at the deadline; the thread is lost then, because nothing ends a call into a driver whose card is gone.
type driverThread struct {
	calls chan *driverCall
	ended chan struct{}

	mu    sync.Mutex
	timer *time.Timer
	hung  bool
}

// driverCall is one call. It belongs to the thread from the moment it is made until done tells.
type driverCall struct {
	do    func()
	reads *Picture      // whose memory it needs, if any
	done  chan struct{} // holds one
}

func newDriverCall(do func()) *driverCall { return &driverCall{do: do, done: make(chan struct{}, 1)} }

func startDriverThread() *driverThread {
	t := &driverThread{calls: make(chan *driverCall), ended: make(chan struct{}), timer: time.NewTimer(time.Hour)}
	t.timer.Stop()
	go func() {
		defer close(t.ended)
		runtime.LockOSThread() // for good: the thread ends with us, and what the driver keeps in it
		for c := range t.calls {
			c.do()
			if c.reads != nil {
				c.reads.release()
			}
			c.done <- struct{}{}
		}
	}()
	return t
}

// run makes the call and waits for it until the deadline, or until ErrHung.
func (t *driverThread) run(c *driverCall, doing string, limit time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hung {
		return fmt.Errorf("%s: %w", doing, ErrHung)
	}
	if c.reads != nil {
		c.reads.hold()
	}
	t.calls <- c // at once: the thread waits for it
	t.timer.Reset(limit)
	defer t.timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-t.timer.C:
		t.hung = true
		return fmt.Errorf("%s: no answer within %v: %w", doing, limit, ErrHung)
	}
}

// alive is ErrHung once a call did not return: what was given to it is the thread's for good.
func (t *driverThread) alive() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hung {
		return ErrHung
	}
	return nil
}

// end ends the thread and waits for it, unless it hangs.
func (t *driverThread) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.calls)
	if !t.hung {
		<-t.ended
	}
}
