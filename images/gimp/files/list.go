package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
)

// Bounds of what is looked at for one listing.
const (
	mostLooked  = 20_000 // names
	readAtOnce  = 512
	searchDepth = 8
	// searchTime bounds a search; what was found by then is told.
	searchTime = 3 * time.Second
)

// entry is what is told of a file or folder.
func entry(path homefiles.Path, info os.FileInfo) homefiles.Entry {
	e := homefiles.Entry{ID: path.ID(), Name: homefiles.Readable(path.Name()), Kind: homefiles.File, Size: info.Size(), Modified: info.ModTime().UnixMilli()}
	if info.IsDir() {
		e.Kind, e.Size = homefiles.Folder, 0
	}
	e.Modified = min(max(e.Modified, -homefiles.MaxSize), homefiles.MaxSize)
	return e
}

// look is one listing while it is made: the newest that were seen.
type look struct {
	tree   tree
	looked int
	until  time.Time
	found  []homefiles.Entry
	more   bool
}

// list is the newest entries of a folder.
func (t tree) list(folder homefiles.Path) (homefiles.Listing, error) {
	l := look{tree: t, until: time.Now().Add(searchTime)}
	err := l.folder(folder, func(p homefiles.Path, info os.FileInfo) { l.keep(entry(p, info)) })
	return l.listing(), err
}

// search is the newest files in or below the home whose name has text in it, whatever the case.
func (t tree) search(text string) (homefiles.Listing, error) {
	text = strings.ToLower(text)
	l := look{tree: t, until: time.Now().Add(searchTime)}
	level := []homefiles.Path{""}
	for depth := 0; len(level) > 0 && depth < searchDepth; depth++ {
		var below []homefiles.Path
		for _, folder := range level {
			err := l.folder(folder, func(p homefiles.Path, info os.FileInfo) {
				if info.IsDir() {
					below = append(below, p)
				} else if strings.Contains(strings.ToLower(p.Name()), text) {
					l.keep(entry(p, info))
				}
			})
			if err != nil && folder == "" {
				return homefiles.Listing{}, err
			} // else it went meanwhile, or is closed to the artist
		}
		level = below
	}
	l.more = l.more || len(level) > 0
	return l.listing(), nil
}

// folder tells of every plain file and folder in a folder that the artist is shown, within the look's bounds.
func (l *look) folder(folder homefiles.Path, tell func(homefiles.Path, os.FileInfo)) error {
	dir, err := l.tree.open(folder, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(readAtOnce)
		for _, name := range names {
			if l.looked++; l.looked > mostLooked || time.Now().After(l.until) {
				l.more = true
				return nil
			}
			p := folder.Join(name)
			if !homefiles.Visible(name) || p.Validate() != nil {
				continue
			}
			if info, ok := statAt(dir, name); ok && (info.Mode().IsRegular() || info.IsDir()) {
				tell(p, info)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// keep holds an entry among the newest; half of them are forgotten where they are twice too many.
func (l *look) keep(e homefiles.Entry) {
	if l.found = append(l.found, e); len(l.found) >= 2*homefiles.MaxEntries {
		l.trim()
	}
}

func (l *look) trim() {
	slices.SortFunc(l.found, newestFirst)
	if len(l.found) > homefiles.MaxEntries {
		l.found, l.more = l.found[:homefiles.MaxEntries], true
	}
}

func (l *look) listing() homefiles.Listing {
	l.trim()
	if l.found == nil {
		l.found = []homefiles.Entry{}
	}
	return homefiles.Listing{Entries: l.found, More: l.more}
}

func newestFirst(a, b homefiles.Entry) int {
	if a.Modified != b.Modified {
		if a.Modified > b.Modified {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

// statAt looks at name in dir without following it.
func statAt(dir *os.File, name string) (os.FileInfo, bool) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, false
	}
	return statInfo{name, st}, true
}

// statInfo is an os.FileInfo of a stat by the system's own call, which package os has for paths alone.
type statInfo struct {
	name string
	st   unix.Stat_t
}

func (s statInfo) Name() string       { return s.name }
func (s statInfo) Size() int64        { return s.st.Size }
func (s statInfo) ModTime() time.Time { return time.Unix(s.st.Mtim.Unix()) }
func (s statInfo) IsDir() bool        { return s.st.Mode&unix.S_IFMT == unix.S_IFDIR }
func (s statInfo) Sys() any           { return &s.st }

func (s statInfo) Mode() fs.FileMode {
	switch s.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return fs.FileMode(s.st.Mode & 0o777)
	case unix.S_IFDIR:
		return fs.ModeDir | fs.FileMode(s.st.Mode&0o777)
	}
	return fs.ModeIrregular
}
