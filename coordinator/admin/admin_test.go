package admin

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/coordinator/auth"
	"easel/coordinator/authority"
	"easel/coordinator/state"
)

const password = "correct horse battery"

type ender struct {
	mu    sync.Mutex
	ended []string
}

func (e *ender) EndAll(_ context.Context, user string) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = append(e.ended, user)
	return 2, nil
}

// daemon serves commands on a socket and returns the socket, the database and its log.
func daemon(t *testing.T) (socket, database string, sessions *ender, log *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	socket, database, sessions, log = filepath.Join(dir, "coordinator.sock"), filepath.Join(dir, "accounts.db"), &ender{}, &bytes.Buffer{}
	db, err := state.Open(database, 0)
	if err != nil {
		t.Fatal(err)
	}
	store, err := auth.New(db, auth.Options{Params: auth.Params{Time: 1, Memory: 64, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: Handler(Parts{Accounts: store, Cluster: authority.New(db), State: db, Sessions: sessions}, slog.New(slog.NewTextHandler(log, nil))), ReadHeaderTimeout: time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
		_ = db.Close()
	})
	return socket, database, sessions, log
}

func TestCommands(t *testing.T) {
	run := map[string]func(*testing.T) (socket, database string){
		"by the daemon": func(t *testing.T) (string, string) { s, d, _, _ := daemon(t); return s, d },
		"without a daemon": func(t *testing.T) (string, string) {
			return filepath.Join(t.TempDir(), "none.sock"), filepath.Join(t.TempDir(), "accounts.db")
		},
	}
	for name, where := range run {
		t.Run(name, func(t *testing.T) {
			socket, database := where(t)
			do := func(req Request) Answer {
				t.Helper()
				a, err := Run(t.Context(), socket, database, req)
				if err != nil {
					t.Fatalf("%s: %v", req.Op, err)
				}
				return a
			}
			if a := do(Request{Op: CreateLink}); a.User != "admin" || len(a.Secret) < 40 {
				t.Errorf("the first link is %q for %q", a.Secret, a.User)
			}
			do(Request{Op: AddAccount, User: "ada", Role: auth.RoleUser, Password: password})
			do(Request{Op: SetPassword, User: "ada", Password: password + "2"})
			if a := do(Request{Op: ListAccounts}); len(a.Accounts) != 2 || a.Accounts[0].Name != "ada" || !a.Accounts[0].HasPassword || a.Accounts[1].HasPassword {
				t.Errorf("accounts %+v", a.Accounts)
			}
			token := do(Request{Op: CreateToken, User: "ada", Name: "ci"})
			if list := do(Request{Op: ListTokens, User: "ada"}); len(list.Tokens) != 1 || list.Tokens[0].ID != token.ID || !strings.HasPrefix(token.Secret, "easel_") {
				t.Errorf("token %+v, listed %+v", token, list.Tokens)
			}
			do(Request{Op: RevokeToken, ID: token.ID})
			do(Request{Op: RemoveAccount, User: "ada"})
			for op, req := range map[string]Request{
				"no such account": {Op: SetPassword, User: "ada", Password: password},
				"is empty":        {Op: SetPassword, User: "admin"},
				"too short":       {Op: AddAccount, User: "bob", Role: auth.RoleUser, Password: "x"},
				"last admin":      {Op: RemoveAccount, User: "admin"},
				"no such API":     {Op: RevokeToken, ID: "x"},
				"does not know":   {Op: "account.promote"},
			} {
				if _, err := Run(t.Context(), socket, database, req); err == nil || !strings.Contains(err.Error(), op) {
					t.Errorf("%+v: got %v, want an error that says %q", req, err, op)
				}
			}
		})
	}
}

func TestRemovedUsersSessionsEnd(t *testing.T) {
	socket, _, sessions, _ := daemon(t)
	for _, req := range []Request{{Op: AddAccount, User: "ada", Role: auth.RoleUser}, {Op: RemoveAccount, User: "ada"}} {
		a, err := Ask(t.Context(), socket, req)
		if err != nil {
			t.Fatal(err)
		}
		if req.Op == RemoveAccount && a.Ended != 2 {
			t.Errorf("ended %d sessions", a.Ended)
		}
	}
	if len(sessions.ended) != 1 || sessions.ended[0] != "ada" {
		t.Errorf("ended the sessions of %v", sessions.ended)
	}
}

func TestSocketIsPrivateAndLogHoldsNoPassword(t *testing.T) {
	socket, _, _, log := daemon(t)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v, want mode 0600", info, err)
	}
	if _, err := Ask(t.Context(), socket, Request{Op: AddAccount, User: "ada", Role: auth.RoleUser, Password: password}); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Contains(got, password) || !strings.Contains(got, "account.add") {
		t.Errorf("logged %q", got)
	}
}

func TestMalformedCommands(t *testing.T) {
	socket, _, _, _ := daemon(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	for _, body := range []string{"", "x", `{"op":1}`, `{"op":"account.list","more":true}`, `[]`} {
		resp, err := client.Post("http://x/do", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", body, resp.StatusCode)
		}
	}
}

// A daemon that was killed leaves its socket behind: commands must not hang on it, and the next daemon
// must take its place.
func TestSocketOfAKilledDaemon(t *testing.T) {
	dir := t.TempDir()
	socket, database := filepath.Join(dir, "coordinator.sock"), filepath.Join(dir, "accounts.db")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), socket, database, Request{Op: ListAccounts}); err != nil {
		t.Errorf("a command beside a dead socket: %v", err)
	}
	l, err := Listen(socket)
	if err != nil {
		t.Fatalf("the next daemon: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLockedDatabaseWithoutADaemonSaysSo(t *testing.T) {
	_, database, _, _ := daemon(t)
	_, err := Run(t.Context(), filepath.Join(t.TempDir(), "wrong.sock"), database, Request{Op: ListAccounts})
	if !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(), "wrong.sock") {
		t.Errorf("got %v", err)
	}
}
