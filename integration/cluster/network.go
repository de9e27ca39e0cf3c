package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// netnsPrefix is what the names of all this package's network namespaces begin with; they are the same in every run, so that a run
// finds what a killed one left.
const netnsPrefix = "easel-c-"

// lan is the namespace that holds the bridge between all members; it has no address.
const lan = netnsPrefix + "lan"

// place is one machine of the cluster as the network sees it: a namespace with one interface on the bridge.
type place struct {
	name string // of the member
	ip   string
	ns   *os.File
}

func (p *place) netns() string { return netnsPrefix + p.name }

// newNetwork makes the bridge.
func newNetwork(ctx context.Context) error {
	return errors.Join(
		ip(ctx, "netns", "add", lan),
		ip(ctx, "-n", lan, "link", "add", "bridge", "type", "bridge"),
		ip(ctx, "-n", lan, "link", "set", "bridge", "up"),
	)
}

// newPlace makes a namespace and connects it to the bridge.
func newPlace(ctx context.Context, name, address string) (*place, error) {
	p := &place{name: name, ip: address}
	for _, args := range [][]string{
		{"netns", "add", p.netns()},
		{"-n", p.netns(), "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", lan},
		{"-n", lan, "link", "set", name, "master", "bridge", "up"},
		{"-n", p.netns(), "addr", "add", address + "/24", "dev", "eth0"},
		{"-n", p.netns(), "link", "set", "lo", "up"},
		{"-n", p.netns(), "link", "set", "eth0", "up"},
	} {
		if err := ip(ctx, args...); err != nil {
			return nil, err
		}
	}
	var err error
	p.ns, err = os.Open("/run/netns/" + p.netns())
	return p, err
}

func ip(ctx context.Context, args ...string) error { return command(ctx, "ip", args...) }

// commandLimit bounds what a tool of the host may take.
const commandLimit = 20 * time.Second

func command(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// inside runs f on a thread that is in the place's namespace: sockets made and processes started by f belong there.
func (p *place) inside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer home.Close()
		if err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter the network of %s: %w", p.name, err)
			return
		}
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		result <- err
	}()
	return <-result
}

// dial connects from the place. The address must be numeric: a name would be looked up on another thread.
func (p *place) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = p.inside(func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// listenUDP opens a UDP socket on the place's address.
func (p *place) listenUDP() (c *net.UDPConn, err error) {
	err = p.inside(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(p.ip)})
		return err
	})
	return c, err
}

// nftTable holds all rules of this package, in the namespace of the member that they are about.
const nftTable = "easel"

// rules says what the member's network does to its packets: all from and to some addresses are lost, and of all others some.
type rules struct {
	cut  []string
	loss int // per cent of what arrives
}

// filter replaces the rules of a place.
func (p *place) filter(ctx context.Context, r rules) error {
	var in, out strings.Builder
	for _, address := range r.cut {
		fmt.Fprintf(&in, "ip saddr %s drop\n", address)
		fmt.Fprintf(&out, "ip daddr %s drop\n", address)
	}
	if r.loss > 0 {
		fmt.Fprintf(&in, "iifname eth0 numgen random mod 100 < %d drop\n", r.loss)
	}
	// The table is made if it is not there, and replaced, in one transaction.
	text := fmt.Sprintf("table inet %[1]s {}\ndelete table inet %[1]s\ntable inet %[1]s {\nchain in {\ntype filter hook input priority 0\n%[2]s}\nchain out {\ntype filter hook output priority 0\n%[3]s}\n}\n",
		nftTable, in.String(), out.String())
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", p.netns(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set the packet filter of %s: %w: %s", p.name, err, said)
	}
	return nil
}

// removeNetwork ends every process that is left in our namespaces and removes them.
func removeNetwork(ctx context.Context) error {
	names, err := filepath.Glob("/run/netns/" + netnsPrefix + "*")
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range names {
		name := filepath.Base(file)
		errs = append(errs, emptyNetns(ctx, name))
		if err := ip(ctx, "netns", "del", name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// emptyNetns kills what runs in a namespace and waits until nothing does.
func emptyNetns(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	for {
		pids := inNetns(ctx, name)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v in the network namespace %s do not end", pids, name)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// inNetns lists the processes in a namespace.
func inNetns(ctx context.Context, name string) []int {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", name).Output()
	if err != nil {
		return nil
	}
	var pids []int
	for _, field := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
