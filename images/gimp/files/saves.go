package files

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
)

const (
	// settle is how long a file must have been left alone to count as saved: an export is written, and then its metadata.
	settle = 400 * time.Millisecond
	// mostPending bounds the files that may be settling, mostOwn those of our own that are known.
	mostPending = 256
	mostOwn     = 256
)

// fileState is a file at one moment of its life.
type fileState struct {
	dev, ino uint64
	modified int64
	size     int64
}

func stateOf(info os.FileInfo) (fileState, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileState{}, false
	}
	return fileState{st.Dev, st.Ino, st.Mtim.Nano(), st.Size}, true
}

// saves notices what is saved in the artist's visible folders, for who asks for it. Nobody watches until somebody asks; and the watch
// begins anew when another home lies there.
type saves struct {
	tree tree
	log  *slog.Logger

	watching sync.Mutex // over the two below; never taken while mu is held
	watch    *watch
	ended    bool

	mu      sync.Mutex
	id      string
	seq     uint64
	recent  []saved // oldest first, at most homefiles.MaxSaved
	changed chan struct{}
	own     []fileState // of files that came as uploads
}

type saved struct {
	seq   uint64
	entry homefiles.Entry
}

func newSaves(t tree, log *slog.Logger) *saves {
	return &saves{tree: t, log: log, id: rand.Text(), changed: make(chan struct{})}
}

// mine takes note of a file that came as an upload, which nobody needs to be offered.
func (s *saves) mine(info os.FileInfo) {
	state, ok := stateOf(info)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own = append(s.own, state); len(s.own) > mostOwn {
		s.own = s.own[1:]
	}
}

// after answers what was saved after number seq of the watch called id: at once when there is something, or as soon as there is, or
// nothing when ctx ends. Who knows no watch hears where it is.
func (s *saves) after(ctx context.Context, id string, seq uint64) (homefiles.Saved, error) {
	if err := s.renew(); err != nil {
		return homefiles.Saved{}, err
	}
	for {
		answer, changed := s.since(id, seq)
		if id != answer.Watch || seq > answer.Seq || len(answer.Files) > 0 {
			return answer, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return answer, nil
		}
	}
}

func (s *saves) since(id string, seq uint64) (homefiles.Saved, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := homefiles.Saved{Watch: s.id, Seq: s.seq, Files: []homefiles.Entry{}}
	if id == s.id {
		for _, r := range s.recent {
			if r.seq > seq {
				answer.Files = append(answer.Files, r.entry)
			}
		}
	}
	return answer, s.changed
}

// renew sees to it that the home of now is watched.
func (s *saves) renew() error {
	root, err := s.tree.root()
	if err != nil {
		return err
	}
	defer root.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return fmt.Errorf("look at the home: %w", err)
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	switch {
	case s.ended:
		return context.Canceled
	case s.watch == nil:
	case s.watch.dev == st.Dev && s.watch.ino == st.Ino && s.watch.alive():
		return nil
	default:
		s.watch.close()
		s.watch = nil
	}
	w, err := startWatch(s.tree, s.settled, s.log)
	if err != nil {
		return err
	}
	w.dev, w.ino = st.Dev, st.Ino
	s.watch = w
	return nil
}

// settled is told of a file that was written and then left alone.
func (s *saves) settled(path homefiles.Path) {
	f, info, err := s.tree.file(path)
	if err != nil {
		return // it was a passing one
	}
	f.Close()
	state, ok := stateOf(info)
	if !ok || info.Size() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.own {
		if o == state {
			return
		}
	}
	e := entry(path, info)
	for i, r := range s.recent { // saved again: told again, once
		if r.entry.ID == e.ID {
			if r.entry == e {
				return
			}
			s.recent = append(s.recent[:i], s.recent[i+1:]...)
			break
		}
	}
	s.seq++
	if s.recent = append(s.recent, saved{s.seq, e}); len(s.recent) > homefiles.MaxSaved {
		s.recent = s.recent[1:]
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// close ends the watch, and waits for it.
func (s *saves) close() {
	s.watching.Lock()
	defer s.watching.Unlock()
	if s.watch != nil {
		s.watch.close()
	}
	s.watch, s.ended = nil, true
}

// offered tells whether a file of that name may be somebody's work: not what programs leave beside it.
func offered(name string) bool {
	return homefiles.Visible(name) && !strings.HasSuffix(name, "~") && !strings.HasSuffix(name, ".tmp") && !strings.HasSuffix(name, ".part")
}
