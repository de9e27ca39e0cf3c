package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const entries = 500

// database is a closed one with some hundred pages, bytes as they lie in its file.
func database(t *testing.T, o *bbolt.Options) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	for begin := 0; begin < entries; begin += 100 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			if b, err = b.CreateBucketIfNotExists([]byte("inner")); err != nil {
				return err
			}
			for i := begin; i < begin+100; i++ {
				if err := b.Put(fmt.Append(nil, "entry ", i), make([]byte, 400)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, raw []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func count(db *bbolt.DB) (n int, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("b")).Bucket([]byte("inner")).ForEach(func(_, _ []byte) error {
			n++
			return nil
		})
	})
	return n, err
}

// Wherever the file is cut off: it is damaged, and nothing crashes.
func TestCutOff(t *testing.T) {
	for _, size := range []int{0, 4096, 16384} {
		o := &bbolt.Options{PageSize: size}
		raw := database(t, o)
		_, pages, err := described(bytes.NewReader(raw))
		if err != nil || pages == 0 {
			t.Fatalf("%d pages, %v", pages, err)
		}
		if size == 0 {
			size = os.Getpagesize()
		}
		used := int(pages) * size
		for _, length := range []int{1, 100, 4000, size, size + 50, 2*size - 1, 2 * size, 3 * size, used / 2, used - size, used - 1} {
			if _, err := Open(write(t, raw[:length]), o); !errors.Is(err, ErrDamaged) {
				t.Errorf("cut off after %d of %d bytes: %v", length, used, err)
			}
		}
		for _, length := range []int{used, len(raw)} {
			db, err := Open(write(t, raw[:length]), o)
			if err != nil {
				t.Fatalf("whole, %d of %d bytes: %v", length, used, err)
			}
			if n, err := count(db); n != entries || err != nil {
				t.Errorf("%d entries, %v", n, err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// With one of the two descriptions lost the file is still good, and still checked.
func TestOneDescriptionIsLost(t *testing.T) {
	raw := database(t, nil)
	size, pages, err := described(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for lost := range int64(2) {
		hurt := bytes.Clone(raw)
		clear(hurt[lost*size : lost*size+200])
		if _, again, err := described(bytes.NewReader(hurt)); err != nil || again == 0 || again > pages {
			t.Errorf("without description %d: %d pages, %v; want %d at most", lost, again, err, pages)
		}
		db, err := Open(write(t, hurt), nil)
		if err != nil {
			t.Fatalf("without description %d: %v", lost, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if _, err := Open(write(t, hurt[:8*size]), nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("without description %d, cut off: %v", lost, err)
		}
	}
	hurt := bytes.Clone(raw)
	clear(hurt[:2*size])
	if _, err := Open(write(t, hurt), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("without both: %v", err)
	}
}

// A page that is something else: found when the file is opened, not when a request comes to it.
func TestDamagedPage(t *testing.T) {
	raw := database(t, nil)
	size := os.Getpagesize()
	at := bytes.LastIndex(raw, []byte("entry 77")) / size * size
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte(i*7 + i>>8)
	}
	for name, with := range map[string][]byte{"zeroes": make([]byte, size), "noise": noise} {
		hurt := bytes.Clone(raw)
		copy(hurt[at:], with)
		if _, err := Open(write(t, hurt), nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A new file, and one that somebody else holds, are as bbolt has them.
func TestNewAndLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Open(path, &bbolt.Options{Timeout: time.Millisecond}); !errors.Is(err, bolterrors.ErrTimeout) {
		t.Errorf("in use: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, nil); err != nil {
		t.Fatalf("an empty file: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
