package state

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
)

func machineAt(t testing.TB) *machine {
	t.Helper()
	db, err := openDatabase(filepath.Join(t.TempDir(), "state.db"), &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return newMachine(db, slog.New(slog.DiscardHandler), func() {})
}

// commitOf is the log's entry of a change that counts key up.
func commitOf(t testing.TB, m *machine, key string) []byte {
	t.Helper()
	var commit *easelv1.StateCommit
	err := m.db.View(func(tx *bbolt.Tx) (err error) {
		a := newAttempt(tx, true)
		value := a.Get("counters", key)
		a.Put("counters", key, append(value, 'x'))
		commit, err = a.commit()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(commit)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// memorySink is a snapshot's file.
type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

func TestConflicts(t *testing.T) {
	read := func(a *attempt) { _ = a.Get("b", "k") }
	all := func(a *attempt) { _ = a.Each("b", func(string, []byte) error { return nil }) }
	some := func(a *attempt) { _ = a.EachPrefix("b", "p/", func(string, []byte) error { return nil }) }
	put := func(key, value string) func(*attempt) { return func(a *attempt) { a.Put("b", key, []byte(value)) } }
	for name, tt := range map[string]struct {
		read, meanwhile func(*attempt)
		conflict        bool
	}{
		"the key is made":             {read, put("k", "1"), true},
		"the key stays as it is":      {read, put("k", ""), true}, // none is not empty
		"another key is made":         {read, put("l", "1"), false},
		"a key of the bucket is made": {all, put("l", "1"), true},
		"a key of the prefix is made": {some, put("p/1", "1"), true},
		"a key beside the prefix":     {some, put("q", "1"), false},
		"nothing was read":            {func(*attempt) {}, put("k", "1"), false},
		"the old value is put again":  {func(a *attempt) { _ = a.Get("b", "old") }, put("old", "1"), false},
		"a value changes":             {func(a *attempt) { _ = a.Get("b", "old") }, put("old", "2"), true},
		"a value is deleted":          {func(a *attempt) { _ = a.Get("b", "old") }, func(a *attempt) { a.Delete("b", "old") }, true},
		"a value of the prefix":       {some, func(a *attempt) { a.Delete("b", "p/old") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := machineAt(t)
			index := uint64(0)
			entry := func(do func(*attempt)) []byte {
				var raw []byte
				err := m.db.View(func(tx *bbolt.Tx) error {
					a := newAttempt(tx, true)
					do(a)
					c, err := a.commit()
					if err == nil {
						raw, err = proto.Marshal(c)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return raw
			}
			apply := func(raw []byte) outcome {
				index++
				return m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: raw}).(outcome)
			}
			apply(entry(func(a *attempt) { put("old", "1")(a); put("p/old", "1")(a) }))
			ours := entry(func(a *attempt) { tt.read(a); a.Put("out", "k", []byte("ours")) })
			apply(entry(tt.meanwhile))
			if out := apply(ours); out.conflict != tt.conflict {
				t.Errorf("conflict %v, want %v", out.conflict, tt.conflict)
			}
			_ = m.db.View(func(tx *bbolt.Tx) error {
				if got := lookup(tx, "out", "k"); (got == nil) != tt.conflict {
					t.Errorf("it wrote %q", got)
				}
				return nil
			})
		})
	}
}

func TestOutcomesAreBounded(t *testing.T) {
	o := newOutcomes()
	for i := range 3 * maxOutcomes {
		o.add(outcome{id: commitID{byte(i), byte(i >> 8), byte(i >> 16)}, index: uint64(i)})
	}
	list := o.list()
	if len(o.byID) != maxOutcomes || len(list) != maxOutcomes || list[0].GetIndex() != 2*maxOutcomes || list[maxOutcomes-1].GetIndex() != 3*maxOutcomes-1 {
		t.Errorf("%d kept, %d listed, from %d to %d", len(o.byID), len(list), list[0].GetIndex(), list[len(list)-1].GetIndex())
	}
}

// Whatever the log holds, every coordinator does the same with it, and none ends.
func FuzzEntry(f *testing.F) {
	m := machineAt(f)
	f.Add(commitOf(f, m, "n"))
	f.Add([]byte{})
	bad, err := proto.Marshal(&easelv1.StateCommit{Id: make([]byte, 16), Writes: []*easelv1.StateWrite{{Bucket: []byte(bucketRevisions), Key: []byte("x")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bad)
	f.Fuzz(func(t *testing.T, raw []byte) {
		one, two := machineAt(t), machineAt(t)
		for _, m := range []*machine{one, two} {
			m.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: raw})
			m.Apply(&raft.Log{Index: 2, Type: raft.LogCommand, Data: raw})
		}
		if !bytes.Equal(dumped(t, one), dumped(t, two)) {
			t.Error("two coordinators differ")
		}
	})
}

func dumped(t *testing.T, m *machine) []byte {
	t.Helper()
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var sink memorySink
	if err := snap.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	return sink.Bytes()
}

// A snapshot comes from another coordinator; one that is broken changes nothing.
func FuzzLoad(f *testing.F) {
	m := machineAt(f)
	m.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: commitOf(f, m, "n")})
	snap, err := m.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	var sink memorySink
	if err := snap.Persist(&sink); err != nil {
		f.Fatal(err)
	}
	snap.Release()
	f.Add(sink.Bytes())
	f.Add(sink.Bytes()[:sink.Len()-3])
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := machineAt(t)
		m.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: commitOf(t, m, "before")})
		before := dumped(t, m)
		if _, err := load(m.db, bytes.NewReader(raw)); err != nil && !bytes.Equal(before, dumped(t, m)) {
			t.Error("a broken snapshot changed the state")
		}
	})
}
