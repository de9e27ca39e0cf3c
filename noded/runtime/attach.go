package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"easel/noded/runtime/cgroup"
)

// AttachHome mounts the home volume at c.Home into the running container, in the place of the empty one that it was started with. Done already
// is success. The mount is the container's alone and goes with it.
//
// A copy of the mount is made here, in the host's namespace, and moved into the container's by a thread that enters it for that. Propagation from
// a shared directory would do as well, but would leave the container a mount that later mounts of the host could reach it through. Nothing of the
// container's has a say: the source is ours, the place is found on its read-only root without following links, and init's namespaces are
// those that it was born with, as the session's seccomp profile forbids unshare, setns and mount.
func (r *Runtime) AttachHome(ctx context.Context, c Container) error {
	if err := r.attachHome(ctx, c); err != nil {
		return fmt.Errorf("mounting the home %s into session %s: %w", c.Home, c.ID, err)
	}
	return nil
}

func (r *Runtime) attachHome(ctx context.Context, c Container) error {
	init, err := r.initOf(ctx, c.ID)
	if err != nil {
		return err
	}
	defer init.close()
	if there, err := init.hasHome(c.Home); err != nil {
		return err
	} else if !there {
		tree, err := init.shiftedCopy(c.Home)
		if err != nil {
			return err
		}
		defer unix.Close(tree)
		onOwnThread(func() { err = init.receive(tree) })
		if err != nil {
			return err
		}
	}
	return r.throttleHome(c)
}

// throttleHome bounds the traffic of the volume's own loop device, as a container that is made with its home has it from the start.
func (r *Runtime) throttleHome(c Container) error {
	device := DeviceOf(c.Home)
	if device == "" || c.Limits.ReadBps == 0 && c.Limits.WriteBps == 0 {
		return nil
	}
	return r.groups.Limit(boxGroup(c.Cgroup), cgroup.Limits{ReadBps: c.Limits.ReadBps, WriteBps: c.Limits.WriteBps, Devices: []string{device}})
}

// Wake tells the init of a warm container that its artist has come (SIGUSR1). Told twice is told once.
func (r *Runtime) Wake(ctx context.Context, id string) error {
	init, err := r.initOf(ctx, id)
	if err == nil {
		err = unix.PidfdSendSignal(init.fd, unix.SIGUSR1, nil, 0)
		init.close()
	}
	if err != nil {
		return fmt.Errorf("waking session %s: %w", id, err)
	}
	return nil
}

// initProcess is a container's init, held by a descriptor that never means another process.
type initProcess struct{ pid, fd int }

func (p initProcess) close() { _ = unix.Close(p.fd) }

// initOf finds the container's init. Containerd is asked again once the process is held: its number cannot have gone to another before
// containerd knew that it had ended.
func (r *Runtime) initOf(ctx context.Context, id string) (initProcess, error) {
	status, err := r.Task(ctx, id)
	if err != nil {
		return initProcess{}, err
	}
	if !status.Running {
		return initProcess{}, errors.New("its container does not run")
	}
	fd, err := unix.PidfdOpen(status.PID, 0)
	if err != nil {
		return initProcess{}, fmt.Errorf("finding the container's init (pid %d): %w", status.PID, err)
	}
	p := initProcess{status.PID, fd}
	again, err := r.Task(ctx, id)
	if err == nil && (!again.Running || again.PID != p.pid) {
		err = errors.New("its container has just ended")
	}
	if err != nil {
		p.close()
		return initProcess{}, err
	}
	return p, nil
}

// alive tells whether what was read by the process's number was the process's.
func (p initProcess) alive() error {
	if err := unix.PidfdSendSignal(p.fd, 0, nil, 0); err != nil {
		return fmt.Errorf("the container's init (pid %d) has ended: %w", p.pid, err)
	}
	return nil
}

// hasHome tells whether the file system that lies at home on the host is mounted as the container's home. The kernel says so, not the
// container.
func (p initProcess) hasHome(home string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(home, &st); err != nil {
		return false, err
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", p.pid))
	if err != nil {
		return false, err
	}
	defer file.Close()
	mounts, err := mountinfo.GetMountsFromReader(file, func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != homeInside, false })
	if err != nil {
		return false, fmt.Errorf("reading the container's mounts: %w", err)
	}
	if err := p.alive(); err != nil {
		return false, err
	}
	for _, m := range mounts { // the home of before is still there, below
		if unix.Mkdev(uint32(m.Major), uint32(m.Minor)) == st.Dev {
			return true, nil
		}
	}
	return false, nil
}

// shiftedCopy is a mount of home that is nowhere yet, whose files belong in the container to whom they belong to on disk.
func (p initProcess) shiftedCopy(home string) (int, error) {
	users, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", p.pid))
	if err != nil {
		return -1, err
	}
	defer users.Close()
	if err := p.alive(); err != nil {
		return -1, err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, home, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return -1, fmt.Errorf("copying its mount: %w", err)
	}
	attr := unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		Propagation: unix.MS_PRIVATE, Userns_fd: uint64(users.Fd()),
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		_ = unix.Close(tree)
		return -1, fmt.Errorf("shifting its owners: %w", err)
	}
	return tree, nil
}

// receive puts the mount over the container's home. It changes the calling thread for good.
func (p initProcess) receive(tree int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its directory cannot enter
		return fmt.Errorf("parting the thread's directory from the process's: %w", err)
	}
	if err := unix.Setns(p.fd, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("entering the container's mount namespace: %w", err)
	}
	at, err := unix.Openat2(unix.AT_FDCWD, homeInside, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return fmt.Errorf("opening %s in the container: %w", homeInside, err)
	}
	defer unix.Close(at)
	if err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("moving the mount to %s in the container: %w", homeInside, err)
	}
	return nil
}
