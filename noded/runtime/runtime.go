// Package runtime runs what a session is made of: its container, by containerd, and its worker, a host process in the
// container's IPC namespace. It makes, finds, watches and ends them; what should run is the caller's to know. Everything is
// found again by name after a restart of the daemon or of containerd.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"easel/noded/runtime/cgroup"
)

// Limits bound a container or a worker; zero leaves a thing without bound. Sizes are bytes, CPUs whole processors.
type Limits struct {
	Memory            int64
	CPUs              float64
	CPUSet            string // processors that it is pinned to, "0-15,32-47"; "" for all
	PIDs              int64
	ReadBps, WriteBps uint64
	Device            string // "major:minor" of the disk that ReadBps and WriteBps are for (DeviceOf), "" for none
}

// Options say which containerd to use.
type Options struct {
	Address   string // absolute path of containerd's socket
	Namespace string // containerd's, for all that is made
	Cgroup    string // the group that sessions' groups lie below; default /easel
	LogWriter string // path of the sessionlog program; "" looks for it beside this program
	Log       *slog.Logger
}

// Runtime is a connection to containerd and the host's control groups. Its methods may be called at the same time for
// different sessions; the caller serialises those of one session.
type Runtime struct {
	client    *containerd.Client
	groups    *cgroup.Tree
	address   string // of containerd
	namespace string
	parent    string
	logWriter string
	log       *slog.Logger

	seenBundles atomic.Pointer[string] // where containerd keeps our bundles, once that was seen

	stop     context.Context
	cancel   context.CancelFunc
	watchers sync.WaitGroup
}

// Dial connects to containerd, which must answer before ctx ends. The connection mends itself after a restart of containerd.
func Dial(ctx context.Context, o Options) (*Runtime, error) {
	groups, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	client, err := containerd.New(o.Address, containerd.WithDefaultNamespace(o.Namespace), containerd.WithDialOpts(dialOptions()))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd at %s: %w (is it running?)", o.Address, err)
	}
	if _, err := client.Version(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("asking containerd at %s for its version: %w (is it running?)", o.Address, err)
	}
	r := &Runtime{client: client, groups: groups, address: o.Address, namespace: o.Namespace, parent: o.Cgroup, logWriter: o.LogWriter, log: o.Log}
	if r.parent == "" {
		r.parent = "/easel"
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.logWriter == "" {
		r.logWriter = findLogWriter()
	}
	if r.logWriter == "" {
		r.log.Warn("sessionlog was not found beside this program: what session containers print is thrown away")
	}
	r.stop, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// dialOptions are containerd's own, but a lost connection is tried again soon: a restart of containerd must not hold sessions up.
func dialOptions() []grpc.DialOption {
	retry := backoff.DefaultConfig
	retry.BaseDelay = 50 * time.Millisecond
	retry.MaxDelay = time.Second
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a unix socket that only root opens
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(true), // a call made while containerd restarts waits for it
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize),
		),
	}
}

func findLogWriter() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(self), "sessionlog")
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// Close ends the watchers and the connection. Containers and workers run on.
func (r *Runtime) Close() error {
	r.cancel()
	r.watchers.Wait()
	return r.client.Close()
}

// Client is the connection, for the image's import and export.
func (r *Runtime) Client() *containerd.Client { return r.client }

// Image says which image ref names here, and whether there is one.
func (r *Runtime) Image(ctx context.Context, ref string) (digest string, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	image, err := r.client.GetImage(ctx, ref)
	if errdefs.IsNotFound(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("looking for image %s: %w", ref, err)
	}
	return image.Target().Digest.String(), true, nil
}

// Sessions are the ids of every container that CreateContainer made and Remove did not take away, whole or in part.
func (r *Runtime) Sessions(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := r.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q", labelSession))
	if err != nil {
		return nil, fmt.Errorf("listing the session containers: %w", err)
	}
	ids, err := r.bundled(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range found {
		ids = append(ids, c.Labels[labelSession])
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Cgroups are the names of the control groups right below the parent of all sessions' groups: a session's id each.
func (r *Runtime) Cgroups() ([]string, error) { return r.groups.Children(r.parent) }

// RemoveCgroup kills what is in a session's group and takes the group away; absent is success. It is for leaks: Remove
// and KillWorker leave none.
func (r *Runtime) RemoveCgroup(ctx context.Context, path string) error {
	if filepath.Dir(filepath.Clean(path)) != filepath.Clean(r.parent) {
		return fmt.Errorf("removing control group %s: it is not right below %s", path, r.parent)
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := r.groups.Kill(ctx, path); err != nil {
		return err
	}
	return r.removeGroup(ctx, path)
}

// removeGroup waits for the kernel: a group whose last process has just died is busy for a moment.
func (r *Runtime) removeGroup(ctx context.Context, path string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := r.groups.Remove(path)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// Usage is what a group ("/easel/ID", or one below it) holds and has spent: bytes without reclaimable cache, CPU seconds.
func (r *Runtime) Usage(path string) (memory uint64, cpu float64, err error) {
	usage, err := r.groups.Usage(path)
	return usage.Memory, usage.CPU.Seconds(), err
}

// ContainerdConfig is the configuration of a containerd for Easel alone. The three paths are absolute, and everyone must be able to pass
// through root and state (0711): containers enter their bundles as unprivileged users.
func ContainerdConfig(root, state, socket string) string {
	return fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri",
]

[grpc]
  address = %q

[ttrpc]
  address = %q
`, root, state, socket, socket+".ttrpc")
}
