package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Container is what a session's container is made from. The directories are those that PrepareDirs made.
type Container struct {
	ID, Image     string
	UIDBase       uint32 // first of the session's 65536 host uids
	RunDir        string // RUN/s/ID
	Home          string // host path of the mounted home volume, "" for one in memory that ends with the session
	Limits        Limits
	Cgroup        string   // "/easel/ID"; the container is in "box" below it
	Devices       []string // CDI names of what it gets of the host's, specified in DeviceDir
	DeviceDir     string
	OpenCL        bool   // GIMP may compute by such a device
	Width, Height int    // first size of the screen, zero for the image's own
	Warm          string // "ready" or "desktop": init waits for Wake, and Home comes by AttachHome; "" for neither
	LogPath       string // what the container prints; at most two files of a megabyte, LogPath and LogPath.1
}

const (
	snapshotter   = "overlayfs"
	labelSession  = "easel.session"
	labelCgroup   = "easel.cgroup"
	killTimeout   = 10 * time.Second
	askTimeout    = 15 * time.Second // also for a containerd that is restarting
	startTimeout  = 30 * time.Second
	createTimeout = 5 * time.Minute // may unpack an image
	leaseLifetime = time.Hour       // a half-made container's pieces are safe from containerd's collector so long
)

// boxGroup is the container's own group below the session's.
func boxGroup(session string) string { return path.Join(session, "box") }

// CreateContainer makes the container and its snapshot, without starting anything. One that exists and runs is left alone;
// one that does not run is made anew, so that its specification is of today (a volume's device may have another number now).
func (r *Runtime) CreateContainer(ctx context.Context, c Container) error {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	status, err := r.Task(ctx, c.ID)
	if err != nil {
		return err
	}
	if status.Running {
		return nil
	}
	if err := r.Remove(ctx, c.ID, 0); err != nil {
		return err
	}
	err = r.create(ctx, c)
	if err != nil && ctx.Err() == nil && !errdefs.IsNotFound(err) {
		// A containerd that was killed while it made a snapshot has left a directory by the next snapshot's name: the first attempt after
		// that fails and clears it.
		r.log.Warn("making a container failed once; trying again", "session", c.ID, "error", err)
		if err := r.Remove(ctx, c.ID, 0); err != nil {
			return err
		}
		err = r.create(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("making the container of session %s from image %s: %w", c.ID, c.Image, err)
	}
	return nil
}

func (r *Runtime) create(ctx context.Context, c Container) error {
	cpus, err := r.usable(c.Limits.CPUSet)
	if err != nil {
		return err
	}
	c.Limits.CPUSet = cpus
	image, err := r.client.GetImage(ctx, c.Image)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w (build or import it: noded image build)", err)
	}
	if err != nil {
		return err
	}
	// The lease has a name, so that Remove clears it after a crash between here and release.
	ctx, release, err := r.client.WithLease(ctx, leases.WithID(leaseID(c.ID)), leases.WithExpiration(leaseLifetime))
	if err != nil {
		return err
	}
	defer func() { _ = release(context.WithoutCancel(ctx)) }()
	unpacked, err := image.IsUnpacked(ctx, snapshotter)
	if err != nil {
		return err
	}
	if !unpacked {
		if err := image.Unpack(ctx, snapshotter); err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	config, err := image.Spec(ctx)
	if err != nil {
		return fmt.Errorf("reading the image's configuration: %w", err)
	}
	ids := idMap(c.UIDBase)
	_, err = r.client.NewContainer(ctx, c.ID,
		containerd.WithImage(image),
		containerd.WithSnapshotter(snapshotter),
		containerd.WithNewSnapshot(c.ID, image, containerd.WithUserNSRemapperLabels(ids, ids)),
		containerd.WithContainerLabels(map[string]string{labelSession: c.ID, labelCgroup: c.Cgroup}),
		containerd.WithNewSpec(specOpts(c, config.Config.Env)...),
	)
	return err
}

func leaseID(id string) string { return "easel-" + id }

// StartTask runs the container's init and answers its host pid. A running one is left alone; one that ended is started anew.
func (r *Runtime) StartTask(ctx context.Context, c Container) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	container, err := r.client.LoadContainer(ctx, c.ID)
	if err != nil {
		return 0, fmt.Errorf("starting session %s: loading its container: %w", c.ID, err)
	}
	task, err := container.Task(ctx, nil)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return 0, fmt.Errorf("starting session %s: looking for its task: %w", c.ID, err)
	default:
		status, err := task.Status(ctx)
		if err == nil && status.Status == containerd.Running {
			return int(task.Pid()), nil
		}
		if err := deleteTask(ctx, task); err != nil {
			return 0, fmt.Errorf("starting session %s: clearing the task that ended: %w", c.ID, err)
		}
	}
	if err := r.weighSessions(); err != nil {
		return 0, fmt.Errorf("starting session %s: %w", c.ID, err)
	}
	task, err = container.NewTask(ctx, r.output(c.LogPath))
	if err != nil {
		return 0, fmt.Errorf("starting session %s: making its task: %w", c.ID, err)
	}
	if err := task.Start(ctx); err != nil {
		err = fmt.Errorf("starting session %s: running %s: %w", c.ID, initPath, err)
		return 0, errors.Join(err, deleteTask(context.WithoutCancel(ctx), task))
	}
	return int(task.Pid()), nil
}

