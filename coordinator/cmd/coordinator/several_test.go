package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newPlaceOf is newPlace of one of several coordinators.
func newPlaceOf(t *testing.T, name string, gossip ...string) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, dir: dir, file: filepath.Join(dir, "coordinator.yaml")}
	text := fmt.Sprintf("name: %s\nlisten: %s\nstate_dir: %s/state\nrun_dir: %s/run\ncluster: {bind: %s, join: [%s]}\napi: {listen: %s}\nlog: {level: debug}\n",
		name, freeAddr(t), dir, dir, freeAddr(t), strings.Join(gossip, ", "), freeAddr(t))
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

// standing waits until "member list" on p tells of as many coordinators with votes.
func (p *place) standing(votes int) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		list := p.mustRun("", "member", "list")
		if strings.Count(list, " leader") == 1 && strings.Count(list, " voter") == votes-1 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s knows\n%s", p.cfg.Name, list)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *place) join(first *place) {
	p.t.Helper()
	p.mustRun(first.mustRun("", "token", "--role", "coordinator", "--name", p.cfg.Name), "join")
}

func TestThreeCoordinatorsAnswerForEachOther(t *testing.T) {
	a := newPlaceOf(t, "a")
	_, stopA := a.daemon()
	a.mustRun(password+"\n", "user", "add", "--role", "admin", "ada")
	b, c := newPlaceOf(t, "b", a.cfg.Cluster.Bind), newPlaceOf(t, "c", a.cfg.Cluster.Bind)
	for _, p := range []*place{b, c} {
		p.join(a)
		p.run()
	}
	for _, p := range []*place{a, b, c} {
		p.standing(3)
	}

	// A link that one made works on another, and the cookie on all.
	link := strings.TrimSpace(a.mustRun("", "signin-link", "--user", "ada"))
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 15 * time.Second}
	get := func(p *place, path string) (int, string) {
		t.Helper()
		resp, err := client.Get("http://" + p.cfg.Listen + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if status, _ := get(b, link[strings.Index(link, "/signin"):]); status != http.StatusOK {
		t.Fatalf("the link on another coordinator: %d", status)
	}
	me := func(p *place) {
		t.Helper()
		if status, body := get(p, "/api/v1/me"); status != http.StatusOK || !strings.Contains(body, "ada") {
			t.Errorf("%s: %d %s", p.cfg.Name, status, body)
		}
	}
	for _, p := range []*place{a, b, c} {
		me(p)
	}

	begun := time.Now()
	stopA()
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the end took %v", took)
	}
	b.mustRun("", "user", "add", "--no-password", "bob")
	if list := c.mustRun("", "user", "list"); !strings.Contains(list, "bob") {
		t.Errorf("accounts elsewhere:\n%s", list)
	}
	me(b)
	me(c)
	if code, _, stderr := a.command("", "user", "list"); code == exitDone || !strings.Contains(stderr, "one of several") {
		t.Errorf("a command on a coordinator that does not run: %s", stderr)
	}

	b.mustRun("", "member", "remove", "--role", "coordinator", "a")
	b.standing(1)
	if list := b.mustRun("", "member", "list"); !strings.Contains(list, " copy") || strings.Contains(list, a.cfg.API.URL) {
		t.Errorf("after the removal:\n%s", list)
	}
}

func TestRecoverGoesOnAlone(t *testing.T) {
	a, b := newPlaceOf(t, "a"), (*place)(nil)
	_, stopA := a.daemon()
	b = newPlaceOf(t, "b", a.cfg.Cluster.Bind)
	b.join(a)
	_, stopB := b.run()
	b.standing(1)
	if _, _, stderr := b.command("", "member", "list"); !strings.Contains(stderr, "2 coordinators survive the loss of no more than 1") {
		t.Errorf("of two: %s", stderr)
	}
	b.mustRun("", "user", "add", "--no-password", "bob")
	if code, _, stderr := b.command("", "recover"); code == exitDone || !strings.Contains(stderr, "stop this coordinator first") {
		t.Errorf("while it runs: %s", stderr)
	}
	stopA()
	stopB()
	if said := b.mustRun("", "recover"); !strings.Contains(said, "alone now") {
		t.Errorf("said %q", said)
	}
	_, _ = b.run()
	if list := b.mustRun("", "user", "list"); !strings.Contains(list, "bob") {
		t.Errorf("accounts:\n%s", list)
	}
	b.mustRun("", "member", "remove", "--role", "coordinator", "a")
	if list := b.mustRun("", "member", "list"); !strings.Contains(list, "alone") || strings.Contains(list, a.cfg.API.URL) {
		t.Errorf("members:\n%s", list)
	}
}

func TestJoinWithAStateOfItsOwnIsRefused(t *testing.T) {
	a := newPlaceOf(t, "a")
	a.daemon()
	b := newPlaceOf(t, "b", a.cfg.Cluster.Bind)
	b.mustRun("", "user", "add", "--no-password", "bob")
	token := a.mustRun("", "token", "--role", "coordinator", "--name", "b")
	if code, _, stderr := b.command(token, "join"); code == exitDone || !strings.Contains(stderr, "empty state_dir") {
		t.Errorf("join: %s", stderr)
	}
	if _, err := os.Stat(b.cfg.identityDir()); err == nil {
		t.Error("the token was used all the same")
	}
	// What has accounts but no cluster goes on without it; an empty state may go.
	c := newPlaceOf(t, "c", a.cfg.Cluster.Bind)
	c.mustRun("", "user", "list")
	c.join(a)
}
