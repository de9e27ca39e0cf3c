package state

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	easelv1 "easel/pkg/api/easel/v1"
)

// Of three coordinators two are lost for good.
func TestRecoverWithoutAMajority(t *testing.T) {
	c, all := three(t)
	for range 3 {
		if err := add(t.Context(), all[1].Store, "n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range all {
		latest(t, m.Store, "n")
	}
	if _, err := Recover(c.path("a"), "a", 20*time.Millisecond); err == nil {
		t.Error("it recovers beside the daemon")
	}
	for _, m := range all {
		m.end()
	}
	if _, err := Recover(c.path("a"), "other", time.Second); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("under another name: %v", err)
	}
	kept, err := Recover(c.path("a"), "a", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if there, err := exists(kept); !there || err != nil {
		t.Errorf("the folder of before is gone: %v", err)
	}
	first := c.start("a")
	if err := add(t.Context(), first.Store, "n"); err != nil {
		t.Fatal(err)
	}
	if got := count(t, first.Store, "n"); got != 4 || first.Members()[0].Standing != Alone {
		t.Errorf("it counts %d and is %s", got, first.Members()[0].Standing)
	}
	// One of the lost ones is found again, with what it had. Its log must not meet the new one.
	old := c.start("b")
	if err := old.replica.Load().attendAt(first.addr, &easelv1.StateAttendRequest{
		Id: string(old.replica.Load().id), Address: old.addr, Founding: foundingOf(old.db),
	}); err == nil || !strings.Contains(err.Error(), "another founding") {
		t.Errorf("it attends: %v", err)
	}
	if got := first.Members(); got[0].Standing != Alone {
		t.Errorf("the one of before is let in: %+v", got)
	}
	c.join("d")
	c.until("the new founding", func() bool { return len(first.Members()) == 2 })
	if err := old.replica.Load().attendOnce(); err == nil || !strings.Contains(err.Error(), "another founding") {
		t.Errorf("it attends at several: %v", err)
	}
	if conn, err := (network{c, "b"}).Dial(t.Context(), first.addr); err != nil {
		t.Error(err)
	} else {
		_, _ = conn.Write(foundingOf(old.db))
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("its raft is heard: %v", err)
		}
		_ = conn.Close()
	}
	if got := count(t, old.Store, "n"); got != 3 {
		t.Errorf("the old one counts %d", got)
	}
	old.end()
	c.forget("b")
	c.join("b")
	c.voters(3)
	if got := latest(t, c.leader().Store, "n"); got != 4 {
		t.Errorf("the new three count %d", got)
	}
	if _, err := Recover(c.path("none"), "none", time.Second); err == nil || !strings.Contains(err.Error(), "alone already") {
		t.Errorf("one that is alone: %v", err)
	}
}
