package main

import (
	"context"
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

	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
)

func TestUnreadableCertificateEndsTheStart(t *testing.T) {
	var cfg Config
	cfg.TLS.Cert, cfg.TLS.Key = "/nonexistent/c.pem", "/nonexistent/k.pem"
	if _, err := openDoors(cfg, slog.New(slog.DiscardHandler), nil, behind{}); err == nil || !strings.Contains(err.Error(), "tls.cert") {
		t.Fatalf("error %v", err)
	}
}

// doors runs a node's three doors; each says which handler it has.
func doors(t *testing.T, member *identity.Member) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "nd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg := defaults()
	cfg.Listen, cfg.API.Listen, cfg.RunDir = freeAddr(t), freeAddr(t), dir
	says := func(what string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, what) })
	}
	servers, err := openDoors(cfg, slog.New(slog.DiscardHandler), member, behind{browsers: says("pages"), coordinators: says("service"), operator: says("service")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return cfg
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

func TestEachDoorLetsInItsOwn(t *testing.T) {
	c, foreign := identitytest.New(t), identitytest.New(t)
	cfg := doors(t, c.Member(identity.RoleNode, "n1"))
	coordinator := c.Member(identity.RoleCoordinator, "c1")
	socket := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", cfg.adminSocket())
	}}}
	for name, tt := range map[string]struct {
		client *http.Client
		url    string
		status int // 0: refused before
		says   string
	}{
		"a browser":                       {http.DefaultClient, "http://" + cfg.Listen, 200, "pages"},
		"root":                            {socket, "http://noded", 200, "service"},
		"a coordinator":                   {coordinator.HTTP(identity.RoleNode, "n1"), "https://" + cfg.API.Listen, 200, "service"},
		"a coordinator for another node":  {coordinator.HTTP(identity.RoleNode, "n2"), "https://" + cfg.API.Listen, 0, ""},
		"another node":                    {c.Member(identity.RoleNode, "n2").HTTP("", ""), "https://" + cfg.API.Listen, 403, "only a coordinator"},
		"another cluster's coordinator":   {foreign.Member(identity.RoleCoordinator, "c1").HTTP("", ""), "https://" + cfg.API.Listen, 0, ""},
		"a browser at the wrong door":     {http.DefaultClient, "http://" + cfg.API.Listen, 400, "HTTP request to an HTTPS server"},
		"a coordinator at the wrong door": {coordinator.HTTP("", ""), "https://" + cfg.Listen, 0, ""},
	} {
		resp, err := tt.client.Get(tt.url)
		tt.client.CloseIdleConnections()
		if err != nil {
			if tt.status != 0 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.says) {
			t.Errorf("%s: %d %q %v", name, resp.StatusCode, body, err)
		}
	}
}

func TestNodeThatHasNotJoinedSaysHow(t *testing.T) {
	cfg := defaults()
	cfg.StateDir = t.TempDir()
	if _, err := loadMember(cfg); err == nil || !strings.Contains(err.Error(), "coordinator token --role node") || !strings.Contains(err.Error(), "noded join") {
		t.Errorf("got %v", err)
	}
	c := identitytest.New(t)
	m := c.Member(identity.RoleNode, "n1")
	for name, says := range map[string]string{"n1": "", "n2": "set name to n1"} {
		cfg.Name = name
		if err := os.RemoveAll(cfg.identityDir()); err != nil {
			t.Fatal(err)
		}
		c.MemberIn(cfg.identityDir(), m.Role(), m.Name(), m.Expires().Add(-identity.CertificateLife))
		if _, err := loadMember(cfg); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJoinReadsItsTokenFromAFileOrStdin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("easel-join-1.x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := write(t, "state_dir: "+t.TempDir()+"\n")
	if code, _, stderr := cli(t, "join", "--token-file", path, "--config", config); code != exitFailed || !strings.Contains(stderr, "no join token") {
		t.Errorf("a broken token: %d %q", code, stderr)
	}
	if code, _, stderr := cli(t, "join", "--token-file", path+"x", "--config", config); code != exitFailed || !strings.Contains(stderr, "read the join token") {
		t.Errorf("no file: %d %q", code, stderr)
	}
	if code, _, stderr := cli(t, "join", "easel-join-1.x", "--config", config); code != exitUsage || !strings.Contains(stderr, "stdin") || strings.Contains(stderr, "easel-join-1.x") {
		t.Errorf("a token as an argument: %d %q", code, stderr)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := readToken("-", f, io.Discard); err != nil || text != "easel-join-1.x\n" {
		t.Errorf("%q %v", text, err)
	}
}
