package state

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// envCoordinator makes the test's binary a coordinator that may be killed: "NAME DIR LISTEN join|alone PEERS".
const envCoordinator = "EASEL_TEST_COORDINATOR"

func TestMain(m *testing.M) {
	if as := os.Getenv(envCoordinator); as != "" {
		os.Exit(beCoordinator(strings.Fields(as)))
	}
	os.Exit(m.Run())
}

// beCoordinator counts its own counter up, and tells of each success, until its input ends.
func beCoordinator(as []string) int {
	name, dir, listen, how, peers := as[0], as[1], as[2], as[3], strings.Split(as[4], ",")
	c := &cluster{dir: dir, time: quick, peers: peers, all: map[string]*coordinator{}, cut: map[string]bool{}, open: map[net.Conn]string{}}
	c.time.snapshotEvery, c.time.snapshotThreshold, c.time.trailing = 50*time.Millisecond, 64, 16
	if how == "join" {
		if err := os.MkdirAll(dir+"/"+name, 0o700); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := Follow(c.path(name), name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	m, err := c.tryStart(name, listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // the test has ended, somehow
		os.Exit(0)
	}()
	for {
		if err := add(context.Background(), m.Store, name); err != nil {
			fmt.Println("failed:", err)
			continue
		}
		fmt.Println("added")
	}
}

// child is a coordinator in a process of its own.
type child struct {
	t     *testing.T
	as    string
	cmd   *exec.Cmd
	wg    sync.WaitGroup
	added atomic.Int64 // in all its lives
	lives int64
	stdin *os.File
}

func (p *child) start() {
	p.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.stdin = w
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), envCoordinator+"="+p.as)
	p.cmd.Stdin, p.cmd.Stderr = r, os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	_ = r.Close()
	p.lives++
	p.wg.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if lines.Text() == "added" {
				p.added.Add(1)
			} else {
				p.t.Errorf("%s: %s", p.as, lines.Text())
			}
		}
	})
}

func (p *child) kill() {
	_ = p.cmd.Process.Kill()
	p.wg.Wait()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

// Coordinators are killed at any moment, also while they become several and while they write snapshots: what they had said is
// done stays, what they had not is done once or not at all, and nobody who asks one that lives is refused.
func TestKilledCoordinators(t *testing.T) {
	dir := t.TempDir()
	addrs, names := freeAddresses(t, 3), []string{"a", "b", "c"}
	var all []*child
	for i, name := range names {
		how := "join"
		if i == 0 {
			how = "alone"
		}
		p := &child{t: t, as: fmt.Sprint(name, " ", dir, " ", addrs[i], " ", how, " ", strings.Join(addrs, ","))}
		all = append(all, p)
	}
	more := func(p *child, n int64) {
		t.Helper()
		begun, deadline := p.added.Load(), time.Now().Add(30*time.Second)
		for p.added.Load() < begun+n {
			if time.Now().After(deadline) {
				t.Fatalf("%s makes no changes", p.as)
			}
			time.Sleep(time.Millisecond)
		}
	}
	all[0].start()
	t.Cleanup(func() {
		for _, p := range all {
			if p.cmd != nil {
				p.kill()
			}
		}
	})
	more(all[0], 5)
	all[1].start()
	all[2].start()
	for range 4 { // somewhere in its growth
		time.Sleep(rand.N(150 * time.Millisecond))
		all[0].kill()
		all[0].start()
	}
	for _, p := range all {
		more(p, 5)
	}
	for range 8 {
		victim := rand.IntN(3)
		all[victim].kill()
		for i, p := range all {
			if i != victim {
				more(p, 3)
			}
		}
		all[victim].start()
		more(all[victim], 1)
	}
	for _, p := range all {
		p.kill()
	}
	c := newCluster(t)
	c.dir, c.peers = dir, addrs
	for i, name := range names {
		if _, err := c.tryStart(name, addrs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range c.running() {
		for i, p := range all {
			p.cmd = nil
			got := int64(latest(t, m.Store, names[i]))
			if said := p.added.Load(); got < said || got > said+p.lives {
				t.Errorf("%s has %d changes by %s, who told of %d in %d lives", m.name, got, names[i], said, p.lives)
			}
		}
	}
}

// freeAddresses are below the ports that connections get by themselves, so that they are free again after a kill.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for tries := 0; len(all) < n; tries++ {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 15000+rand.IntN(15000)))
		if err == nil {
			defer l.Close()
			all = append(all, l.Addr().String())
		} else if tries > 100 {
			t.Fatal(err)
		}
	}
	return all
}
