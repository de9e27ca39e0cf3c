// Package statetest is coordinators that share one state, over mutual TLS on loopback, for tests.
package statetest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"easel/coordinator/state"
	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
)

// heartbeat is for coordinators of one machine.
const heartbeat = 200 * time.Millisecond

// Coordinator is one of them.
type Coordinator struct {
	*state.Store
	Name    string
	Member  *identity.Member
	Cluster *identitytest.Cluster

	t      testing.TB
	dir    string
	addr   string
	seeds  func() []string
	server *http.Server
	served sync.WaitGroup
	ended  bool
}

// Start starts n coordinators, 1, 3 or 5, and returns when all of them have a vote. They end with the test.
func Start(t testing.TB, n int) []*Coordinator {
	t.Helper()
	cluster, dir := identitytest.New(t), t.TempDir()
	var all []*Coordinator
	var mu sync.Mutex
	seeds := func() (addrs []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range all {
			addrs = append(addrs, c.addr)
		}
		return addrs
	}
	for i := range n {
		name := fmt.Sprintf("coordinator-%d", i+1)
		c := &Coordinator{
			Name: name, Member: cluster.Member(identity.RoleCoordinator, name), Cluster: cluster,
			t: t, dir: filepath.Join(dir, name), addr: "127.0.0.1:0", seeds: seeds,
		}
		err := os.Mkdir(c.dir, 0o700)
		if err == nil && i > 0 {
			err = state.Follow(c.path(), name)
		}
		if err == nil {
			err = c.Restart()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.End)
		mu.Lock()
		all = append(all, c)
		mu.Unlock()
	}
	for _, c := range all {
		c.await(n)
	}
	return all
}

func (c *Coordinator) path() string { return filepath.Join(c.dir, "coordinator.db") }

// Restart starts a coordinator that has ended, at its address of before.
func (c *Coordinator) Restart() error {
	l, err := net.Listen("tcp", c.addr)
	if err != nil {
		return err
	}
	c.addr = l.Addr().String()
	log := slog.New(slog.DiscardHandler)
	c.Store, err = state.Start(state.Config{
		Path: c.path(), Patience: time.Second, Name: c.Name, Address: c.addr, Network: state.OverTLS(c.Member), Seeds: c.seeds,
		Heartbeat: heartbeat, Log: log,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	c.server = &http.Server{Handler: mux, TLSConfig: c.Member.JoinTLS(state.Protocol), TLSNextProto: c.Handle(mux, c.Member), Protocols: new(http.Protocols)}
	c.server.Protocols.SetHTTP1(true)
	c.server.Protocols.SetHTTP2(true)
	c.server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	c.served.Go(func() { _ = c.server.ServeTLS(c.Member.Listen(l), "", "") })
	c.ended = false
	return nil
}

// End ends a coordinator as its daemon does; once more is nothing.
func (c *Coordinator) End() {
	if c.ended {
		return
	}
	c.ended = true
	c.Resign()
	c.EndStreams()
	_ = c.server.Close()
	c.served.Wait()
	if err := c.Close(); err != nil {
		c.t.Errorf("end %s: %v", c.Name, err)
	}
}

// await returns when this coordinator knows of n that have a vote, and who leads.
func (c *Coordinator) await(n int) {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		changed, leads, voters := c.Changed(), false, 0
		for _, m := range c.Members() {
			leads = leads || m.Standing == state.Leads || m.Standing == state.Alone
			if m.Standing != state.Copies {
				voters++
			}
		}
		if leads && voters == n {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s knows %+v", c.Name, c.Members())
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond): // a vote is no change of the state
		}
	}
}
