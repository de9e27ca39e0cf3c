package gpucard

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// JailCommand is the argument by which the program runs itself as the first process of a jail.
const JailCommand = "jail"

// Users of a jail, as of a session: its root is nobody on the host.
const (
	jailUID   = 10_000_000
	jailUsers = 65536
	artist    = 1000
)

// jail is what the first process is told, on its standard input.
type jail struct {
	Root    string   `json:"root"` // an empty directory
	Binds   []bind   `json:"binds"`
	Program string   `json:"program"`
	Env     []string `json:"env"`
}

// bind is a file or directory of the host in the jail.
type bind struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// runJailed runs a program that sees nothing of the host but the binds and what it and they are linked to, with a user namespace as a session
// has one. It returns what the program printed.
func runJailed(ctx context.Context, program string, binds []bind, env []string) ([]byte, error) {
	libraries, err := linked(ctx, program, binds)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", "easel-gpu-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(root)
	j := jail{Root: root, Program: "/compute", Env: env, Binds: []bind{{program, "/compute"}, {"/sys", "/sys"}}}
	for _, dev := range []string{"/dev/null", "/dev/zero", "/dev/urandom"} {
		j.Binds = append(j.Binds, bind{dev, dev})
	}
	j.Binds = append(append(j.Binds, libraries...), binds...)
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", JailCommand)
	cmd.Stdin = bytes.NewReader(text)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC, Pdeathsig: unix.SIGKILL,
	}
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("it did not end in time: %w", context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(problems.Bytes()))
	}
	return out.Bytes(), nil
}

var sharedObject = regexp.MustCompile(`(/\S+)\s+\(0x[0-9a-f]+\)`)

// linked are the libraries that a program and the driver's own ones are linked to, the loader included, as far as the driver does not bring them:
// those that a session's image has.
func linked(ctx context.Context, program string, driver []bind) (all []bind, err error) {
	files, there := []string{program}, map[string]bool{}
	for _, b := range driver {
		there[b.To] = true
		if f, err := elf.Open(b.From); err == nil {
			if f.Type == elf.ET_DYN {
				files = append(files, b.From)
			}
			f.Close()
		}
	}
	out, err := exec.CommandContext(ctx, "ldd", files...).Output()
	if err != nil {
		return nil, fmt.Errorf("look what %s and the driver are linked to: %w", program, err)
	}
	for _, m := range sharedObject.FindAllStringSubmatch(string(out), -1) {
		if !there[m[1]] {
			there[m[1]] = true
			all = append(all, bind{m[1], m[1]})
		}
	}
	return all, nil
}

// Jail is the first process of a jail: it makes the place, and runs the program there as a user who is nobody outside. When it ends, all in
// the jail does.
func Jail(stdin io.Reader) error {
	var j jail
	if err := json.NewDecoder(stdin).Decode(&j); err != nil {
		return fmt.Errorf("read what the jail is to be: %w", err)
	}
	if err := j.build(); err != nil {
		return fmt.Errorf("make the jail: %w", err)
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: jailUID, Size: jailUsers}}
	cmd := &exec.Cmd{Path: j.Program, Args: []string{j.Program}, Env: j.Env, Stdout: os.Stdout, Stderr: os.Stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: artist, Gid: artist}, Pdeathsig: unix.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run the program: %w", err)
	}
	return nil
}

func (j jail) build() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part from the host's mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", j.Root, "tmpfs", unix.MS_NOSUID, "mode=0755,size=16m"); err != nil {
		return fmt.Errorf("make the root: %w", err)
	}
	for _, b := range j.Binds {
		if err := b.mount(j.Root); err != nil {
			return fmt.Errorf("bring %s in as %s: %w", b.From, b.To, err)
		}
	}
	proc, tmp := filepath.Join(j.Root, "proc"), filepath.Join(j.Root, "tmp")
	if err := errors.Join(os.MkdirAll(proc, 0o755), os.MkdirAll(tmp, 0o755), os.Chown(tmp, jailUID+artist, jailUID+artist)); err != nil {
		return err
	}
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount its /proc: %w", err)
	}
	old := filepath.Join(j.Root, "old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(j.Root, old); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return errors.Join(unix.Chdir("/"), unix.Unmount("/old", unix.MNT_DETACH), os.Remove("/old"))
}

func (b bind) mount(root string) error {
	info, err := os.Stat(b.From)
	if err != nil {
		return err
	}
	to := filepath.Join(root, b.To)
	if info.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return unix.Mount(b.From, to, "", unix.MS_BIND|unix.MS_REC, "")
}

// lastLine is a program's last word, for a report.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
