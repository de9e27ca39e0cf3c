package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/coordinator/nodetest"
	"easel/pkg/cluster"
	"easel/pkg/identity"
)

const password = "correct horse battery"

// place is a coordinator's configuration in a test's own folder.
type place struct {
	t    *testing.T
	dir  string
	file string
	cfg  Config
}

// freeAddr is an address that nobody listens on, below the range from which outgoing connections take their ports.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, dir: dir, file: filepath.Join(dir, "coordinator.yaml")}
	text := fmt.Sprintf("name: front\nlisten: %s\nstate_dir: %s/state\nrun_dir: %s/run\ncluster:\n  bind: %s\n  join: []\napi: {listen: %s}\nlog: {level: debug}\n",
		freeAddr(t), dir, dir, freeAddr(t), freeAddr(t))
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(p.file, func(*Config) {})
	if err != nil {
		t.Fatal(err)
	}
	p.cfg = cfg
	return p
}

// member has a node join the cluster of a running coordinator.
func (p *place) member(name string) *identity.Member {
	p.t.Helper()
	token, err := identity.ParseJoinToken(p.mustRun("", "token", "--role", "node", "--name", name))
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := identity.Join(p.t.Context(), p.t.TempDir(), identity.RoleNode, name, token)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// daemon runs the coordinator until the returned function is called, or the test ends.
func (p *place) daemon() (log *lockedBuffer, stop func()) {
	p.t.Helper()
	p.mustRun("", "init")
	return p.run()
}

// run is daemon for a coordinator that has joined.
func (p *place) run() (log *lockedBuffer, stop func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log = &lockedBuffer{}
	var wg sync.WaitGroup
	wg.Go(func() {
		level := new(slog.LevelVar)
		level.Set(slog.LevelDebug)
		again := func() (Config, error) { return load(p.file, func(*Config) {}) }
		if err := serve(ctx, p.cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), reading{level: level, again: again}); err != nil {
			p.t.Errorf("the daemon failed: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	p.t.Cleanup(stop)
	p.await("/healthz", http.StatusOK)
	return log, stop
}

func (p *place) await(path string, status int) {
	p.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		resp, err := http.Get("http://" + p.cfg.Listen + path)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == status {
				return
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s never answered %d: %v, %v", path, status, resp, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// command runs one command line and returns its exit code and output.
func (p *place) command(stdin string, args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	in, err := os.CreateTemp(p.t.TempDir(), "stdin")
	if err != nil {
		p.t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.WriteString(stdin); err != nil {
		p.t.Fatal(err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		p.t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	code = run(p.t.Context(), append(args, "--config", p.file), process{in, &out, &errOut})
	return code, out.String(), errOut.String()
}

func (p *place) mustRun(stdin string, args ...string) string {
	p.t.Helper()
	code, stdout, stderr := p.command(stdin, args...)
	if code != exitDone {
		p.t.Fatalf("coordinator %v: exit %d: %s", args, code, stderr)
	}
	return stdout
}

func TestWholeCoordinatorWithANodeFromGossip(t *testing.T) {
	p := newPlace(t)
	log, stop := p.daemon()
	p.await("/readyz", http.StatusServiceUnavailable)
	identityOfA := p.member("node-a")
	node := nodetest.StartAs(t, identityOfA)
	member, err := cluster.Start(t.Context(), cluster.Config{
		Name: "node-a", Role: cluster.RoleNode, Bind: "127.0.0.1:0", Join: []string{p.cfg.Cluster.Bind},
		Keys: identityOfA.Trust().GetGossipKeys(), Meta: cluster.Meta{URL: node.URL, API: node.API}, Heartbeat: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	if err := member.Publish(cluster.Capacity{Total: 2}); err != nil {
		t.Fatal(err)
	}
	p.await("/readyz", http.StatusOK)

	p.mustRun(password+"\n", "user", "add", "ada")
	token := strings.TrimSpace(p.mustRun("", "token", "create", "--user", "ada", "--name", "test"))
	session := func() (int, map[string]any) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, p.cfg.PublicURL+"/api/v1/sessions", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var s map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, s
	}
	status, first := session()
	if status != http.StatusCreated || first["node"] != "node-a" || !strings.HasPrefix(fmt.Sprint(first["url"]), node.URL+"/s/") {
		t.Fatalf("%d %v", status, first)
	}
	if out := p.mustRun("", "sessions", "--node", "node-a"); !strings.Contains(out, fmt.Sprint(first["id"])) || !strings.Contains(out, "ada") {
		t.Errorf("sessions: %s", out)
	}
	if out := p.mustRun("", "nodes"); !strings.Contains(out, "node-a") || !strings.Contains(out, "/2") {
		t.Errorf("nodes: %s", out)
	}
	if out := p.mustRun("", "drain", "node-a", "--deadline", "10m", "--reason", "a new kernel"); !strings.Contains(out, "its 1 end by") || node.Order().GetReason() != "a new kernel" {
		t.Errorf("drain: %s; the node was told %v", out, node.Order())
	}
	p.mustRun("", "uncordon", "node-a")
	if out := p.mustRun("", "top", "--once"); !strings.Contains(out, "drained by the operator: a new kernel") {
		t.Errorf("top: %s", out)
	}

	stop()
	if _, err := os.Stat(p.cfg.adminSocket()); err == nil {
		t.Error("the admin socket stays after the end")
	}
	_, stop = p.daemon()
	defer stop()
	p.await("/readyz", http.StatusOK)
	if status, again := session(); status != http.StatusOK || again["id"] != first["id"] {
		t.Errorf("after a restart: %d %v, want the same session", status, again["id"])
	}
	for _, secret := range []string{token, password, "#token="} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestSigninLinkSignsIn(t *testing.T) {
	p := newPlace(t)
	p.daemon()
	link := strings.TrimSpace(p.mustRun("", "signin-link"))
	if !strings.HasPrefix(link, p.cfg.PublicURL+"/signin?once=") || strings.ContainsAny(link, " \n") {
		t.Fatalf("stdout is %q, want the link alone", link)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i, want := range []int{http.StatusSeeOther, http.StatusUnauthorized} {
		resp, err := client.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("use %d of the link: %d, want %d", i+1, resp.StatusCode, want)
		}
	}
}

func TestCommandsWithoutADaemon(t *testing.T) {
	p := newPlace(t)
	link := p.mustRun("", "signin-link")
	if !strings.Contains(link, "/signin?once=") {
		t.Errorf("link %q", link)
	}
	p.mustRun(password+"\n", "user", "add", "--role", "admin", "ada")
	p.mustRun("", "user", "add", "bob", "--no-password")
	p.mustRun("another password\n", "user", "passwd", "bob")
	if list := p.mustRun("", "user", "list"); !strings.Contains(list, "ada") || !strings.Contains(list, "admin") {
		t.Errorf("list %q", list)
	}
	var accounts []map[string]any
	if err := json.Unmarshal([]byte(p.mustRun("", "user", "list", "--json")), &accounts); err != nil || len(accounts) != 3 {
		t.Errorf("%v, %v", accounts, err)
	}
	token := p.mustRun("", "token", "create", "--user", "bob")
	if !strings.HasPrefix(token, "easel_") {
		t.Errorf("token %q", token)
	}
	var tokens []struct{ ID string }
	if err := json.Unmarshal([]byte(p.mustRun("", "token", "list", "--json")), &tokens); err != nil || len(tokens) != 1 {
		t.Fatalf("%v, %v", tokens, err)
	}
	p.mustRun("", "token", "revoke", tokens[0].ID)
	p.mustRun("", "user", "remove", "bob")
	if info, err := os.Stat(p.cfg.database()); err != nil || info.Mode() != 0o600 {
		t.Errorf("database: %v, %v", info, err)
	}
}

func TestWrongUse(t *testing.T) {
	p := newPlace(t)
	tests := []struct {
		args []string
		in   string
		code int
		says string
	}{
		{[]string{}, "", exitUsage, "no command"},
		{[]string{"dance"}, "", exitUsage, "dance"},
		{[]string{"user"}, "", exitUsage, "user"},
		{[]string{"user", "add"}, password, exitUsage, "one name"},
		{[]string{"user", "add", "a", "b"}, password, exitUsage, "one name"},
		{[]string{"user", "add", "ada", "--pasword", "x"}, password, exitUsage, "pasword"},
		{[]string{"user", "add", "ada"}, "", exitFailed, "empty"},
		{[]string{"user", "add", "ada"}, "short\n", exitFailed, "too short"},
		{[]string{"user", "add", "Ada"}, password, exitFailed, "a-z"},
		{[]string{"user", "add", "ada", "--role", "king"}, password, exitFailed, "king"},
		{[]string{"user", "remove", "nobody"}, "", exitFailed, "no such account"},
		{[]string{"token", "create"}, "", exitUsage, "--user"},
		{[]string{"token", "create", "--user", "nobody"}, "", exitFailed, "no such account"},
		{[]string{"token", "revoke", "x"}, "", exitFailed, "no such API token"},
		{[]string{"signin-link", "--user", "nobody"}, "", exitFailed, "no such account"},
		{[]string{"run", "extra"}, "", exitUsage, "extra"},
		{[]string{"run", "--listen", "0.0.0.0:0"}, "", exitFailed, "loopback"},
		{[]string{"run"}, "", exitLonely, "coordinator init"},
		{[]string{"init", "--help"}, "", exitDone, ""},
		{[]string{"token"}, "", exitUsage, "--role"},
		{[]string{"token", "--role", "king"}, "", exitUsage, "--role"},
		{[]string{"token", "--role", "node"}, "", exitLonely, "coordinator init"},
		{[]string{"join"}, "", exitFailed, "no join token"},
		{[]string{"join"}, "easel-join-1.e30", exitFailed, "no join token"},
		{[]string{"join", "easel-join-1.secret"}, "", exitUsage, "stdin"},
		{[]string{"member"}, "", exitUsage, "member"},
		{[]string{"member", "remove"}, "", exitUsage, "one name"},
		{[]string{"member", "remove", "n1"}, "", exitFailed, "no such member"},
		{[]string{"gossip"}, "", exitUsage, "gossip"},
		{[]string{"gossip", "rotate"}, "", exitLonely, "coordinator init"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			q := *p
			q.t = t
			code, _, stderr := q.command(tt.in, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.says) {
				t.Errorf("exit %d and %q, want %d and %q", code, stderr, tt.code, tt.says)
			}
		})
	}
	var out bytes.Buffer
	if code := run(t.Context(), nil, process{os.Stdin, &out, &out}); code != exitUsage {
		t.Errorf("without a command: exit %d", code)
	}
}

func TestFreeCommands(t *testing.T) {
	p := newPlace(t)
	for _, args := range [][]string{{"help"}, {"version"}, {"openapi"}} {
		var out bytes.Buffer
		if code := run(t.Context(), args, process{os.Stdin, &out, &out}); code != exitDone || out.Len() == 0 {
			t.Errorf("%v: exit %d, %d bytes", args, code, out.Len())
		}
	}
	first, second := p.mustRun("", "init"), p.mustRun("", "init")
	if first != second {
		t.Errorf("init makes another cluster the second time: %s then %s", first, second)
	}
	p.daemon()
	if again := p.mustRun("", "init"); !strings.Contains(again, "it runs") {
		t.Errorf("init beside the daemon: %s", again)
	}
}

// Killed after the cluster was founded and before the coordinator had its certificate, init ends what was begun.
func TestInitIsRepeatedAfterAKill(t *testing.T) {
	p := newPlace(t)
	first := p.mustRun("", "init")
	if err := os.RemoveAll(p.cfg.identityDir()); err != nil {
		t.Fatal(err)
	}
	if second := p.mustRun("", "init"); second != first {
		t.Errorf("%q then %q", first, second)
	}
	if err := os.Remove(p.cfg.database()); err != nil { // somebody lost the state
		t.Fatal(err)
	}
	p.mustRun("", "member", "list")
}

func TestMembersAreListedAndRemoved(t *testing.T) {
	p := newPlace(t)
	log, _ := p.daemon()
	m := p.member("n1")
	if list := p.mustRun("", "member", "list"); !strings.Contains(list, "n1") || !strings.Contains(list, "front") || !strings.Contains(list, p.cfg.API.URL) {
		t.Errorf("list %q", list)
	}
	taken := p.mustRun("", "token", "--role", "node")
	token, err := identity.ParseJoinToken(taken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Join(t.Context(), t.TempDir(), identity.RoleNode, "n1", token); err == nil || !strings.Contains(err.Error(), "member remove") {
		t.Errorf("the name of a living member: %v", err)
	}
	p.mustRun("", "member", "remove", "n1")
	if list := p.mustRun("", "member", "list"); strings.Contains(list, "n1") {
		t.Errorf("list %q", list)
	}
	resp, err := m.HTTP(identity.RoleCoordinator, "").Get(p.cfg.API.URL)
	if err == nil {
		resp.Body.Close()
		t.Errorf("the removed node is answered: %d", resp.StatusCode)
	}
	if code, _, stderr := p.command("", "member", "remove", "front", "--role", "coordinator"); code != exitFailed || !strings.Contains(stderr, "last coordinator") {
		t.Errorf("the last coordinator: %d %q", code, stderr)
	}
	p.mustRun("", "gossip", "rotate")
	if strings.Contains(log.String(), token.Secret) || strings.Contains(log.String(), strings.TrimSpace(taken)) {
		t.Error("the log holds a join token")
	}
}

func TestFurtherCoordinatorJoins(t *testing.T) {
	p := newPlace(t)
	p.daemon()
	token := p.mustRun("", "token", "--role", "coordinator")
	q := newPlace(t)
	if err := os.WriteFile(q.file+".token", []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(q.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(q.file, bytes.Replace(text, []byte("name: front"), []byte("name: back"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := q.mustRun("", "join", "--token-file", q.file+".token"); !strings.Contains(said, "coordinator back of cluster") {
		t.Errorf("said %q", said)
	}
	if code, _, stderr := q.command(token, "join"); code != exitFailed || !strings.Contains(stderr, "used already") {
		t.Errorf("again: %d %q", code, stderr)
	}
	other := newPlace(t)
	other.mustRun("", "init")
	if err := os.RemoveAll(other.cfg.identityDir()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := other.command(token, "join"); code != exitFailed || !strings.Contains(stderr, "move it away") {
		t.Errorf("a coordinator with a cluster of its own: %d %q", code, stderr)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	p := newPlace(t)
	p.daemon()
	err := serve(t.Context(), p.cfg, slog.New(slog.DiscardHandler), reading{})
	if err == nil || !strings.Contains(err.Error(), "another coordinator") {
		t.Errorf("got %v", err)
	}
}

func TestFailureToListenEndsTheDaemon(t *testing.T) {
	p := newPlace(t)
	p.mustRun("", "init")
	l, err := net.Listen("tcp", p.cfg.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := serve(t.Context(), p.cfg, slog.New(slog.DiscardHandler), reading{}); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("got %v", err)
	}
}

func TestNotifySendsStates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	p := newPlace(t)
	_, stop := p.daemon()
	seen := map[string]bool{}
	buf := make([]byte, 256)
	read := func(until string) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		for !seen[until] {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("no %s: %v; seen %v", until, err, seen)
			}
			for line := range strings.SplitSeq(string(buf[:n]), "\n") {
				seen[line] = true
			}
		}
	}
	read("READY=1")
	read("WATCHDOG=1")
	stop()
	read("STOPPING=1")
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
