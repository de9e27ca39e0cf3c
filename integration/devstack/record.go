package devstack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// record is what a stack leaves behind for the next one, in the lock file of its containerd root: enough to find all that it
// started if it was killed.
type record struct {
	// Owner is the process that holds, or held, the lock.
	Owner int `json:"owner"`
	// Dir is empty when the stack ended cleanly.
	Dir       string    `json:"dir"`
	RunDir    string    `json:"run_dir"`
	Cgroup    string    `json:"cgroup"`
	Processes []started `json:"processes"`
}

// started names a process so that its number's next user is not taken for it.
type started struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// lock is an exclusive lock with a record in it. The kernel drops the lock when its holder dies, and the record stays.
type lock struct {
	file *os.File
	rec  record
}

// ErrInUse says that another stack uses the same directory.
var ErrInUse = errors.New("in use by another Easel stack")

// acquire takes the lock at path. previous is the record that a stack which was killed left there.
func acquire(path string) (l *lock, previous record, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, record{}, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, record{}, err
	}
	lockErr := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	text, readErr := os.ReadFile(path)
	if len(bytes.TrimSpace(text)) > 0 && readErr == nil {
		readErr = json.Unmarshal(text, &previous)
	}
	switch {
	case errors.Is(lockErr, syscall.EWOULDBLOCK):
		f.Close()
		return nil, previous, fmt.Errorf("%w: process %d holds %s for the stack in %s; end that one (make stop ends a development machine), or give this one its own EASEL_CACHE",
			ErrInUse, previous.Owner, path, previous.Dir)
	case lockErr != nil:
		f.Close()
		return nil, record{}, fmt.Errorf("lock %s: %w", path, lockErr)
	case readErr != nil:
		f.Close()
		return nil, record{}, fmt.Errorf("read what the last stack left in %s: %w; if no Easel runs on this machine, remove that file", path, readErr)
	}
	return &lock{file: f}, previous, nil
}

// write replaces the record. It is written in place: the lock lies on this file, so it cannot be replaced by another.
func (l *lock) write(rec record) error {
	rec.Owner = os.Getpid()
	text, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(append(text, '\n'), 0); err != nil {
		return err
	}
	l.rec = rec
	return l.file.Sync()
}

// release gives the lock back.
func (l *lock) release() error { return l.file.Close() }

// startTime is field 22 of /proc/PID/stat: clock ticks from boot to the process's start. See proc_pid_stat(5).
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in field 2 may hold anything, so count from its closing bracket.
	_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat is not as proc(5) says", pid)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// alive says whether the process that was recorded still runs; a number used again by another process is not it.
func (s started) alive() bool {
	now, err := startTime(s.PID)
	return err == nil && now == s.Start
}
