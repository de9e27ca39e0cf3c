package main

import (
	"context"
	"sync"
)

// state is where a service is in its life.
type state string

const (
	starting   state = "starting"
	running    state = "running"
	backoff    state = "backoff"
	restarting state = "restarting" // GIMP's word for backoff, and for starting again
	failed     state = "failed"
)

// serviceReport is what is told of one service.
type serviceReport struct {
	State    state `json:"state"`
	Pid      int   `json:"pid"`
	Restarts int   `json:"restarts"`
}

// gimpReport is what is told of GIMP. WindowMS is when its main window first showed, in milliseconds from PID 1's start.
type gimpReport struct {
	serviceReport
	WindowMS int64 `json:"window_ms"`
}

// report is one line on the init socket (ARCHITECTURE.md, "easel-init ↔ streamer").
type report struct {
	Seq      uint64                   `json:"seq"`
	Ready    bool                     `json:"ready"`
	Services map[string]serviceReport `json:"services"`
	GIMP     gimpReport               `json:"gimp"`
	OpenCL   openCLReport             `json:"opencl"`
}

// board holds the state of every service, for who reports it and for services that wait for one another.
type board struct {
	mu       sync.Mutex
	seq      uint64
	services map[string]serviceReport
	windowMS int64
	opencl   openCLReport
	changed  chan struct{} // closed and replaced at each change
}

func newBoard(names []string) *board {
	b := &board{seq: 1, services: map[string]serviceReport{}, opencl: openCLReport{State: openCLOff}, changed: make(chan struct{})}
	for _, n := range names {
		b.services[n] = serviceReport{State: starting}
	}
	return b
}

// update changes one service's report.
func (b *board) update(name string, change func(*serviceReport)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.services[name]
	change(&r)
	if r == b.services[name] {
		return
	}
	b.services[name] = r
	b.tell()
}

// windowShown records GIMP's first window, ms after PID 1's start.
func (b *board) windowShown(ms int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.windowMS == 0 {
		b.windowMS = ms
		b.tell()
	}
}

func (b *board) setOpenCL(r openCLReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opencl != r {
		b.opencl = r
		b.tell()
	}
}

func (b *board) openCL() openCLReport {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opencl
}

// tell wakes who waits. The lock is held.
func (b *board) tell() {
	b.seq++
	close(b.changed)
	b.changed = make(chan struct{})
}

// snapshot is the report of now, and a channel that is closed when it is no longer true.
func (b *board) snapshot() (report, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := report{Seq: b.seq, Services: map[string]serviceReport{}, OpenCL: b.opencl}
	for name, s := range b.services {
		r.Services[name] = s
	}
	r.GIMP = gimpReport{serviceReport: b.services[gimpName], WindowMS: b.windowMS}
	again := r.GIMP.Restarts > 0 && r.GIMP.State == starting
	if again || r.GIMP.State == backoff {
		r.GIMP.State = restarting
	}
	r.Ready = r.GIMP.State == running
	return r, b.changed
}

// waitRunning returns when all services named are running, or with ctx's error.
func (b *board) waitRunning(ctx context.Context, names []string) error {
	for {
		r, changed := b.snapshot()
		all := true
		for _, n := range names {
			all = all && r.Services[n].State == running
		}
		if all {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
