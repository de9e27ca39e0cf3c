// Package cluster is an Easel of three nodes and three coordinators on one machine, made to be broken: every member is a set of real
// processes in a network namespace of its own, on one bridge; sessions are real containers of a small image. Faults are made as they
// befall real machines: kill -9, SIGSTOP, lost packets, cut networks, full and stuck disks, wrong clocks. After each, the invariants
// are looked up in the kernel's and containerd's own lists.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"easel/images/gimp"
	"easel/integration/devstack"
)

// All runs use the same names on the machine, one run at a time: so the next one finds whatever a killed one left.
const (
	stateDir = "/var/tmp/easel-cluster"
	runDir   = "/run/easel-cluster"
	lockFile = "/run/easel-cluster.lock"
	subnet   = "10.77.83."
)

// Members in all, of each role.
const members = 3

// startLimit bounds how long the whole cluster may take to come up; the session image may have to be made first.
const startLimit = 15 * time.Minute

// Options say how a cluster is to be; the zero value is good.
type Options struct {
	// Cache is EASEL_CACHE, BinDir where the built binaries lie: the environment's.
	Cache, BinDir string
	// NodeConfig may change a node's YAML document before it is written.
	NodeConfig func(n *Node, document map[string]any)
	// LogLevel is the daemons': info.
	LogLevel string
}

// Cluster is a running cluster.
type Cluster struct {
	Options
	Nodes        []*Node
	Coordinators []*Coordinator

	tokens  sync.Mutex
	tokenOf map[string]string // bearer tokens by user

	artist *place // where viewers and callers of the API are
	lock   *os.File
	trust  *trust
	bin    string // of containerd
	image  gimp.Built
}

// Start removes what a killed run left and starts a cluster. On an error nothing is left.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if os.Getuid() != 0 {
		return nil, errors.New("start a cluster: it makes namespaces and containers, which needs root: sudo make test")
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c := &Cluster{Options: o, tokenOf: map[string]string{}}
	c.Cache = cmp.Or(c.Cache, os.Getenv("EASEL_CACHE"), "/var/cache/easel")
	c.BinDir = cmp.Or(c.BinDir, os.Getenv("EASEL_BIN"), filepath.Join(checkout(), "bin"))
	c.LogLevel = cmp.Or(c.LogLevel, "info")
	if err := c.takeLock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start a cluster: %w", err), c.clear(context.WithoutCancel(ctx)), c.lock.Close())
		}
	}()
	if err := c.clear(ctx); err != nil {
		return nil, fmt.Errorf("remove what an earlier run left: %w", err)
	}
	for _, step := range []func(context.Context) error{c.prepare, c.startContainerds, c.configure, c.found, c.startDaemons} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) takeLock() (err error) {
	if c.lock, err = os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := syscall.Flock(int(c.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("lock %s: %w: another cluster test runs on this machine; wait for its end", lockFile, err), c.lock.Close())
	}
	return nil
}

// prepare makes directories, network, certificates and image.
func (c *Cluster) prepare(ctx context.Context) error {
	for _, dir := range []string{stateDir, runDir} {
		// Containers pass through as users of their own, whatever the umask.
		if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711)); err != nil {
			return err
		}
	}
	if err := newNetwork(ctx); err != nil {
		return err
	}
	var err error
	if c.artist, err = newPlace(ctx, "artist", subnet+"99"); err != nil {
		return err
	}
	if c.trust, err = newTrust(); err != nil {
		return err
	}
	for i := range members {
		n, err := c.newNode(ctx, nodeName(i), fmt.Sprintf("%s%d", subnet, 11+i), i)
		if err != nil {
			return err
		}
		k, err := c.newCoordinator(ctx, fmt.Sprintf("c%d", i+1), fmt.Sprintf("%s%d", subnet, 21+i))
		if err != nil {
			return err
		}
		c.Nodes, c.Coordinators = append(c.Nodes, n), append(c.Coordinators, k)
	}
	if c.bin, err = containerdBin(ctx, c.Cache); err != nil {
		return err
	}
	c.image, err = buildImage(ctx, c.Cache, c.BinDir, stateDir)
	return err
}

func (c *Cluster) startContainerds(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		group.Go(func() error {
			if err := errors.Join(n.describeContainerd(c), n.Containerd.Start(ctx)); err != nil {
				return err
			}
			return n.importImage(ctx, c.image)
		})
	}
	return group.Wait()
}

func (c *Cluster) startDaemons(ctx context.Context) error {
	group, starting := errgroup.WithContext(ctx)
	for _, d := range c.daemons() {
		group.Go(func() error { return startDead(starting, d) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.AwaitView(ctx, members)
}

// daemons are all noded and coordinator processes.
func (c *Cluster) daemons() []*devstack.Process {
	var all []*devstack.Process
	for _, k := range c.Coordinators {
		all = append(all, k.Process)
	}
	for _, n := range c.Nodes {
		all = append(all, n.Noded)
	}
	return all
}

// Stop ends every session and daemon in order and says what was left, which it removes.
func (c *Cluster) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var errs []error
	errs = append(errs, c.Heal(ctx), c.EndAll(ctx), c.CheckLeaks(ctx))
	var mu sync.Mutex
	stop := func(all []*devstack.Process) {
		var wg sync.WaitGroup
		for _, p := range all {
			wg.Go(func() {
				err := p.Stop(ctx)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		wg.Wait()
	}
	stop(c.daemons())
	var containerds []*devstack.Process
	for _, n := range c.Nodes {
		containerds = append(containerds, n.Containerd)
	}
	stop(containerds)
	for _, n := range c.Nodes {
		left, err := n.place().Left()
		if len(left) > 0 {
			errs = append(errs, fmt.Errorf("%s left behind: %q", n.name, left))
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.clear(ctx), c.lock.Close())...)
}

// clear removes whatever any run has left on this machine.
func (c *Cluster) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return errors.Join(
		c.closePlaces(), thawBelow(stateDir), removeNetwork(ctx), removeNodes(ctx), unmountBelow(stateDir),
		os.RemoveAll(runDir), os.RemoveAll(stateDir),
	)
}

func (c *Cluster) closePlaces() error {
	var errs []error
	for _, p := range c.places() {
		errs = append(errs, p.ns.Close())
	}
	return errors.Join(errs...)
}

func (c *Cluster) places() []*place {
	var all []*place
	if c.artist != nil {
		all = append(all, c.artist)
	}
	for _, n := range c.Nodes {
		all = append(all, n.at)
	}
	for _, k := range c.Coordinators {
		all = append(all, k.at)
	}
	return all
}

// Node is the node of that name.
func (c *Cluster) Node(name string) *Node {
	at := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.name == name })
	if at < 0 {
		return nil
	}
	return c.Nodes[at]
}
