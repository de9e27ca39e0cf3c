package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func TestFollowerThatLagsGetsASnapshot(t *testing.T) {
	c := newCluster(t)
	c.time.trailing = 4
	first := c.start("a")
	c.join("b")
	lagging := c.join("c")
	c.voters(3)
	if first.Leader() == false {
		first = c.leader()
	}
	if lagging == first {
		t.Fatal("the joining one leads")
	}
	c.isolate("c")
	for range 50 {
		if err := add(t.Context(), first.Store, "n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range c.running() {
		if m != lagging {
			if err := m.replica.Load().raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	begun := lagging.replica.Load().machine.index()
	oldest, err := c.leader().replica.Load().files.logs.FirstIndex()
	if err != nil || oldest <= begun+1 {
		t.Fatalf("the log begins with %d, the lagging one has %d, %v: it needs no snapshot", oldest, begun, err)
	}
	c.isolate()
	c.until("the snapshot", func() bool { return count(t, lagging.Store, "n") == 50 })
	if err := add(t.Context(), lagging.Store, "n"); err != nil {
		t.Fatal(err)
	}
	lagging.end()
	if got := count(t, c.start("c").Store, "n"); got != 51 {
		t.Errorf("after a restart it counts %d", got)
	}
}

// A snapshot carries the outcomes: a commit that is sent again after it is not carried out twice.
func TestSnapshotKeepsOutcomes(t *testing.T) {
	one, two := machineAt(t), machineAt(t)
	commit := &raft.Log{Index: 1, Type: raft.LogCommand, Data: commitOf(t, one, "n")}
	if out := one.Apply(commit).(outcome); out.conflict || out.index != 1 {
		t.Fatalf("the first time: %+v", out)
	}
	snap, err := one.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	file := &memorySink{}
	if err := snap.Persist(file); err != nil {
		t.Fatal(err)
	}
	if err := two.Restore(file); err != nil {
		t.Fatal(err)
	}
	commit.Index = 2
	for _, m := range []*machine{one, two} {
		if out := m.Apply(commit).(outcome); out.conflict || out.index != 1 {
			t.Errorf("sent again: %+v, want what it was at index 1", out)
		}
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a small file system: needs root")
	}
	c := newCluster(t)
	dir := filepath.Dir(c.path("a"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range c.running() {
			m.end()
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	small := c.start("a")
	c.join("b")
	c.join("c")
	c.voters(3)
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	value := make([]byte, 512<<10)
	for i := range 4 { // the two others go on, and who asked the full one gets an answer through them
		err := small.Update(t.Context(), func(tx Tx) error {
			tx.Put("big", fmt.Sprint(i), value)
			return nil
		})
		if err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	if lead := c.leader(); lead == small {
		t.Error("the coordinator with the full disk leads")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := add(t.Context(), small.Store, "n"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestFullDiskAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a small file system: needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(filepath.Join(dir, "coordinator.db"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := add(t.Context(), s, "n"); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	err = s.Update(t.Context(), func(tx Tx) error {
		tx.Put("big", "x", make([]byte, 256<<10))
		return nil
	})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "write to the coordinator's database") {
		t.Errorf("on a full disk: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := add(t.Context(), s, "n"); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if got := count(t, s, "n"); got != 2 {
		t.Errorf("it counts %d", got)
	}
}

// fill leaves no room.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedLog(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"its tail is zeroes": func(t *testing.T, path string) {
			file, last := openAtLastEntry(t, path)
			if _, err := file.WriteAt(make([]byte, 4096), last); err != nil {
				t.Fatal(err)
			}
		},
		"its tail is noise": func(t *testing.T, path string) {
			file, last := openAtLastEntry(t, path)
			noise := make([]byte, 4096)
			for i := range noise {
				noise[i] = byte(i*7 + i>>8)
			}
			if _, err := file.WriteAt(noise, last); err != nil {
				t.Fatal(err)
			}
		},
		"its tail is cut off": func(t *testing.T, path string) {
			file, last := openAtLastEntry(t, path)
			if err := file.Truncate(last); err != nil {
				t.Fatal(err)
			}
		},
		"a bit of the last entry is flipped": func(t *testing.T, path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket(bucketLog)
				k, v := b.Cursor().Last()
				raw := append([]byte{}, v...)
				raw[len(raw)-1] ^= 1
				return b.Put(k, raw)
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		},
		"an entry is missing": func(t *testing.T, path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bbolt.Tx) error {
				c := tx.Bucket(bucketLog).Cursor()
				c.Last()
				c.Prev()
				return c.Delete()
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, all := three(t)
			for i := range 200 {
				err := all[0].Update(t.Context(), func(tx Tx) error {
					tx.Put("b", fmt.Sprint(i), fmt.Appendf(make([]byte, 400), "entry %d.", i))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			hurt := all[2]
			latest(t, hurt.Store, "n")
			hurt.end()
			before, err := os.Stat(c.path("c"))
			if err != nil {
				t.Fatal(err)
			}
			damage(t, filepath.Join(raftDir(c.path("c")), "log.db"))
			_, err = c.tryStart("c", "127.0.0.1:0")
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "coordinator member remove") {
				t.Fatalf("it starts with %v, want an error that says what to do", err)
			}
			if after, err := os.Stat(c.path("c")); err != nil || !os.SameFile(before, after) {
				t.Errorf("the database of before is gone: %v", err)
			}
			c.forget("c") // as the error says
			if got := latest(t, c.join("c").Store, "n"); got != 0 {
				t.Errorf("it counts %d", got)
			}
		})
	}
}

// openAtLastEntry returns where the page with the last change begins.
func openAtLastEntry(t *testing.T, path string) (*os.File, int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(raw, []byte("entry 199."))
	if at < 0 {
		t.Fatal("the last change is not in the log")
	}
	return file, int64(at) &^ 4095
}
