package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protodelim"

	easelv1 "easel/pkg/api/easel/v1"
)

// dumpFormat is of the dump: a StateDump, then StateRecords in the order of their buckets and keys, each after its length.
const dumpFormat = 1

// maxRecord bounds one message of a dump, in bytes.
const maxRecord = maxChange + maxOutcomes*64

// dump writes the whole state.
func dump(tx *bbolt.Tx, head *easelv1.StateDump, to io.Writer) error {
	w := bufio.NewWriterSize(to, 64<<10)
	if _, err := protodelim.MarshalTo(w, head); err != nil {
		return err
	}
	err := tx.ForEach(func(bucket []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(key, value []byte) error {
			_, err := protodelim.MarshalTo(w, &easelv1.StateRecord{Bucket: bucket, Key: key, Value: value})
			return err
		})
	})
	return errors.Join(err, w.Flush())
}

// load replaces everything in the database by a dump, or changes nothing.
func load(db *bbolt.DB, from io.Reader) (*easelv1.StateDump, error) {
	r, o := bufio.NewReaderSize(from, 64<<10), protodelim.UnmarshalOptions{MaxSize: maxRecord}
	head := &easelv1.StateDump{}
	if err := o.UnmarshalFrom(r, head); err != nil {
		return nil, fmt.Errorf("its head: %w", err)
	}
	if head.GetFormat() != dumpFormat {
		return nil, fmt.Errorf("%w: it has format %d, this coordinator knows %d; run one version on all coordinators", ErrSchema, head.GetFormat(), dumpFormat)
	}
	for _, out := range head.GetOutcomes() {
		if len(out.GetId()) != len(commitID{}) {
			return nil, fmt.Errorf("%w: an outcome's ID has %d bytes", ErrDamaged, len(out.GetId()))
		}
	}
	return head, db.Update(func(tx *bbolt.Tx) error {
		if err := empty(tx); err != nil {
			return err
		}
		var rec easelv1.StateRecord
		for {
			err := o.UnmarshalFrom(r, &rec)
			if errors.Is(err, io.EOF) {
				return checkSchema(tx)
			}
			if err == nil {
				err = store(tx, string(rec.GetBucket()), string(rec.GetKey()), rec.GetValue())
			}
			if err != nil {
				return err
			}
		}
	})
}

func empty(tx *bbolt.Tx) error {
	var names [][]byte
	err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		names = append(names, append([]byte{}, name...))
		return nil
	})
	for _, name := range names {
		err = errors.Join(err, tx.DeleteBucket(name))
	}
	return err
}
