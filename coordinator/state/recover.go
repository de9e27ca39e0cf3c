package state

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// Recover makes a coordinator that was one of several alone again, with the state as its own files have it. It is for when the
// majority is lost for good, so that nothing can be agreed on any more: what the others had and this one did not is gone. The
// daemon must not run. It may be repeated. It returns where raft's folder went.
func Recover(path, name string, patience time.Duration) (kept string, err error) {
	dir := raftDir(path)
	replicated, err := exists(dir)
	if err == nil && !replicated {
		err = errors.New("this coordinator is alone already")
	}
	if err != nil {
		return "", fmt.Errorf("recover the state: %w", err)
	}
	if _, err := readID(dir, name); err != nil {
		return "", fmt.Errorf("recover the state: %w", err)
	}
	fresh := path + ".new"
	if err := restoreTo(fresh, dir, patience); err != nil {
		return "", fmt.Errorf("recover the state: %w", err)
	}
	kept = dir + "." + time.Now().UTC().Format("20060102T150405Z")
	// Until the folder is out of the way, it counts.
	if err := errors.Join(os.Rename(fresh, path), syncDir(filepath.Dir(path))); err != nil {
		return "", fmt.Errorf("recover the state: %w", err)
	}
	if err := errors.Join(os.Rename(dir, kept), syncDir(filepath.Dir(path))); err != nil {
		return "", fmt.Errorf("recover the state: %w", err)
	}
	return kept, nil
}

// restoreTo writes everything that is in raft's folder to a database, entries included that a majority may never have had: each
// was a wish of somebody's, and nobody is left who could say that it was not fulfilled.
func restoreTo(path, dir string, patience time.Duration) (err error) {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	files, err := openRaftFiles(dir, patience, slog.New(slog.DiscardHandler), func() uint64 { return 0 })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.close()) }()
	db, err := openDatabase(path, &bbolt.Options{Timeout: patience})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	last, err := files.logs.LastIndex()
	if err != nil {
		return err
	}
	m := newMachine(db, slog.New(slog.DiscardHandler), func() {})
	if err := replayTo(m, files, last); err != nil {
		return err
	}
	if m.applied == 0 {
		return errors.New("there is nothing in it: this coordinator never got the state")
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for _, own := range []string{bucketRevisions, bucketOwn} { // of the founding that ends here
			if tx.Bucket([]byte(own)) != nil {
				if err := tx.DeleteBucket([]byte(own)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
