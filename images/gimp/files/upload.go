package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
)

const (
	// uploadPrefix begins the name of a file that is not all there. All that is known of it is its name and its length, so an upload
	// goes on after this process was killed.
	uploadPrefix = ".easel-upload-"
	// keepUnfinished is how long an upload may rest before its bytes are thrown away.
	keepUnfinished = 24 * time.Hour
	mostUnfinished = 32
	// takeOver is how long a request waits for the one before, of the same upload, to let go.
	takeOver = 5 * time.Second
	// mostNames bounds the search for a name that is free: NAME (2), NAME (3), …
	mostNames = 1000
	// mostRemembered bounds the answers that are kept for who asks for them again.
	mostRemembered = 64
	copyBuffer     = 128 << 10
)

// What can be wrong with an upload, but for the disk.
var (
	errNoUpload = errors.New("there is no such upload: it was finished, cancelled, or left alone for a day")
	errTooMany  = errors.New("too many uploads are unfinished: let some of them end, or cancel them")
	errBusy     = errors.New("another request holds this upload: try again in a moment")
	errFull     = errors.New("the home is full: delete what is not needed any more, then try again")
)

// offsetError says that bytes were sent for another place than where the upload is.
type offsetError struct{ have int64 }

func (e *offsetError) Error() string {
	return fmt.Sprintf("the upload is at byte %d: go on from there", e.have)
}

// uploads are files that come into the home, piece by piece.
type uploads struct {
	tree tree
	mine func(os.FileInfo) // is told of a file before it gets its name

	mu       sync.Mutex
	holders  map[string]*holder
	finished map[string]homefiles.Finished
	order    []string // of finished, oldest first
}

func newUploads(t tree, mine func(os.FileInfo)) *uploads {
	return &uploads{tree: t, mine: mine, holders: map[string]*holder{}, finished: map[string]homefiles.Finished{}}
}

// holder is the one request that may touch an upload.
type holder struct {
	stop func() // makes it let go
	done chan struct{}
}

// hold waits until nobody else holds the upload, having made them let go: whoever asks has heard nothing more of the request before.
func (u *uploads) hold(id string, stop func()) (release func(), err error) {
	if !homefiles.ValidUpload(id) {
		return nil, errNoUpload
	}
	mine := &holder{stop: stop, done: make(chan struct{})}
	late := time.NewTimer(takeOver)
	defer late.Stop()
	for {
		u.mu.Lock()
		before := u.holders[id]
		if before == nil {
			u.holders[id] = mine
			u.mu.Unlock()
			return func() {
				u.mu.Lock()
				delete(u.holders, id)
				u.mu.Unlock()
				close(mine.done)
			}, nil
		}
		u.mu.Unlock()
		before.stop()
		select {
		case <-before.done:
		case <-late.C:
			return nil, errBusy
		}
	}
}

