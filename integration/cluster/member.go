package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"easel/images/gimp"
	"easel/integration/devstack"
	"easel/noded/runtime"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// Node is one machine that runs sessions: its own containerd and noded.
type Node struct {
	name       string
	at         *place
	uidBase    int
	disk       *disk // that state lies on
	Containerd *devstack.Process
	Noded      *devstack.Process
	admin      easelv1connect.NodeServiceClient
}

// Coordinator is one coordinator.
type Coordinator struct {
	name string
	at   *place
	*devstack.Process
}

func nodePlace(name string) devstack.Node {
	return devstack.Node{Dir: filepath.Join(stateDir, name, "state"), RunDir: filepath.Join(runDir, name), Cgroup: "/easel-c-" + name}
}

// removeNodes takes what any run's nodes have left on the machine away.
func removeNodes(ctx context.Context) error {
	var errs []error
	for i := range members {
		errs = append(errs, nodePlace(nodeName(i)).Remove(ctx))
	}
	return errors.Join(errs...)
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

func (n *Node) place() devstack.Node { return nodePlace(n.name) }

func (n *Node) dir() string         { return filepath.Join(stateDir, n.name) }
func (n *Node) config() string      { return filepath.Join(n.dir(), "etc", "noded.yaml") }
func (n *Node) socket() string      { return filepath.Join(n.place().RunDir, "containerd.sock") }
func (n *Node) url() string         { return "https://" + n.at.ip + ":8443" }
func (k *Coordinator) dir() string  { return filepath.Join(stateDir, k.name) }
func (k *Coordinator) run() string  { return filepath.Join(runDir, k.name) }
func (k *Coordinator) url() string  { return "https://" + k.at.ip + ":8080" }
func (k *Coordinator) file() string { return filepath.Join(k.dir(), "etc", "coordinator.yaml") }

func (c *Cluster) newNode(ctx context.Context, name, address string, index int) (*Node, error) {
	at, err := newPlace(ctx, name, address)
	if err != nil {
		return nil, err
	}
	n := &Node{name: name, at: at, uidBase: 300_000_000 + index*10_000_000}
	d := n.place()
	if err := errors.Join(makeDirs(0o711, n.dir(), d.Dir, n.dir()+"/containerd"), makeDirs(0o700, n.dir()+"/etc"), n.makeRunDirs()); err != nil {
		return nil, err
	}
	if n.disk, err = newDisk(ctx, n.dir()+"/disk.img", d.Dir); err != nil {
		return nil, err
	}
	n.Noded = c.process("noded", at, d.RunDir, n.dir(), filepath.Join(c.BinDir, "noded"), "run", "--config", n.config())
	n.admin = easelv1connect.NewNodeServiceClient(&http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, // noded is restarted under us
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(n.place().RunDir, "noded", "noded.sock"))
		},
	}}, "http://noded")
	return n, nil
}

// makeRunDirs makes what lies in memory, as systemd-tmpfiles does when a machine starts.
func (n *Node) makeRunDirs() error {
	run := n.place().RunDir
	return makeDirs(0o711, run, run+"/containerd", run+"/noded")
}

func makeDirs(mode os.FileMode, dirs ...string) error {
	for _, dir := range dirs {
		// Chmod too: containers pass through some as users of their own, whatever the umask.
		if err := errors.Join(os.MkdirAll(dir, mode), os.Chmod(dir, mode)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) newCoordinator(ctx context.Context, name, address string) (*Coordinator, error) {
	at, err := newPlace(ctx, name, address)
	if err != nil {
		return nil, err
	}
	k := &Coordinator{name: name, at: at}
	for _, dir := range []string{k.dir() + "/etc", k.dir() + "/state", k.run()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	k.Process = c.process("coordinator", at, k.run(), k.dir(), filepath.Join(c.BinDir, "coordinator"), "run", "--config", k.file())
	return k, nil
}

// process describes a daemon that runs at a place.
func (c *Cluster) process(name string, at *place, run, dir, path string, args ...string) *devstack.Process {
	p := devstack.NewProcess(name, path, run, filepath.Join(dir, name+".log"), args...)
	p.Env = append(p.Env, "EASEL_CACHE="+c.Cache, "SSL_CERT_FILE="+c.trust.file())
	p.Launch = c.launch(at)
	return p
}

// launch starts commands at a place.
func (c *Cluster) launch(at *place) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error { return at.inside(cmd.Start) }
}

func containerdBin(ctx context.Context, cache string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(checkout(), "packaging/containerd/build.sh"))
	cmd.Env = append(os.Environ(), "EASEL_CACHE="+cache)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the pinned containerd: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (n *Node) describeContainerd(c *Cluster) error {
	d := n.place()
	config := runtime.ContainerdConfig(n.dir()+"/containerd", d.RunDir+"/containerd", n.socket())
	file := n.dir() + "/etc/containerd.toml"
	n.Containerd = c.process("containerd", n.at, d.RunDir, n.dir(), filepath.Join(c.bin, "containerd"), "--config", file)
	n.Containerd.Env = append(n.Containerd.Env, "PATH="+c.bin+":/usr/sbin:/usr/bin:/sbin:/bin")
	return os.WriteFile(file, []byte(config), 0o600)
}

// client talks to the node's containerd; the caller closes it.
func (n *Node) client(ctx context.Context) (*containerd.Client, context.Context, error) {
	c, err := containerd.New(n.socket(), containerd.WithTimeout(10*time.Second))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the containerd of %s: %w", n.name, err)
	}
	return c, namespaces.WithNamespace(ctx, devstack.Namespace), nil
}

func (n *Node) importImage(ctx context.Context, built gimp.Built) error {
	client, ctx, err := n.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return gimp.Import(ctx, client, built, ImageRef)
}

// Sessions is what the node's own daemon says of its sessions; those that have ended are in it for a while.
func (n *Node) Sessions(ctx context.Context) ([]*easelv1.Session, error) {
	r, err := n.admin.List(ctx, connect.NewRequest(&easelv1.ListRequest{}))
	if err != nil {
		return nil, fmt.Errorf("ask %s for its sessions: %w", n.name, err)
	}
	return r.Msg.GetSessions(), nil
}

// living says whether a session is neither over nor about to be.
func living(s *easelv1.Session) bool {
	switch s.GetState() {
	case easelv1.State_STATE_STOPPING, easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED:
		return false
	}
	return true
}
