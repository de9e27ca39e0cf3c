package relaybench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/relay"
	"easel/noded/session"
)

// server is a TURN server that runs, with a login for each of its clients.
type server struct {
	name    string
	address netip.AddrPort
	logins  []login
	pid     int
}

type login struct{ Username, Password, Realm string }

const patience = 10 * time.Second

// asRelay makes this test binary the relay process.
const asRelay = "EASEL_RELAYBENCH"

func TestMain(m *testing.M) {
	if text := os.Getenv(asRelay); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fixed is a node whose sessions live for ever: the n-th has the n-th peer's port.
type fixed map[string]uint16

func (f fixed) Await(ctx context.Context, id string, unlike session.State) (session.Session, error) {
	if unlike == session.Connected {
		<-ctx.Done()
	}
	return session.Session{Record: session.Record{ID: id, State: session.Connected, UDPPort: f[id]}}, nil
}

// offer is what the relay process prints once it serves.
type offer struct {
	Address string
	Logins  []login
}

// serve is the relay process: ports lists the peers', one a session.
func serve(ports string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	sessions := fixed{}
	var ids []string
	for _, text := range strings.Split(ports, ",") {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("s%016s", strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(text))
		id = strings.ReplaceAll(id, "0", "a")
		sessions[id] = uint16(port)
		ids = append(ids, id)
	}
	r, err := relay.New(relay.Options{
		Listen: []string{"127.0.0.1:0"}, Public: "127.0.0.1", Media: netip.MustParseAddr("127.0.0.1"), First: 21000, Last: 22999,
		Quotas: relay.Quotas{Allocations: 1000, SessionAllocations: 10, Bandwidth: 1 << 40, SessionBandwidth: 1 << 40},
		Secret: bytes.Repeat([]byte("s"), 32), Sessions: sessions, Registry: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	var o offer
	for _, id := range ids {
		s := r.Servers(id)[0]
		o.Logins = append(o.Logins, login{s.Username, s.Credential, relay.Realm})
		o.Address = strings.TrimSuffix(strings.TrimPrefix(s.URLs[0], "turn:"), "?transport=udp")
	}
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		return err
	}
	return r.Run(ctx)
}

// startEasel starts the relay as a process.
func startEasel(b testing.TB, peers []*net.UDPConn) server {
	b.Helper()
	var ports []string
	for _, p := range peers {
		ports = append(ports, strconv.Itoa(p.LocalAddr().(*net.UDPAddr).Port))
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asRelay+"="+strings.Join(ports, ","))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	start(b, cmd)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var o offer
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	if err != nil {
		b.Fatalf("the relay does not say where it is: %v", err)
	}
	return server{"easel", netip.MustParseAddrPort(o.Address), o.Logins, cmd.Process.Pid}
}

// startCoturn starts Debian's, with all that would only cost it time turned off.
func startCoturn(b testing.TB, peers []*net.UDPConn) server {
	b.Helper()
	path, err := exec.LookPath("turnserver")
	if err != nil {
		b.Fatalf("coturn is not installed (packaging/install-deps.sh test): %v", err)
	}
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := netip.MustParseAddrPort(probe.Addr().String())
	_ = probe.Close()
	dir := b.TempDir()
	cmd := exec.Command(path, "-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", strconv.Itoa(int(address.Port())),
		"--min-port", "23000", "--max-port", "24999", "--lt-cred-mech", "--user", "u:p", "--realm", "easel", "--allow-loopback-peers",
		"--no-tls", "--no-dtls", "--no-cli", "--no-tcp", "--no-tcp-relay", "--no-multicast-peers", "--no-rfc5780", "--no-stdout-log", "--log-file", "/dev/null",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"))
	cmd.Dir = dir
	start(b, cmd)
	s := server{"coturn", address, nil, cmd.Process.Pid}
	for range peers {
		s.logins = append(s.logins, login{"u", "p", "easel"})
	}
	return s
}

// start starts a server that ends with the benchmark.
func start(b testing.TB, cmd *exec.Cmd) {
	b.Helper()
	cmd.Stderr = io.Discard
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// cpu is the processor time that a process's threads have taken.
func cpu(b testing.TB, pid int) (total time.Duration) {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		b.Fatalf("this kernel does not tell what process %d takes: %v", pid, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			b.Fatalf("%s: %v", task, err)
		}
		total += time.Duration(n)
	}
	return total
}
