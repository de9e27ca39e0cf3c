package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"easel/noded/session"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/listen"
)

func cli(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestWrongUseIsExitCodeTwo(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"paint"},
		{"session"},
		{"session", "paint"},
		{"session", "create"},
		{"session", "inspect"},
		{"session", "inspect", "a", "b"},
		{"session", "stop"},
		{"session", "stop", "--all", "sx"},
		{"session", "list", "--nonsense"},
		{"image"},
		{"image", "import"},
		{"run", "now"},
		{"run", "--sessions-max", "many"},
		{"failpoints", "x"},
	} {
		code, _, stderr := cli(t, args...)
		if code != exitUsage || !strings.Contains(stderr, "noded help") {
			t.Errorf("%q: exit code %d, %q", args, code, stderr)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	if code, out, _ := cli(t, "help"); code != 0 || !strings.Contains(out, "session inspect ID") {
		t.Errorf("help: %d %q", code, out)
	}
	if code, _, errs := cli(t, "run", "-h"); code != 0 || !strings.Contains(errs, "sessions-max") {
		t.Errorf("run -h: %d %q", code, errs)
	}
	if code, out, _ := cli(t, "version"); code != 0 || strings.TrimSpace(out) == "" {
		t.Errorf("version: %d %q", code, out)
	}
}

func TestFailpointsAreListedForTheWalk(t *testing.T) {
	code, out, _ := cli(t, "failpoints")
	if got := strings.Fields(out); code != 0 || len(got) != len(session.Failpoints()) || len(got) < 40 {
		t.Fatalf("%d: %v", code, got)
	}
}

func TestDaemonThatIsNotThereIsSaid(t *testing.T) {
	config := write(t, "run_dir: "+t.TempDir()+"\n")
	code, _, stderr := cli(t, "status", "--config", config)
	if code != exitFailed || !strings.Contains(stderr, "is it running") || !strings.Contains(stderr, "noded.sock") {
		t.Fatalf("%d: %s", code, stderr)
	}
}

func TestBadConfigurationIsExitCodeOne(t *testing.T) {
	code, _, stderr := cli(t, "status", "--config", write(t, "listn: x\n"))
	if code != exitFailed || !strings.Contains(stderr, `did you mean "listen"`) {
		t.Fatalf("%d: %s", code, stderr)
	}
}

// service is a node in memory on an admin socket.
type service struct {
	easelv1connect.UnimplementedNodeServiceHandler
	session *easelv1.Session
}

func (s *service) Reserve(_ context.Context, r *connect.Request[easelv1.ReserveRequest]) (*connect.Response[easelv1.ReserveResponse], error) {
	if r.Msg.User == "full" {
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("no room"))
	}
	return connect.NewResponse(&easelv1.ReserveResponse{Session: s.session, Created: true}), nil
}

func (s *service) Get(_ context.Context, r *connect.Request[easelv1.GetRequest]) (*connect.Response[easelv1.GetResponse], error) {
	if r.Msg.Id != s.session.Id {
		return nil, connect.NewError(connect.CodeNotFound, session.ErrNotFound)
	}
	return connect.NewResponse(&easelv1.GetResponse{Session: s.session}), nil
}

func (s *service) List(context.Context, *connect.Request[easelv1.ListRequest]) (*connect.Response[easelv1.ListResponse], error) {
	return connect.NewResponse(&easelv1.ListResponse{Sessions: []*easelv1.Session{s.session}}), nil
}

func (s *service) Stop(_ context.Context, r *connect.Request[easelv1.StopRequest]) (*connect.Response[easelv1.StopResponse], error) {
	s.session.State, s.session.Reason = easelv1.State_STATE_STOPPED, r.Msg.Reason
	return connect.NewResponse(&easelv1.StopResponse{Session: s.session}), nil
}

func (s *service) Status(context.Context, *connect.Request[easelv1.StatusRequest]) (*connect.Response[easelv1.StatusResponse], error) {
	used := uint32(1)
	if s.session.State == easelv1.State_STATE_STOPPED {
		used = 0
	}
	return connect.NewResponse(&easelv1.StatusResponse{Name: "n1", Capacity: 3, Used: used, FullReason: "no room"}), nil
}

func serveNode(t *testing.T) (config string, s *service) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "noded.sock"))
	if err != nil {
		t.Fatal(err)
	}
	now := timestamppb.Now()
	s = &service{session: &easelv1.Session{
		Id: "saaaaaaaaaaaaaaaa", User: "ann", Key: "default", State: easelv1.State_STATE_READY, Created: now, WindowMs: 2900,
		Times: []*easelv1.StateTime{{State: easelv1.State_STATE_RESERVED, At: now}}, XSocket: "/r/X0", Pids: &easelv1.Pids{Gimp: 77}, Degraded: []string{"slow"},
	}}
	mux := http.NewServeMux()
	mux.Handle(easelv1connect.NewNodeServiceHandler(s))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return write(t, "run_dir: "+dir+"\n"), s
}

