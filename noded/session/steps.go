package session

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"easel/noded/stream/contract"
)

// step is one thing that a session has outside this process. do must be idempotent, as it is repeated
// after a crash; undo must succeed when the thing is absent or half made.
type step struct {
	name    string
	doing   string // for errors: "mount the home volume"
	timeout time.Duration
	only    func(r Record) bool // whether the session has it; nil means that every session has
	do      func(ctx context.Context, k *keeper, r Record) (result func(*Record), err error)
	undo    func(ctx context.Context, k *keeper, r Record) error
}

// stepGPU is named where others look whether it is all that is left of a session.
const stepGPU = "gpu"

// steps are what makes a session, in order; they are undone in the opposite order.
var steps = []step{
	// It is the first, so that a slice whose memory does not come free keeps nothing else of a session that has ended.
	{
		name: stepGPU, doing: "make the GPU slice ready", timeout: 30 * time.Second,
		only: func(r Record) bool { return r.GPU.ID != "" },
		do:   prepareSlice,
		undo: freeSlice,
	},
	{
		name: "dirs", doing: "make the run directory", timeout: 10 * time.Second,
		do: func(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
			return nil, k.containers.PrepareDirs(ctx, k.container(r))
		},
		undo: func(ctx context.Context, k *keeper, _ Record) error {
			return k.containers.RemoveDirs(ctx, k.paths.Run)
		},
	},
	{
		name: "home", doing: "mount the home volume", timeout: 2 * time.Minute,
		only: func(r Record) bool { return !r.pooled() },
		do: func(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
			return nil, k.homes.Open(ctx, r.User, k.paths.Home)
		},
		undo: func(ctx context.Context, k *keeper, r Record) error {
			if r.User == "" {
				return k.homes.Sweep(ctx, func(target string) bool { return target != k.paths.Home })
			}
			return k.homes.Close(ctx, r.User, k.paths.Home)
		},
	},
	{
		name: "container", doing: "create the container", timeout: 30 * time.Second,
		do: func(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
			return nil, k.containers.Create(ctx, k.container(r))
		},
		undo: func(ctx context.Context, k *keeper, r Record) error {
			return k.containers.Remove(ctx, r.ID, 0)
		},
	},
	{
		name: "task", doing: "start the container", timeout: 30 * time.Second,
		do: func(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
			pid, err := k.containers.Start(ctx, k.container(r))
			if err != nil {
				return nil, err
			}
			now := time.Now()
			return func(r *Record) { r.InitPID, r.TaskStarted = pid, now }, nil
		},
		undo: func(ctx context.Context, k *keeper, r Record) error {
			if r.pooled() {
				return k.containers.Remove(ctx, r.ID, 0) // nobody's work is in it, and somebody may wait for its place
			}
			return k.containers.Remove(ctx, r.ID, endGrace)
		},
	},
	{
		name: "streamer", doing: "start the streamer", timeout: 15 * time.Second,
		do: startStreamer,
		undo: func(ctx context.Context, k *keeper, r Record) error {
			return k.workers.KillWorker(ctx, k.streamerCgroup(), r.Worker)
		},
	},
	// What is left to do for who claims a warm session. Its container ran before the home was known, so the home comes into it now, and goes
	// with it.
	{
		name: "attach", doing: "mount the home into the warm container", timeout: 15 * time.Second, only: wasClaimed,
		do: func(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
			return nil, k.containers.AttachHome(ctx, k.container(r))
		},
		undo: goesWithContainer,
	},
	{
		name: "wake", doing: "tell the warm container that its artist has come", timeout: 15 * time.Second, only: wasClaimed,
		do: func(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
			return nil, k.containers.Wake(ctx, r.ID)
		},
		undo: goesWithContainer,
	},
}

func wasClaimed(r Record) bool { return r.Warmth != Cold && r.User != "" }

func goesWithContainer(context.Context, *keeper, Record) error { return nil }

func (s step) isFor(r Record) bool { return s.only == nil || s.only(r) }

// complete tells whether every step of the session is done.
func complete(r Record) bool {
	for _, s := range steps {
		if s.isFor(r) && r.Steps[s.name] != Done {
			return false
		}
	}
	return true
}

// endGrace is how long a container has to end by itself: easel-init gives GIMP 5 s in all.
const endGrace = 6 * time.Second

// startStreamer first clears the cgroup: a noded that died between the start and the record of it may have
// left a process there that nobody knows.
func startStreamer(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
	if err := k.workers.KillWorker(ctx, k.streamerCgroup(), Worker{}); err != nil {
		return nil, fmt.Errorf("clear what an earlier one left: %w", err)
	}
	document, err := k.streamerConfig(ctx, r)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode its configuration: %w", err)
	}
	w, err := k.workers.StartWorker(ctx, WorkerSpec{
		ID: r.ID, UID: r.WorkerUID(), GID: r.WorkerUID(), Cgroup: k.streamerCgroup(),
		IPCPID: r.InitPID, CPUs: r.Limits.CPUs, CPUSet: r.Limits.CPUSet, Config: config, LogPath: k.paths.Streamer,
	})
	if err != nil {
		return nil, err
	}
	return func(r *Record) { r.Worker = w }, nil
}

// firstSize is the screen's size until a viewer asks for its own.
var firstSize = contract.Size{Width: 1920, Height: 1080}

// streamerConfig is the document that the streamer reads from its standard input.
func (k *keeper) streamerConfig(ctx context.Context, r Record) (contract.Config, error) {
	cookie, err := readCookie(k.paths.XCookie)
	if err != nil {
		return contract.Config{}, err
	}
	c := contract.Config{
		Session: r.ID, Socket: k.paths.Worker + "/" + StreamerSocket, XSocket: k.paths.XSocket, XCookie: hex.EncodeToString(cookie),
		EdgeDir: k.paths.Edge, EdgeUID: r.UIDBase + artistUID, UDPAddrs: k.media, UDPPort: int(r.UDPPort), RelayPorts: k.relayPorts, LogLevel: k.logLevel,
		Policy: k.policy(),
	}
	if r.StreamerRestarts == 0 { // one that takes another's place leaves the screen as its viewers have it, or the picture would move under a pen
		c.Initial = firstSize
	}
	card := ""
	if r.GPU.Encoder {
		card = r.GPU.Card
		c.Encoder = contract.Encoder{Kind: contract.NVENC, Device: r.GPU.Device(), Libraries: k.driver}
	}
	c.Failed = k.encoders.Failed(ctx, card)
	return c, c.Validate()
}

func (k *keeper) streamerCgroup() string { return k.paths.Cgroup + "/streamer" }

func (k *keeper) container(r Record) Container {
	return Container{
		ID: r.ID, Image: r.Image, UIDBase: r.UIDBase, RunDir: k.paths.Run, Home: k.paths.Home, Warmth: r.Warmth, Limits: r.Limits, Devices: r.Devices, OpenCL: r.GPU.OpenCL,
		Cgroup: k.paths.Cgroup, Width: firstSize.Width, Height: firstSize.Height, LogPath: k.paths.BoxLog,
	}
}
