package session

import (
	"context"
	"time"

	"easel/noded/proof"
	"easel/noded/stream/contract"
)

// Containers is the part of containerd and the kernel that sessions need. Making is idempotent: what is
// there is taken as it is. Taking away what is absent succeeds.
type Containers interface {
	PrepareDirs(ctx context.Context, c Container) error
	// RemoveDirs removes a session's run directory and never descends into a mount.
	RemoveDirs(ctx context.Context, runDir string) error
	Create(ctx context.Context, c Container) error
	// Start runs the container's first process, or finds it running, and returns its host pid.
	Start(ctx context.Context, c Container) (pid int, err error)
	// AttachHome mounts the home that lies at c.Home on the host into the running container.
	AttachHome(ctx context.Context, c Container) error
	// Wake tells the first process of a warm container that its artist has come.
	Wake(ctx context.Context, id string) error
	// Wait returns a channel that yields once the container's first process has ended or is found gone; it
	// outlives restarts of containerd, and is closed without a value when ctx ends.
	Wait(ctx context.Context, id string) (<-chan Exit, error)
	// Remove ends the container within grace and takes it away with its snapshot.
	Remove(ctx context.Context, id string, grace time.Duration) error
	// List names the sessions that have a container, whoever made it.
	List(ctx context.Context) ([]string, error)
	Image(ctx context.Context, ref string) (digest string, ok bool, err error)
	// Processes maps the container's own process ids to the host's.
	Processes(id, cgroup string) (map[int]int, error)
	// OutOfMemory tells whether the kernel killed anything in the container for want of memory.
	OutOfMemory(ctx context.Context, id string) (bool, error)
	Usage(cgroup string) (Usage, error)
	// Cgroups names the sessions that have a cgroup, and RemoveCgroup kills what is in one and removes it.
	Cgroups() ([]string, error)
	RemoveCgroup(ctx context.Context, cgroup string) error
}

// Workers starts and watches streamer processes.
type Workers interface {
	StartWorker(ctx context.Context, spec WorkerSpec) (Worker, error)
	WorkerAlive(w Worker) bool
	// WaitWorker returns when the process has ended, or with ctx's error.
	WaitWorker(ctx context.Context, w Worker) error
	// KillWorker kills the process and all else in the cgroup, and removes the cgroup.
	KillWorker(ctx context.Context, cgroup string, w Worker) error
}

// Encoders are this node's, as far as they are proven.
type Encoders interface {
	// Failed are those that a session on a card ("" for none) must not use. It waits for a proof that is under way, for a while.
	Failed(ctx context.Context, card string) []contract.FailedEncoder
	// Proofs are what is known of each, Troubles what of it is not as it should be, in words.
	Proofs() []proof.Proof
	Troubles() []string
}

// Homes mounts users' home volumes.
type Homes interface {
	Open(ctx context.Context, user, target string) error
	Close(ctx context.Context, user, target string) error
	// Sweep unmounts every target that keep does not want.
	Sweep(ctx context.Context, keep func(target string) bool) error
	// HasProfile tells whether the user may have a GIMP profile here. It is quick: a claim waits for it.
	HasProfile(user string) (bool, error)
}

// Streamers asks streamers how they are.
type Streamers interface {
	// Watch returns the health of the streamer whose socket lies in dir once its sequence number is past after, or what it is after
	// half a minute.
	Watch(ctx context.Context, dir string, after uint64) (contract.Health, error)
	// Notify has the streamer show its viewers a notice; the zero one takes back what was shown.
	Notify(ctx context.Context, dir string, n contract.Notice) error
	// SetPolicy tells the streamer what may cross from now on.
	SetPolicy(ctx context.Context, dir string, p contract.Policy) error
}

// Host is what admission asks of the machine.
type Host interface {
	MemAvailable() (bytes int64, err error)
	DiskFree() (bytes int64, err error)
	// PortFree tells whether nobody listens on the UDP port.
	PortFree(port uint16) bool
}

// Container describes a session's container.
type Container struct {
	ID, Image     string
	UIDBase       uint32
	RunDir        string
	Home          string // host path of the mounted home
	Warmth        Warmth // of one that starts without a home and waits for its artist
	Limits        Limits
	Devices       []string // CDI names of its GPU slice's
	OpenCL        bool     // GIMP may compute by the slice
	Cgroup        string   // the session's, such as "/easel/ID"; the container's is "box" in it
	Width, Height int      // the screen's first size
	LogPath       string
}

// Exit is how a container's first process ended.
type Exit struct {
	Code uint32
	OOM  bool // something in the container was killed for want of memory
	Gone bool // nothing was left that could tell
}

// Usage is what a session takes of the machine.
type Usage struct {
	Memory int64   // bytes
	CPU    float64 // seconds since its start
}

// WorkerSpec describes a streamer process.
type WorkerSpec struct {
	ID       string
	UID, GID uint32
	Cgroup   string
	IPCPID   int // whose IPC namespace it joins
	CPUs     float64
	CPUSet   string // "" for all processors
	Config   []byte // goes to its standard input
	LogPath  string
}
