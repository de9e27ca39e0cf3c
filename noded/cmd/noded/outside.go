package main

import (
	"context"
	"time"

	"easel/noded/runtime"
	"easel/noded/session"
)

// outside gives sessions the containers and streamers of noded/runtime in the words of noded/session.
type outside struct {
	*runtime.Runtime
	streamer string
	device   string // whose I/O a container's limits are for
	cdi      string // the directory of the specifications of sessions' devices
}

// Bounds of a streamer beside its processors.
const (
	streamerMemory = 1 << 30 // bytes: an 8192×8192 screen with its pictures fits
	streamerPIDs   = 256
)

func (o *outside) container(c session.Container) runtime.Container {
	return runtime.Container{
		ID: c.ID, Image: c.Image, UIDBase: c.UIDBase, RunDir: c.RunDir, Home: c.Home, Cgroup: c.Cgroup,
		Warm: string(c.Warmth), Width: c.Width, Height: c.Height, LogPath: c.LogPath,
		Devices: c.Devices, DeviceDir: o.cdi, OpenCL: c.OpenCL,
		Limits: runtime.Limits{
			Memory: c.Limits.Memory, CPUs: c.Limits.CPUs, PIDs: c.Limits.PIDs, CPUSet: c.Limits.CPUSet,
			ReadBps: c.Limits.DiskRead, WriteBps: c.Limits.DiskWrite, Device: o.device,
		},
	}
}

func (o *outside) PrepareDirs(_ context.Context, c session.Container) error {
	return o.Runtime.PrepareDirs(o.container(c))
}

func (o *outside) RemoveDirs(_ context.Context, runDir string) error {
	return o.Runtime.RemoveDirs(runDir)
}

func (o *outside) Create(ctx context.Context, c session.Container) error {
	return o.CreateContainer(ctx, o.container(c))
}

func (o *outside) Start(ctx context.Context, c session.Container) (int, error) {
	return o.StartTask(ctx, o.container(c))
}

func (o *outside) AttachHome(ctx context.Context, c session.Container) error {
	return o.Runtime.AttachHome(ctx, o.container(c))
}

func (o *outside) Wait(ctx context.Context, id string) (<-chan session.Exit, error) {
	exits, err := o.Runtime.Wait(ctx, id)
	if err != nil {
		return nil, err
	}
	out := make(chan session.Exit, 1)
	go func() { // ends with exits, which closes when ctx does
		defer close(out)
		if e, ok := <-exits; ok {
			out <- session.Exit{Code: e.Code, OOM: e.OOM, Gone: e.Gone}
		}
	}()
	return out, nil
}

func (o *outside) List(ctx context.Context) ([]string, error) { return o.Sessions(ctx) }

func (o *outside) OutOfMemory(ctx context.Context, id string) (bool, error) {
	t, err := o.Task(ctx, id)
	return t.OOM, err
}

func (o *outside) Usage(cgroup string) (session.Usage, error) {
	memory, cpu, err := o.Runtime.Usage(cgroup)
	return session.Usage{Memory: int64(memory), CPU: cpu}, err
}

func (o *outside) StartWorker(ctx context.Context, s session.WorkerSpec) (session.Worker, error) {
	w, err := o.Runtime.StartWorker(ctx, runtime.WorkerSpec{
		ID: s.ID, Path: o.streamer, UID: s.UID, GID: s.GID, Cgroup: s.Cgroup, IPCPID: s.IPCPID,
		Config: s.Config, LogPath: s.LogPath, Limits: runtime.Limits{Memory: streamerMemory, CPUs: s.CPUs, CPUSet: s.CPUSet, PIDs: streamerPIDs},
	})
	return session.Worker(w), err
}

func (o *outside) WorkerAlive(w session.Worker) bool {
	return o.Runtime.WorkerAlive(runtime.Worker(w))
}

func (o *outside) WaitWorker(ctx context.Context, w session.Worker) error {
	return o.Runtime.WaitWorker(ctx, runtime.Worker(w))
}

func (o *outside) KillWorker(ctx context.Context, cgroup string, w session.Worker) error {
	return o.Runtime.KillWorker(ctx, cgroup, runtime.Worker(w))
}

// dialContainerd waits for containerd, which may be starting beside this daemon.
func dialContainerd(ctx context.Context, o runtime.Options, patience time.Duration) (*runtime.Runtime, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return runtime.Dial(ctx, o)
}