// output is where the container's prints go: to sessionlog, a process of its own that bounds size and rate, because containerd's own log
// file grows as fast as a hostile container writes. It is the shim's child, so that nothing is lost while we or containerd restart.
func (r *Runtime) output(logPath string) cio.Creator {
	if r.logWriter == "" || logPath == "" {
		return cio.NullIO
	}
	return cio.LogURI(&url.URL{Scheme: "binary-v2", Path: r.logWriter, RawQuery: url.Values{"-file": {filepath.Clean(logPath)}}.Encode()})
}

// TaskStatus is what is known of a container's init.
type TaskStatus struct {
	Exists, Running bool // Exists: the container was made
	PID             int  // on the host, while Running
	ExitCode        uint32
	OOM             bool // something in the container was killed for memory
}

// Task looks at the session's container and its init.
func (r *Runtime) Task(ctx context.Context, id string) (TaskStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	container, err := r.client.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return TaskStatus{}, nil
	}
	if err != nil {
		return TaskStatus{}, fmt.Errorf("looking for the container of session %s: %w", id, err)
	}
	state := TaskStatus{Exists: true, OOM: r.oomKilled(ctx, container)}
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return state, nil
	}
	if err != nil {
		return TaskStatus{}, fmt.Errorf("looking for the task of session %s: %w", id, err)
	}
	status, err := task.Status(ctx)
	if errdefs.IsNotFound(err) {
		return state, nil
	}
	if err != nil {
		return TaskStatus{}, fmt.Errorf("asking for the state of session %s: %w", id, err)
	}
	state.Running = status.Status == containerd.Running || status.Status == containerd.Paused
	state.ExitCode = status.ExitStatus
	if state.Running {
		state.PID = int(task.Pid())
	}
	return state, nil
}

func (r *Runtime) oomKilled(ctx context.Context, container containerd.Container) bool {
	info, err := container.Info(ctx, containerd.WithoutRefreshedMetadata)
	if err != nil {
		return false
	}
	kills, err := r.groups.OOMKills(boxGroup(r.groupOf(info)))
	return err == nil && kills > 0
}

func (r *Runtime) groupOf(info containers.Container) string {
	if group := info.Labels[labelCgroup]; group != "" {
		return group
	}
	return path.Join(r.parent, info.ID)
}

// Remove ends the session's container: TERM to its init, after grace KILL, then task, container, snapshot and control group go.
// What is absent is success, so that it finishes what a crash left half done. The worker is not touched.
func (r *Runtime) Remove(ctx context.Context, id string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+askTimeout+2*killTimeout)
	defer cancel()
	if err := r.remove(ctx, id, grace); err != nil {
		return fmt.Errorf("removing session %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) remove(ctx context.Context, id string, grace time.Duration) error {
	group := path.Join(r.parent, id)
	bundles, err := r.bundles(ctx, id)
	if err != nil {
		return err
	}
	container, err := r.client.LoadContainer(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err == nil {
		info, err := container.Info(ctx, containerd.WithoutRefreshedMetadata)
		if err != nil {
			return err
		}
		group = r.groupOf(info)
		if err := r.endTask(ctx, container, grace); err != nil {
			return err
		}
		if err := container.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("deleting the container: %w", err)
		}
	}
	if err := r.endOrphan(ctx, id); err != nil {
		return err
	}
	if err := r.freeBundle(ctx, id, bundles); err != nil {
		return err
	}
	if err := r.client.SnapshotService(snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting the snapshot: %w", err)
	}
	lease := leases.Lease{ID: leaseID(id)}
	if err := r.client.LeasesService().Delete(ctx, lease); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting the lease: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := r.groups.Kill(ctx, boxGroup(group)); err != nil {
		return err
	}
	if err := r.removeGroup(ctx, boxGroup(group)); err != nil {
		return err
	}
	r.groups.RemoveIfEmpty(group)
	return nil
}

func (r *Runtime) endTask(ctx context.Context, container containerd.Container, grace time.Duration) error {
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for its task: %w", err)
	}
	if grace > 0 {
		ended, err := task.Wait(ctx)
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("watching its task: %w", err)
		}
		if err == nil && task.Kill(ctx, unix.SIGTERM) == nil { // an error means that it has ended, or deleteTask will say why
			select {
			case <-ended:
			case <-time.After(grace):
				r.log.Info("the container did not end by itself and is killed", "session", container.ID(), "grace", grace)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return deleteTask(ctx, task)
}

// deleteTask kills what is left and waits for its end.
func deleteTask(ctx context.Context, task containerd.Task) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("killing its task: %w", err)
	}
	return nil
}
