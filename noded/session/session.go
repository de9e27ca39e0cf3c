// Package session is what a session is: its states, its record, and the one reconciler that moves what is
// (containers, processes, mounts) towards what should be (the records in bbolt).
//
// Each session has a keeper, a goroutine that alone drives it. Anything outside this process is recorded
// before it is made and cleared after it is gone, so a kill -9 anywhere leaks nothing and loses no session.
package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"easel/noded/stream/contract"
)

// State is where a session stands in its life.
type State string

// The states, in the order of a life. Failed may follow any state before Stopping.
const (
	Reserved  State = "reserved"  // recorded, nothing made yet
	Starting  State = "starting"  // container and streamer are being made, GIMP's window awaited
	Ready     State = "ready"     // GIMP's window is up, nobody has connected yet
	Connected State = "connected" // somebody sees the picture
	Detached  State = "detached"  // nobody does; it ends when its grace time is over
	Stopping  State = "stopping"  // what it is made of is being taken away
	Stopped   State = "stopped"
	Failed    State = "failed"
)

// states is every state, the source of the failpoints of the transitions.
var states = []State{Reserved, Starting, Ready, Connected, Detached, Stopping, Stopped, Failed}

var following = map[State][]State{
	"":        {Reserved},
	Reserved:  {Starting, Stopping, Failed},
	Starting:  {Ready, Stopping, Failed},
	Ready:     {Connected, Stopping, Failed},
	Connected: {Detached, Stopping, Failed},
	Detached:  {Connected, Stopping, Failed},
	Stopping:  {Stopped},
}

// Ended tells whether the state is on the way out or past it: nobody can use the session any more.
func (s State) Ended() bool { return s == Stopping || s == Stopped || s == Failed }

func (s State) mayBecome(next State) bool { return slices.Contains(following[s], next) }

// Kinds of errors that callers tell apart.
var (
	ErrNotFound = errors.New("no such session")
	ErrInvalid  = errors.New("not a valid request")
)

// Refusal is why the node admits no further session. Reason is a short word, fit for a metric's label.
type Refusal struct {
	Reason string // full, memory, ports, image, disk, class, gpu, encoder, late, cordoned, draining, isolated, containerd or ending
	Detail string // for a person: what is short, and what to try
}

func (r *Refusal) Error() string { return r.Detail }

// Session is what the node tells of one session: its record, and what its streamer last said.
type Session struct {
	Record
	Paths  Paths
	Health contract.Health // zero when no streamer has spoken since this noded started
	Pids   Pids            // filled in by Get alone
	Notice contract.Notice // what the artist is told now; zero when nothing
}

// Pids are host process ids; 0 where there is none.
type Pids struct{ Streamer, Init, X, GIMP int }

// Paths is where a session's things lie on the host (see ARCHITECTURE.md).
type Paths struct {
	Run      string // the session's run directory
	XSocket  string
	XCookie  string
	Edge     string
	Worker   string // the streamer's own directory
	Home     string
	Cgroup   string // below the cgroup root; the container's and the streamer's lie beneath
	BoxLog   string
	Streamer string // the streamer's log
}

// places is where a node keeps its sessions' things.
type places struct{ runDir, cgroup string }

func (p places) of(id string) Paths {
	run := p.runDir + "/s/" + id
	return Paths{
		Run:      run,
		XSocket:  run + "/x11/X0",
		XCookie:  run + "/xauthority",
		Edge:     run + "/edge",
		Worker:   run + "/worker",
		Home:     run + "/home",
		Cgroup:   p.cgroup + "/" + id,
		BoxLog:   run + "/container.log",
		Streamer: run + "/streamer.log",
	}
}

// StreamerSocket is the name of the streamer's socket in Paths.Worker.
const StreamerSocket = "streamer.sock"

// Uids counted from the session's uid base. The streamer's is not the container's artist, and nothing of the
// host's.
const (
	artistUID   = 1000
	streamerUID = 65000
)

// WorkerUID is the host uid and gid of a session's streamer.
func (r *Record) WorkerUID() uint32 { return r.UIDBase + streamerUID }

// enter moves the record to a state, or says why it may not.
func (r *Record) enter(next State, reason string, now time.Time) error {
	if !r.State.mayBecome(next) {
		return fmt.Errorf("session %s cannot go from %q to %q", r.ID, r.State, next)
	}
	r.State = next
	if reason != "" {
		r.Reason = reason
	}
	if !slices.ContainsFunc(r.Times, func(t StateTime) bool { return t.State == next }) {
		r.Times = append(r.Times, StateTime{State: next, At: now})
	}
	return nil
}
