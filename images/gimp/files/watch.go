package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
)

// Bounds of a watch.
const (
	mostFolders = 256
	watchDepth  = 5
)

const (
	folderEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_CREATE
	folderFlags  = unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK
)

// watch follows the visible folders of one home by inotify, and tells of each file that was written and then left alone.
type watch struct {
	tree     tree
	settled  func(homefiles.Path)
	log      *slog.Logger
	dev, ino uint64 // of the home

	inotify *os.File
	folders map[int32]homefiles.Path // by watch descriptor; the reader's alone
	broken  atomic.Bool
	done    sync.WaitGroup
	written chan homefiles.Path
	stop    chan struct{}
}

func startWatch(t tree, settled func(homefiles.Path), log *slog.Logger) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch the home: %w", err)
	}
	w := &watch{
		tree: t, settled: settled, log: log, inotify: os.NewFile(uintptr(fd), "inotify"), folders: map[int32]homefiles.Path{},
		written: make(chan homefiles.Path, mostPending), stop: make(chan struct{}),
	}
	if err := w.add(""); err != nil {
		w.inotify.Close()
		return nil, fmt.Errorf("watch the home: %w", err)
	}
	w.addBelow("")
	w.done.Go(w.read)
	w.done.Go(w.wait)
	return w, nil
}

func (w *watch) alive() bool { return !w.broken.Load() }

func (w *watch) close() {
	close(w.stop)
	w.inotify.Close()
	w.done.Wait()
}

// add watches one folder. It is opened without following a link, and watched by its descriptor.
func (w *watch) add(folder homefiles.Path) error {
	if len(w.folders) >= mostFolders || strings.Count(string(folder), "/") >= watchDepth {
		return nil
	}
	dir, err := w.tree.open(folder, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	// Through /proc the name is a link, which is ours.
	wd, err := unix.InotifyAddWatch(w.fd(), fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), folderEvents|folderFlags&^unix.IN_DONT_FOLLOW)
	if err != nil {
		return err
	}
	w.folders[int32(wd)] = folder
	return nil
}

func (w *watch) fd() int {
	// Fd would make reads block for good; the raw connection leaves the descriptor as it is.
	fd := -1
	raw, err := w.inotify.SyscallConn()
	if err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// addBelow watches what lies below a folder, as far as there is room.
func (w *watch) addBelow(folder homefiles.Path) {
	l := look{tree: w.tree, until: time.Now().Add(searchTime)}
	level := []homefiles.Path{folder}
	for depth := 0; len(level) > 0 && depth < watchDepth; depth++ {
		var below []homefiles.Path
		for _, f := range level {
			_ = l.folder(f, func(p homefiles.Path, info os.FileInfo) { // what went meanwhile needs no watch
				if info.IsDir() && len(w.folders) < mostFolders && w.add(p) == nil {
					below = append(below, p)
				}
			})
		}
		level = below
	}
}

// read takes events until the watch is closed.
func (w *watch) read() {
	defer w.broken.Store(true)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.inotify.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.log.Warn("the watch of the home ended", "error", err)
			}
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if end > len(b) {
				break
			}
			name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			w.event(int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), name)
			b = b[end:]
		}
	}
}

func (w *watch) event(wd int32, mask uint32, name string) {
	folder, known := w.folders[wd]
	switch {
	case mask&unix.IN_IGNORED != 0:
		delete(w.folders, wd) // the folder went
	case !known || !homefiles.Visible(name):
	case mask&unix.IN_ISDIR != 0:
		// What was put into it before it was watched is not told of: it came from elsewhere.
		if p := folder.Join(name); p.Validate() == nil && w.add(p) == nil {
			w.addBelow(p)
		}
	case mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0 && offered(name):
		select {
		case w.written <- folder.Join(name):
		case <-w.stop:
		default: // somebody writes very many files: that is no artist
		}
	}
}

// wait lets files settle.
func (w *watch) wait() {
	pending := map[homefiles.Path]time.Time{}
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case p := <-w.written:
			if _, known := pending[p]; known || len(pending) < mostPending {
				pending[p] = time.Now().Add(settle)
			}
		case <-tick.C:
		}
		now, next := time.Now(), time.Duration(0)
		for p, at := range pending {
			if left := at.Sub(now); left > 0 {
				if next == 0 || left < next {
					next = left
				}
				continue
			}
			delete(pending, p)
			w.settled(p)
		}
		if next > 0 {
			tick.Reset(next)
		}
	}
}