// begin makes room for a file of that size.
func (u *uploads) begin(size int64) (homefiles.Upload, error) {
	unfinished, err := u.sweep(time.Now())
	if err != nil {
		return homefiles.Upload{}, err
	}
	if unfinished >= mostUnfinished {
		return homefiles.Upload{}, errTooMany
	}
	free, err := u.tree.free()
	if err != nil {
		return homefiles.Upload{}, err
	}
	if size > free {
		return homefiles.Upload{}, fmt.Errorf("%w (the file has %d bytes, %d are free)", errFull, size, free)
	}
	id := rand.Text() + "-" + strconv.FormatInt(size, 10)
	f, err := u.tree.open(uploadPath(id), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err != nil {
		return homefiles.Upload{}, diskError(err)
	}
	return homefiles.Upload{ID: id, Size: size}, f.Close()
}

func uploadPath(id string) homefiles.Path { return uploadPrefix + homefiles.Path(id) }

// sizeOf is the size that an upload will have; the id is valid.
func sizeOf(id string) int64 {
	_, digits, _ := strings.Cut(id, "-")
	size, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	return size
}

// openUpload opens what is there of an upload. Its caller holds it.
func (u *uploads) openUpload(id string) (*os.File, homefiles.Upload, error) {
	f, err := u.tree.open(uploadPath(id), unix.O_WRONLY, 0)
	if err != nil {
		return nil, homefiles.Upload{}, errNoUpload
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > sizeOf(id)) {
		err = errNoUpload
	}
	if err != nil {
		f.Close()
		return nil, homefiles.Upload{}, err
	}
	return f, homefiles.Upload{ID: id, Offset: info.Size(), Size: sizeOf(id)}, nil
}

// at is how far an upload is.
func (u *uploads) at(id string) (homefiles.Upload, error) {
	release, err := u.hold(id, func() {})
	if err != nil {
		return homefiles.Upload{}, err
	}
	defer release()
	f, at, err := u.openUpload(id)
	if err != nil {
		return homefiles.Upload{}, err
	}
	return at, f.Close()
}

// write adds length bytes at offset. What came before an error is kept.
func (u *uploads) write(id string, offset, length int64, body io.Reader, stop func()) (homefiles.Upload, error) {
	release, err := u.hold(id, stop)
	if err != nil {
		return homefiles.Upload{}, err
	}
	defer release()
	f, at, err := u.openUpload(id)
	if err != nil {
		return homefiles.Upload{}, err
	}
	defer f.Close()
	if offset != at.Offset || length > at.Size-at.Offset {
		return at, &offsetError{at.Offset}
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return at, diskError(err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(body, length), make([]byte, copyBuffer))
	at.Offset += n
	if err != nil {
		return at, diskError(err)
	}
	if n < length {
		return at, io.ErrUnexpectedEOF
	}
	// The disk begins now, so that the end of a large upload need not wait for all of it.
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
	return at, nil
}

// finish gives a whole upload its name, or one like it that is free, once its bytes are on the disk.
func (u *uploads) finish(id, wanted string) (homefiles.Finished, error) {
	release, err := u.hold(id, func() {})
	if err != nil {
		return homefiles.Finished{}, err
	}
	defer release()
	if done, ok := u.remembered(id); ok {
		return done, nil
	}
	name, err := homefiles.NewName(wanted)
	if err != nil {
		return homefiles.Finished{}, err
	}
	f, at, err := u.openUpload(id)
	if err != nil {
		return homefiles.Finished{}, err
	}
	defer f.Close()
	if at.Offset != at.Size {
		return homefiles.Finished{}, &offsetError{at.Offset}
	}
	if err := f.Sync(); err != nil {
		return homefiles.Finished{}, diskError(err)
	}
	info, err := f.Stat()
	if err != nil {
		return homefiles.Finished{}, diskError(err)
	}
	u.mine(info)
	path, err := u.place(id, name)
	if err != nil {
		return homefiles.Finished{}, err
	}
	done := homefiles.Finished{File: entry(path, info)}
	u.remember(id, done)
	return done, nil
}

// place renames an upload to name, or to one like it, never over a file that is there.
func (u *uploads) place(id, name string) (homefiles.Path, error) {
	dir, err := u.tree.open("", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", diskError(err)
	}
	defer dir.Close()
	for n := 1; n <= mostNames; n++ {
		try := name
		if n > 1 {
			try = homefiles.Fit(name, fmt.Sprintf(" (%d)", n))
		}
		err := unix.Renameat2(int(dir.Fd()), string(uploadPath(id)), int(dir.Fd()), try, unix.RENAME_NOREPLACE)
		if err == nil {
			return homefiles.Path(try), diskError(dir.Sync())
		}
		if !errors.Is(err, unix.EEXIST) {
			return "", diskError(err)
		}
	}
	return "", fmt.Errorf("%d files are called like %q: rename the file, then try again", mostNames, name)
}

func (u *uploads) remembered(id string) (homefiles.Finished, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	done, ok := u.finished[id]
	return done, ok
}

// remember keeps the answer for who did not get it.
func (u *uploads) remember(id string, done homefiles.Finished) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, again := u.finished[id]; !again {
		u.order = append(u.order, id)
	}
	u.finished[id] = done
	if len(u.order) > mostRemembered {
		delete(u.finished, u.order[0])
		u.order = u.order[1:]
	}
}

// cancel throws an upload away.
func (u *uploads) cancel(id string) error {
	release, err := u.hold(id, func() {})
	if err != nil {
		return err
	}
	defer release()
	root, err := u.tree.root()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.Unlinkat(int(root.Fd()), string(uploadPath(id)), 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return diskError(err)
	}
	return nil
}

// sweep throws away uploads that nobody has gone on with, and counts the others.
func (u *uploads) sweep(now time.Time) (unfinished int, err error) {
	dir, err := u.tree.open("", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	for looked := 0; looked < mostLooked; looked += readAtOnce {
		names, err := dir.Readdirnames(readAtOnce)
		for _, name := range names {
			id, ours := strings.CutPrefix(name, uploadPrefix)
			if !ours || !homefiles.ValidUpload(id) {
				continue
			}
			info, ok := statAt(dir, name)
			if ok && now.Sub(info.ModTime()) > keepUnfinished && unix.Unlinkat(int(dir.Fd()), name, 0) == nil {
				continue
			}
			unfinished++
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return unfinished, diskError(err)
		}
	}
	return unfinished, nil
}

// diskError says what a person can do about an error of the home's file system; nil stays nil.
func diskError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return errFull
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EIO):
		return fmt.Errorf("the home's disk does not take it (%w): tell who runs the node", err)
	}
	return err
}
