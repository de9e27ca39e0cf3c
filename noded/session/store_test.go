package session

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func openStore(t *testing.T, path string) (*Store, *bbolt.DB) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := NewStore(db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

func putRaw(t *testing.T, db *bbolt.DB, id, data string) {
	t.Helper()
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketSessions).Put([]byte(id), []byte(data)) }); err != nil {
		t.Fatal(err)
	}
}

var writeOld = flag.Bool("write-old-database", false, "write testdata/noded-v1.db anew (only when the format is first fixed)")

// TestOldDatabaseOpens: what an earlier noded wrote, this one carries on.
func TestOldDatabaseOpens(t *testing.T) {
	old := filepath.Join("testdata", "noded-v1.db")
	if *writeOld {
		writeOldDatabase(t, old)
	}
	data, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "noded.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := openStore(t, path)
	all, err := s.List()
	if err != nil || len(all) != 3 {
		t.Fatalf("%d records, %v", len(all), err)
	}
	connected, failed, rising := all[0], all[1], all[2]
	if connected.State != Connected || connected.Wanted != WantRunning || connected.Worker != (Worker{PID: 4242, Start: 99}) ||
		connected.Steps["streamer"] != Done || connected.UDPPort != 50007 || connected.UIDBase != 10_065_536 || connected.WindowMS != 2345 ||
		connected.Limits != (Limits{Memory: 2 << 30, CPUs: 2, PIDs: 512}) || len(connected.Times) != 4 || !connected.holds() {
		t.Errorf("connected: %+v", connected)
	}
	if failed.State != Failed || failed.Reason != "out of paint" || failed.holds() || failed.Wanted != WantEnded {
		t.Errorf("failed: %+v", failed)
	}
	if rising.State != Starting || rising.Steps["container"] != Begun || rising.Steps["home"] != Done {
		t.Errorf("rising: %+v", rising)
	}
}

func writeOldDatabase(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	s, db := openStore(t, path)
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	base := Record{
		User: "ann", Key: "default", Image: "easel.local/gimp:trixie", Class: "none", Wanted: WantRunning, Created: at,
		UIDBase: 10_065_536, UDPPort: 50007, Limits: Limits{Memory: 2 << 30, CPUs: 2, PIDs: 512},
	}
	connected := base
	connected.ID = "saaaaaaaaaaaaaaaa"
	for i, state := range []State{Reserved, Starting, Ready, Connected} {
		if err := connected.enter(state, "", at.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	connected.Steps = map[string]Phase{"dirs": Done, "home": Done, "container": Done, "task": Done, "streamer": Done}
	connected.Worker, connected.InitPID, connected.TaskStarted, connected.WindowMS = Worker{PID: 4242, Start: 99}, 4200, at, 2345
	failed := base
	failed.ID, failed.Created, failed.State, failed.Reason, failed.Wanted, failed.Released = "sbbbbbbbbbbbbbbbb", at.Add(time.Minute), Failed, "out of paint", WantEnded, at.Add(time.Hour)
	rising := base
	rising.ID, rising.Created, rising.State, rising.Steps = "scccccccccccccccc", at.Add(2*time.Minute), Starting, map[string]Phase{"dirs": Done, "home": Done, "container": Begun}
	for _, r := range []Record{connected, failed, rising} {
		if err := s.Change(func([]Record) ([]Record, error) { return []Record{r}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "noded.db")
	_, db := openStore(t, path)
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte("7")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := NewStore(db, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "newer noded") {
		t.Fatalf("error %v", err)
	}
}

// TestOneBadRecordFailsAlone: the others go on, and what the bad one held is taken away.
func TestOneBadRecordFailsAlone(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	bad, _ := n.reserve("ann", "bad")
	good, _ := n.reserve("ann", "good")
	n.untilState(bad.ID, Ready)
	n.untilState(good.ID, Ready)
	n.stop()
	_, db := openStore(t, filepath.Join(h.run, "noded.db"))
	putRaw(t, db, bad.ID, `{"id":"`+bad.ID+`","state":"rea`)
	putRaw(t, db, "rubbish", `{}`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, h, "", nil)
	n.untilReleased(bad.ID)
	n.untilState(good.ID, Ready)
	s, err := n.Get(bad.ID)
	if err != nil || s.State != Failed || !strings.Contains(s.Reason, "could not read") {
		t.Fatalf("%+v, %v", s.Record, err)
	}
	if len(h.boxes) != 1 || len(h.mounts) != 1 || len(h.procs) != 1 {
		t.Fatalf("on the host: %v", h.leftovers())
	}
}

func TestPruneForgetsTheOldAndTheMany(t *testing.T) {
	s, _ := openStore(t, filepath.Join(t.TempDir(), "noded.db"))
	now := time.Now()
	for i := range 10 {
		r := Record{ID: newID(), User: "ann", Key: fmt.Sprint(i), Wanted: WantEnded, State: Stopped, Created: now, Released: now.Add(-time.Duration(i) * time.Hour)}
		if i == 9 {
			r.Wanted, r.State, r.Released = WantRunning, Ready, time.Time{}
		}
		if err := s.Change(func([]Record) ([]Record, error) { return []Record{r}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		before time.Duration
		keep   int
		left   int
	}{{24 * time.Hour, 100, 10}, {5*time.Hour + time.Minute, 100, 7}, {24 * time.Hour, 2, 3}} {
		if err := s.Prune(now.Add(-tc.before), tc.keep); err != nil {
			t.Fatal(err)
		}
		if all, _ := s.List(); len(all) != tc.left {
			t.Errorf("%+v: %d records are left", tc, len(all))
		}
	}
}

func TestUpdateThatFailsWritesNothing(t *testing.T) {
	s, _ := openStore(t, filepath.Join(t.TempDir(), "noded.db"))
	r := Record{ID: newID(), User: "ann", Key: "k", Wanted: WantRunning, State: Reserved}
	if err := s.Change(func([]Record) ([]Record, error) { return []Record{r}, nil }); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("no")
	if _, err := s.Update(r.ID, func(r *Record) error { r.Reason = "x"; return cause }); !errors.Is(err, cause) {
		t.Fatal(err)
	}
	if got, _ := s.Get(r.ID); got.Reason != "" {
		t.Fatal("it wrote")
	}
	if _, err := s.Update("sdddddddddddddddd", func(*Record) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(`{"id":"s","user":"a","state":"ready","wanted":"running"}`)
	f.Add(`{"id":"s","state":"failed","wanted":"ended","steps":{"x":"begun"}}`)
	f.Fuzz(func(t *testing.T, data string) {
		r, err := decodeRecord("s", []byte(data))
		if err == nil && (r.ID != "s" || r.State == "") {
			t.Fatalf("accepted %+v", r)
		}
	})
}
