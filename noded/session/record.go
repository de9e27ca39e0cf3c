package session

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"easel/noded/gpu"
)

// Record is what bbolt holds of a session: what should be, and what was begun outside this process. Its JSON
// form is a file format: fields are added, never renamed (see testdata).
type Record struct {
	ID      string      `json:"id"`
	User    string      `json:"user"` // "" while the session is the pool's, or when the record of before could not be read
	Key     string      `json:"key"`  // the creator's idempotency key, unique among the user's living sessions
	Image   string      `json:"image"`
	Class   string      `json:"class"`
	Wanted  Wanted      `json:"wanted"`
	State   State       `json:"state"`
	Reason  string      `json:"reason,omitempty"`
	Created time.Time   `json:"created"`
	Times   []StateTime `json:"times"` // first entry into each state

	UIDBase uint32 `json:"uid_base"`
	UDPPort uint16 `json:"udp_port"`
	Limits  Limits `json:"limits"`

	// GPU is the slice of a card that the session holds until it is released, as it was when it was chosen; its Encoder tells whether the
	// session was given one of the card's encoders. Devices are what brings it into the container.
	GPU     gpu.Slice `json:"gpu,omitzero"`
	Devices []string  `json:"devices,omitempty"`

	// Intent names the placement that the session was made for: a replay of it finds the session again, even ended.
	Intent string `json:"intent,omitempty"`

	// Of a session that was started before it was asked for. It is the pool's as long as it has no user; once one has claimed it,
	// Created and Times are the claim's, as that user sees it.
	Warmth Warmth    `json:"warmth,omitempty"`
	Warmed time.Time `json:"warmed,omitzero"`  // when it was begun
	Digest string    `json:"digest,omitempty"` // of the image that it was begun from

	// Steps holds what was begun outside this process; a step that is absent has left nothing.
	Steps    map[string]Phase `json:"steps,omitempty"`
	Released time.Time        `json:"released,omitzero"` // when nothing was left; zero while it holds anything

	InitPID     int       `json:"init_pid,omitempty"` // the container's first process, as the host counts
	TaskStarted time.Time `json:"task_started,omitzero"`
	Worker      Worker    `json:"worker,omitzero"`

	Expires          time.Time `json:"expires,omitzero"` // when it ends for want of a viewer; of a warm one, when it is too old
	WindowMS         int64     `json:"window_ms,omitempty"`
	GIMPRestarts     uint32    `json:"gimp_restarts,omitempty"`
	StreamerRestarts uint32    `json:"streamer_restarts,omitempty"`
}

// Wanted is what should become of a session.
type Wanted string

// A session is wanted running until something ends it; nothing makes an ended one run again.
const (
	WantRunning Wanted = "running"
	WantEnded   Wanted = "ended"
)

// Phase is how far a step has come.
type Phase string

// A step is recorded as begun before it is made and as done after. Begun alone means: it may or may not be there.
const (
	Begun Phase = "begun"
	Done  Phase = "done"
)

// StateTime is when a state was first entered.
type StateTime struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
}

// Limits bound one session's container.
type Limits struct {
	Memory int64   `json:"memory"` // bytes
	CPUs   float64 `json:"cpus"`
	PIDs   int64   `json:"pids"`
	CPUSet string  `json:"cpuset,omitempty"` // the processors that it is pinned to

	DiskRead  uint64 `json:"disk_read,omitempty"` // bytes a second, 0 for no bound
	DiskWrite uint64 `json:"disk_write,omitempty"`
}

// Worker is a streamer process: the pid alone could by now be another's.
type Worker struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // its start time, in clock ticks since boot
}

// lingers tells whether the session holds nothing any more but a slice whose memory is not seen to be free.
func (r *Record) lingers() bool {
	return r.holds() && r.Wanted == WantEnded && len(r.Steps) == 1 && r.Steps[stepGPU] != ""
}

// holds tells whether anything of the session may still be on the host.
func (r *Record) holds() bool { return r.Released.IsZero() }

func (r *Record) at(s State) time.Time {
	for _, t := range r.Times {
		if t.State == s {
			return t.At
		}
	}
	return time.Time{}
}

var (
	idPattern    = regexp.MustCompile(`^s[a-z2-7]{16}$`)
	userPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	imagePattern = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9._/:@-]{0,254}$`)
)

// ValidID tells whether s has the form of a session's id.
func ValidID(s string) bool { return idPattern.MatchString(s) }

// newID returns an id that nobody can guess: 80 random bits.
func newID() string {
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // never fails, by its contract
	return "s" + strings.ToLower(base32.StdEncoding.EncodeToString(raw[:]))
}

func decodeRecord(id string, data []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("record of session %s: %w", id, err)
	}
	switch {
	case r.ID != id:
		return Record{}, fmt.Errorf("record of session %s names %q", id, r.ID)
	case following[r.State] == nil && r.State != Stopped && r.State != Failed, r.State == "":
		return Record{}, fmt.Errorf("record of session %s: unknown state %q", id, r.State)
	case r.Wanted != WantRunning && r.Wanted != WantEnded:
		return Record{}, fmt.Errorf("record of session %s: unknown wish %q", id, r.Wanted)
	case !slices.Contains(warmths, r.Warmth):
		return Record{}, fmt.Errorf("record of session %s: unknown warmth %q", id, r.Warmth)
	case r.User == "" && r.State != Failed && r.Warmth == Cold:
		return Record{}, fmt.Errorf("record of session %s names no user", id)
	}
	return r, nil
}