func TestSessionCommands(t *testing.T) {
	config, s := serveNode(t)
	id := s.session.Id
	if code, out, errs := cli(t, "session", "create", "--user", "ann", "--config", config); code != 0 || strings.TrimSpace(out) != id {
		t.Fatalf("create: %d %q %q", code, out, errs)
	}
	if code, _, errs := cli(t, "session", "create", "--user", "full", "--config", config); code != exitFailed || !strings.Contains(errs, "create a session for full: no room") {
		t.Fatalf("create on a full node: %d %q", code, errs)
	}
	if code, out, _ := cli(t, "session", "list", "--config", config); code != 0 || !strings.Contains(out, id) || !strings.Contains(out, "ready") {
		t.Fatalf("list: %d %q", code, out)
	}
	code, out, _ := cli(t, "session", "inspect", id, "--json", "--config", config)
	var got struct {
		State    string
		XSocket  string `json:"x_socket"`
		WindowMS int64  `json:"window_ms"`
		Pids     struct{ Gimp int }
		Times    []struct{ State string }
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("inspect --json: %d %q %v", code, out, err)
	}
	if got.State != "ready" || got.XSocket != "/r/X0" || got.WindowMS != 2900 || got.Pids.Gimp != 77 || got.Times[0].State != "reserved" {
		t.Fatalf("inspect --json: %+v from %s", got, out)
	}
	if code, out, _ := cli(t, "session", "inspect", id, "--config", config); code != 0 || !strings.Contains(out, "after 2.90s") || !strings.Contains(out, "GIMP 77") {
		t.Fatalf("inspect: %d %q", code, out)
	}
	if code, _, errs := cli(t, "session", "inspect", "snope", "--config", config); code != exitFailed || !strings.Contains(errs, "no such session") {
		t.Fatalf("inspect: %d %q", code, errs)
	}
	if code, out, _ := cli(t, "status", "--config", config); code != 0 || !strings.Contains(out, "1 of 3 sessions") || !strings.Contains(out, "no room") {
		t.Fatalf("status: %d %q", code, out)
	}
	if code, out, errs := cli(t, "session", "stop", "--all", "--config", config); code != 0 || !strings.Contains(out, id) {
		t.Fatalf("stop: %d %q %q", code, out, errs)
	}
}

func TestArchiveReference(t *testing.T) {
	for name, tc := range map[string]struct{ index, ref, says string }{
		"named by containerd": {`{"manifests":[{"annotations":{"io.containerd.image.name":"easel.local/gimp:trixie","org.opencontainers.image.ref.name":"trixie"}}]}`, "easel.local/gimp:trixie", ""},
		"named in OCI's way":  {`{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"easel.local/x:y"}}]}`, "easel.local/x:y", ""},
		"a tag alone":         {`{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"y"}}]}`, "", "give a reference"},
		"nothing":             {`{}`, "", "give a reference"},
		"not JSON":            {`<`, "", "index.json"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.tar")
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for file, text := range map[string]string{"oci-layout": "{}", "./index.json": tc.index} {
				if err := w.WriteHeader(&tar.Header{Name: file, Size: int64(len(text)), Mode: 0o644}); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(w, text); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			ref, err := archiveReference(path)
			if ref != tc.ref || (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("%q, %v", ref, err)
			}
		})
	}
	for name, data := range map[string]string{"empty": "", "not a tar": strings.Repeat("x", 2000)} {
		path := filepath.Join(t.TempDir(), "a.tar")
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := cli(t, "image", "import", path, "--config", write(t, "")); code != exitFailed || !strings.Contains(errs, path) {
			t.Errorf("%s: %d %q", name, code, errs)
		}
	}
}

func TestPortFreeTriesThePort(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{stateDir: t.TempDir(), media: []string{"127.0.0.1"}}
	port := uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	if m.PortFree(port) {
		t.Error("a port in use is called free")
	}
	_ = conn.Close()
	if !m.PortFree(port) {
		t.Error("a free port is called taken")
	}
	if n, err := m.MemAvailable(); err != nil || n < 1<<20 {
		t.Errorf("%d bytes of memory, %v", n, err)
	}
	if n, err := m.DiskFree(); err != nil || n < 1 {
		t.Errorf("%d bytes of disk, %v", n, err)
	}
}

func TestServerEndsLongRequestsWithTheDaemon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	s := door(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		w.WriteHeader(http.StatusNoContent)
	}), nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	go func() {
		<-asked
		cancel()
	}()
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	select {
	case err := <-ended:
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatalf("%v, %d", err, resp.StatusCode)
		}
	case <-time.After(listen.EndPatience):
		t.Fatal("the server waited for its deadline")
	}
}
