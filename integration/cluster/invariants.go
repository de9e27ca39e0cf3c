package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	easelv1 "easel/pkg/api/easel/v1"
)

// settleLimit is how long what a fault has stirred up may take to settle: a node's keeper backs off for up to 15 s.
const settleLimit = 45 * time.Second

// settleTwins is how long a session that a node brought to life too late may stand beside its successor: the leading coordinator looks
// every ten seconds.
const settleTwins = 20 * time.Second

// CheckTwins waits until one user's key has one living session over all nodes, and says which have more.
func (c *Cluster) CheckTwins(ctx context.Context) error {
	return eventually(ctx, settleTwins, "no session lives twice", func() error { return c.twins(ctx) })
}

func (c *Cluster) twins(ctx context.Context) error {
	where := map[string][]string{}
	for _, n := range c.Nodes {
		if n.Noded.PID() == 0 {
			continue
		}
		sessions, err := n.Sessions(ctx)
		if err != nil {
			return err
		}
		for _, s := range sessions {
			if living(s) && s.GetUser() != "" {
				of := s.GetUser() + "/" + s.GetKey()
				where[of] = append(where[of], n.name+" has "+s.GetId())
			}
		}
	}
	var errs []error
	for _, of := range slices.Sorted(maps.Keys(where)) {
		if len(where[of]) > 1 {
			errs = append(errs, fmt.Errorf("the session %s lives twice: %s", of, strings.Join(where[of], ", ")))
		}
	}
	return errors.Join(errs...)
}

// CheckLeaks waits until what each node has on its machine is what its sessions need, and says what is too much or too little.
func (c *Cluster) CheckLeaks(ctx context.Context) error {
	var errs []error
	for _, n := range c.Nodes {
		if n.Noded.PID() == 0 {
			continue
		}
		errs = append(errs, eventually(ctx, settleLimit, n.name+" holds what its sessions need and nothing else", func() error { return n.checkLeaks(ctx) }))
	}
	return errors.Join(errs...)
}

func (n *Node) checkLeaks(ctx context.Context) error {
	sessions, err := n.Sessions(ctx)
	if err != nil {
		return err
	}
	var errs []error
	byID := map[string]*easelv1.Session{}
	users := map[string]bool{}
	ports := map[string]bool{}
	for _, s := range sessions {
		switch {
		case s.GetState() == easelv1.State_STATE_STOPPING:
			errs = append(errs, fmt.Errorf("%s is still stopping", s.GetId()))
		case living(s):
			byID[s.GetId()], users[s.GetUser()] = s, true
			ports[strconv.Itoa(int(s.GetUdpPort()))] = true
		}
	}
	held, err := n.holdings(ctx)
	if err != nil {
		return err
	}
	for kind, known := range map[string]func(string) bool{
		"home on a loop device": func(user string) bool { return users[user] },
		"media port":            func(port string) bool { return ports[port] },
		"lease":                 func(string) bool { return false },
	} {
		for _, name := range held[kind] {
			if !known(name) {
				errs = append(errs, fmt.Errorf("%s %s belongs to no session", kind, name))
			}
		}
		delete(held, kind)
	}
	for kind, ids := range held {
		for _, id := range ids {
			if byID[id] == nil {
				errs = append(errs, fmt.Errorf("%s of %s, which is no living session", kind, id))
			}
		}
		for id, s := range byID {
			if settled(s) && !slices.Contains(ids, id) {
				errs = append(errs, fmt.Errorf("the session %s (%v) has no %s", id, s.GetState(), kind))
			}
		}
	}
	return errors.Join(errs...)
}

// settled says whether a session is all made.
func settled(s *easelv1.Session) bool {
	switch s.GetState() {
	case easelv1.State_STATE_READY, easelv1.State_STATE_CONNECTED, easelv1.State_STATE_DETACHED:
		return true
	}
	return false
}

// holdings lists what sessions have on a node's machine, from the kernel's and containerd's own lists: the sessions' IDs by the kind of
// thing, and for some kinds the things' own names.
func (n *Node) holdings(ctx context.Context) (map[string][]string, error) {
	d := n.place()
	held := map[string][]string{"run directory": bases(d.RunDir + "/noded/s/*"), "cgroup": nil, "streamer": nil, "shim": nil, "home mount": nil}
	// A containerd that is killed while it removes one leaves it under a hidden name, for the machine's next start.
	held["bundle"] = bases(d.RunDir + "/containerd/io.containerd.runtime.v2.task/*/[^.]*")
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		for _, id := range bases(root + d.Cgroup + "/s*") {
			if !slices.Contains(held["cgroup"], id) {
				held["cgroup"] = append(held["cgroup"], id)
			}
		}
	}
	for _, pid := range inNetns(ctx, n.at.netns()) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(string(text), "\x00")
		switch filepath.Base(args[0]) {
		case "streamer":
			held["streamer"] = append(held["streamer"], sessionOf(pid, d.Cgroup))
		case "containerd-shim-runc-v2":
			if at := slices.Index(args, "-id"); at >= 0 {
				held["shim"] = append(held["shim"], args[at+1])
			}
		}
	}
	mounts, err := mountsBelow(d.RunDir + "/noded/s")
	for _, at := range mounts {
		if id, ok := strings.CutSuffix(strings.TrimPrefix(at, d.RunDir+"/noded/s/"), "/home"); ok {
			held["home mount"] = append(held["home mount"], id)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range loops {
		text, _ := os.ReadFile(file)
		if home, ok := strings.CutPrefix(strings.TrimSpace(string(text)), d.Dir+"/homes/"); ok {
			held["home on a loop device"] = append(held["home on a loop device"], strings.TrimSuffix(home, ".img"))
		}
	}
	return held, errors.Join(err, n.containerHoldings(ctx, held), n.portHoldings(held))
}

// sessionOf is the session in whose cgroup a process is.
func sessionOf(pid int, parent string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	_, rest, _ := strings.Cut(string(text), parent+"/")
	id, _, _ := strings.Cut(rest, "/")
	return id
}

func bases(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found
}

func (n *Node) containerHoldings(ctx context.Context, held map[string][]string) error {
	client, ctx, err := n.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	containers, err := client.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list the containers of %s: %w", n.name, err)
	}
	held["container"], held["snapshot"] = nil, nil
	for _, ctr := range containers {
		held["container"] = append(held["container"], ctr.ID())
	}
	err = client.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindActive {
			held["snapshot"] = append(held["snapshot"], info.Name)
		}
		return nil
	})
	leases, leaseErr := client.LeasesService().List(ctx)
	for _, l := range leases {
		held["lease"] = append(held["lease"], l.ID)
	}
	return errors.Join(err, leaseErr)
}

// portHoldings lists the media ports that are bound in the node's network namespace (proc_net_udp: the second field is the local address).
func (n *Node) portHoldings(held map[string][]string) error {
	return n.at.inside(func() error {
		f, err := os.Open("/proc/thread-self/net/udp")
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 2 {
				continue
			}
			_, hex, ok := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if ok && err == nil && port >= firstPort && port <= lastPort {
				held["media port"] = append(held["media port"], strconv.FormatUint(port, 10))
			}
		}
		return nil
	})
}

// eventually waits until check has no error to tell. What it looks at (HTTP, /proc) has no event to wait for.
func eventually(ctx context.Context, limit time.Duration, what string, check func() error) error {
	end := time.Now().Add(limit)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}
