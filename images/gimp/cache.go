package gimp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// cache keeps what each step made below one directory, named by the content of the step's inputs.
type cache struct{ dir string }

// stepVersions are raised when the code of a step changes what it makes of the same inputs.
var stepVersions = map[string]int{"base": 3, "toolchain": 2, "pen": 2, "vnc": 1, "profile": 3, "files": 2}

// key names a step's inputs. Their JSON is hashed, so every field that matters must be in it.
func key(step string, inputs any) (string, error) {
	text, err := json.Marshal(map[string]any{"version": stepVersions[step], "inputs": inputs})
	if err != nil {
		return "", fmt.Errorf("name the inputs of %s: %w", step, err)
	}
	return step + "-" + digest.FromBytes(text).Encoded()[:20], nil
}

func (c cache) path(name string, more ...string) string {
	return filepath.Join(append([]string{c.dir, name}, more...)...)
}

// metaFile stands in a finished step's directory and holds its result.
const metaFile = "meta.json"

// load reads the finished step's result; ok is false when there is none.
func (c cache) load(name string, meta any) (ok bool, err error) {
	text, err := os.ReadFile(c.path(name, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read image cache: %w", err)
	}
	if err := json.Unmarshal(text, meta); err != nil {
		return false, nil // a damaged entry is made anew
	}
	now := time.Now()
	if err := os.Chtimes(c.path(name, metaFile), now, now); err != nil { // for prune
		return false, fmt.Errorf("mark image cache entry as used: %w", err)
	}
	return true, nil
}

// cacheAge is how long a step's result is kept after its last use.
const cacheAge = 14 * 24 * time.Hour

// prune removes results that were last used before.
func (c cache) prune(before time.Time) error {
	metas, err := filepath.Glob(c.path("*-*", metaFile))
	if err != nil {
		return err
	}
	for _, meta := range metas {
		info, err := os.Stat(meta)
		if err != nil {
			return fmt.Errorf("look through image cache: %w", err)
		}
		if info.ModTime().Before(before) {
			if err := os.RemoveAll(filepath.Dir(meta)); err != nil {
				return fmt.Errorf("remove old image cache entry: %w", err)
			}
		}
	}
	return nil
}

// commit puts the directory tmp, whole, in the place of the step's result.
func (c cache) commit(tmp, name string, meta any) error {
	text, err := json.MarshalIndent(meta, "", "\t")
	if err != nil {
		return fmt.Errorf("record %s in image cache: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(tmp, metaFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("record %s in image cache: %w", name, err)
	}
	if err := os.RemoveAll(c.path(name)); err != nil {
		return fmt.Errorf("replace %s in image cache: %w", name, err)
	}
	if err := os.Rename(tmp, c.path(name)); err != nil {
		return fmt.Errorf("record %s in image cache: %w", name, err)
	}
	return nil
}

// lock waits until no other build uses the cache; unlock gives it back. The kernel gives it back for a killed process.
func (c cache) lock(ctx context.Context, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(c.path("lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock image cache: %w", err)
	}
	told := false
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock image cache %s: %w", f.Name(), err)
		}
		if !told {
			waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another image build: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
