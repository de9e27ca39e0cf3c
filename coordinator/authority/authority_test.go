package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"easel/coordinator/state"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/identity"
)

// clock is a coordinator's, which may be wrong.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

func openState(t *testing.T, path string) *state.Store {
	t.Helper()
	store, err := state.Open(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// newAuthority founds a cluster whose coordinator c1 is said to be at url.
func newAuthority(t *testing.T, url string) (*Authority, *clock) {
	t.Helper()
	return newAuthorityAt(t, url, 0)
}

// newAuthorityAt founds it by a clock that is ahead.
func newAuthorityAt(t *testing.T, url string, ahead time.Duration) (*Authority, *clock) {
	t.Helper()
	c := &clock{ahead: ahead}
	a := New(openState(t, filepath.Join(t.TempDir(), "c.db")))
	a.now = c.now
	if err := a.Found(t.Context(), "c1", url); err != nil {
		t.Fatal(err)
	}
	return a, c
}

func request(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func (a *Authority) secret(t *testing.T, role, name string) string {
	t.Helper()
	text, err := a.NewToken(t.Context(), role, name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	token, err := identity.ParseJoinToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return token.Secret
}

const somewhere = "https://127.0.0.1:8444"

func TestFoundingIsRepeatedWithoutHarm(t *testing.T) {
	store := openState(t, filepath.Join(t.TempDir(), "c.db"))
	first := New(store)
	for name, do := range map[string]func() error{
		"token": func() error { _, err := first.NewToken(t.Context(), "node", "", time.Hour); return err },
		"join":  func() error { _, err := first.Join(t.Context(), "x", "node", "n", nil); return err },
		"renew": func() error { _, err := first.Renew(t.Context(), "node", "n", nil); return err },
		"trust": func() error { _, err := first.Trust(); return err },
	} {
		if err := do(); !errors.Is(err, ErrNotFounded) {
			t.Errorf("%s before the founding: %v", name, err)
		}
	}
	if err := first.Found(t.Context(), "c1", somewhere); err != nil {
		t.Fatal(err)
	}
	trust, err := first.Trust()
	if err != nil {
		t.Fatal(err)
	}
	second := New(store) // the first was killed before it made its own certificate
	if err := second.Found(t.Context(), "c1", somewhere); err != nil {
		t.Fatalf("the second time: %v", err)
	}
	again, err := second.Trust()
	if err != nil || again.GetVersion() != trust.GetVersion() || !proto.Equal(again, trust) {
		t.Errorf("the second time the trust is %v, %v", again, err)
	}
	if len(trust.GetGossipKeys()) != 1 || len(trust.GetGossipKeys()[0]) != 32 || len(trust.GetCoordinators()) != 1 {
		t.Errorf("the trust is %v", trust)
	}
	m, err := second.MakeMember(t.Context(), t.TempDir(), "c1")
	if err != nil || m.Role() != "coordinator" || m.Name() != "c1" {
		t.Fatalf("%v, %v", m, err)
	}
	for _, bad := range [][2]string{{"", somewhere}, {"a/b", somewhere}, {"c1", "http://127.0.0.1:1"}, {"c1", ""}} {
		if err := second.Found(t.Context(), bad[0], bad[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestTokenIsRefused(t *testing.T) {
	a, clock := newAuthority(t, somewhere)
	join := func(secret, role, name string) error {
		_, err := a.Join(t.Context(), secret, role, name, request(t))
		return err
	}
	used := a.secret(t, "node", "")
	if err := join(used, "node", "n1"); err != nil {
		t.Fatal(err)
	}
	early := a.secret(t, "node", "")
	clock.set(time.Hour + time.Second)
	late := a.secret(t, "node", "")
	for name, tt := range map[string]struct {
		secret, role, name string
		want               error
	}{
		"forged":          {identity.NewJoinSecret(), "node", "n2", ErrToken},
		"empty":           {"", "node", "n2", ErrToken},
		"its own hash":    {tokenKey(late), "node", "n2", ErrToken},
		"expired":         {early, "node", "n2", ErrExpired},
		"used":            {used, "node", "n2", ErrExpired},
		"wrong role":      {late, "coordinator", "c2", ErrOtherUse},
		"another's name":  {a.secret(t, "node", "n7"), "node", "n2", ErrOtherUse},
		"a living name":   {late, "node", "n1", ErrTaken},
		"no name":         {late, "node", "", ErrInvalid},
		"no role":         {late, "admin", "n2", ErrInvalid},
		"a path for name": {late, "node", "../n2", ErrInvalid},
	} {
		if err := join(tt.secret, tt.role, tt.name); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	if err := join(late, "node", "n2"); err != nil {
		t.Errorf("refusals spent the token: %v", err)
	}
	if err := join(late, "node", "n3"); !errors.Is(err, ErrUsed) {
		t.Errorf("used: %v", err)
	}
	if _, err := a.Join(t.Context(), a.secret(t, "node", ""), "node", "n4", []byte("x")); !errors.Is(err, ErrInvalid) {
		t.Errorf("no request: %v", err)
	}
	for _, life := range []time.Duration{0, -time.Hour, 1000 * time.Hour} {
		if _, err := a.NewToken(t.Context(), "node", "", life); !errors.Is(err, ErrInvalid) {
			t.Errorf("a life of %v: %v", life, err)
		}
	}
	if _, err := a.NewToken(t.Context(), "root", "", time.Hour); !errors.Is(err, ErrInvalid) {
		t.Errorf("a role that is none: %v", err)
	}
}

// A token that two present at once lets in one of them; the winner may ask again, as when the answer was lost.
func TestTokenUsedTwiceAtOnce(t *testing.T) {
	a, _ := newAuthority(t, somewhere)
	secret := a.secret(t, "node", "")
	var wg sync.WaitGroup
	errs, requests := make([]error, 8), make([][]byte, 8)
	for i := range errs {
		requests[i] = request(t)
		wg.Go(func() { _, errs[i] = a.Join(t.Context(), secret, "node", "n"+string(rune('a'+i)), requests[i]) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		if err == nil && winner < 0 {
			winner = i
		} else if !errors.Is(err, ErrUsed) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody was let in")
	}
	name := "n" + string(rune('a'+winner))
	if _, err := a.Join(t.Context(), secret, "node", name, requests[winner]); err != nil {
		t.Errorf("the winner asks again: %v", err)
	}
	if _, err := a.Join(t.Context(), a.secret(t, "node", ""), "node", name, requests[winner]); err != nil {
		t.Errorf("the winner asks again with another token: %v", err)
	}
	if _, err := a.Join(t.Context(), secret, "node", "other", requests[winner]); !errors.Is(err, ErrUsed) {
		t.Errorf("the winner asks for another name: %v", err)
	}
	if err := a.Remove(t.Context(), "node", name); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Join(t.Context(), secret, "node", name, requests[winner]); !errors.Is(err, ErrUsed) {
		t.Errorf("removed, it comes back by the old token: %v", err)
	}
}

func TestRemovalRefusesEveryCertificateOfBefore(t *testing.T) {
	a, clock := newAuthority(t, somewhere)
	join := func(secret string) time.Time {
		t.Helper()
		der, err := a.Join(t.Context(), secret, "node", "n1", request(t))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert.NotBefore.Add(identity.Backdate)
	}
	removed := func() *easelv1.Removed {
		t.Helper()
		trust, err := a.Trust()
		if err != nil || len(trust.GetRemoved()) != 1 {
			t.Fatalf("%v, %v", trust, err)
		}
		return trust.GetRemoved()[0]
	}
	// One coordinator's clock is an hour ahead, and it signs; then another's removes.
	clock.set(time.Hour)
	first := join(a.secret(t, "node", ""))
	clock.set(0)
	if err := a.Remove(t.Context(), "node", "n1"); err != nil {
		t.Fatal(err)
	}
	if r := removed(); !first.Before(r.GetBefore().AsTime()) || r.GetBack() {
		t.Errorf("issued at %v, removed before %v, back %v", first, r.GetBefore().AsTime(), r.GetBack())
	}
	if _, err := a.Renew(t.Context(), "node", "n1", request(t)); !errors.Is(err, identity.ErrRemoved) {
		t.Errorf("renewal: %v", err)
	}
	// It joins again at once: its new certificate counts although the clock is behind the removal.
	if second, r := join(a.secret(t, "node", "")), removed(); second.Before(r.GetBefore().AsTime()) || !r.GetBack() {
		t.Errorf("issued at %v, removed before %v, back %v", second, r.GetBefore().AsTime(), r.GetBack())
	}
	if err := a.Remove(t.Context(), "node", "n1"); err != nil || removed().GetBack() {
		t.Errorf("removed again: %v", err)
	}
	if err := a.Remove(t.Context(), "node", "n1"); !errors.Is(err, ErrNoMember) {
		t.Errorf("removed a third time: %v", err)
	}
	if err := a.Remove(t.Context(), "coordinator", "c1"); !errors.Is(err, ErrLast) {
		t.Errorf("the last coordinator: %v", err)
	}
	clock.set(72 * time.Hour)
	if err := a.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trust, err := a.Trust(); err != nil || len(trust.GetRemoved()) != 0 {
		t.Errorf("after three days: %v, %v", trust.GetRemoved(), err)
	}
}

func TestCoordinatorsRegister(t *testing.T) {
	a, _ := newAuthority(t, somewhere)
	if _, err := a.Join(t.Context(), a.secret(t, "coordinator", ""), "coordinator", "c2", request(t)); err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	if err := a.Register(t.Context(), "c2", "https://127.0.0.1:9", key); err != nil {
		t.Fatal(err)
	}
	trust, err := a.Trust()
	if err != nil || len(trust.GetCoordinators()) != 2 || len(trust.GetTokenKeys()) != 1 {
		t.Fatalf("%v, %v", trust, err)
	}
	if err := a.Register(t.Context(), "c2", "https://127.0.0.1:9", key); err != nil {
		t.Fatal(err)
	}
	if again, err := a.Trust(); err != nil || again.GetVersion() != trust.GetVersion() {
		t.Errorf("the same again made another version: %v", err)
	}
	members, err := a.Members()
	if err != nil || len(members) != 2 || members[1].URL != "https://127.0.0.1:9" || members[0].Role != "coordinator" {
		t.Errorf("%+v, %v", members, err)
	}
	if err := a.Remove(t.Context(), "coordinator", "c2"); err != nil {
		t.Fatal(err)
	}
	if err := a.Register(t.Context(), "c2", "https://127.0.0.1:9", key); !errors.Is(err, identity.ErrRemoved) {
		t.Errorf("removed, it registers: %v", err)
	}
	if trust, err := a.Trust(); err != nil || len(trust.GetCoordinators()) != 1 || len(trust.GetTokenKeys()) != 0 {
		t.Errorf("after its removal %v, %v", trust, err)
	}
}

// host is a coordinator on a real listener.
type host struct {
	*Authority
	self  *identity.Member
	clock *clock
	url   string
	hook  func(http.Handler) http.Handler
}

func newHost(t *testing.T) *host {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{url: "https://" + l.Addr().String()}
	h.Authority, h.clock = newAuthorityAt(t, h.url, -100*time.Hour)
	h.clock.set(0)
	if h.self, err = h.MakeMember(t.Context(), t.TempDir(), "c1"); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Handle(mux, h.self, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{
		TLSConfig: h.self.JoinTLS(), ReadHeaderTimeout: time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if h.hook != nil {
				h.hook(mux).ServeHTTP(w, r)
				return
			}
			mux.ServeHTTP(w, r)
		}),
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ServeTLS(h.self.Listen(l), "", "") })
	wg.Go(func() { h.follow(ctx, h.self, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() { cancel(); _ = server.Close(); wg.Wait() })
	return h
}

func (h *host) token(t *testing.T, role string) identity.JoinToken {
	t.Helper()
	text, err := h.NewToken(t.Context(), role, "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	token, err := identity.ParseJoinToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// follow runs a member's part until the test ends.
func follow(t *testing.T, m *identity.Member) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { m.Follow(ctx, slog.New(slog.DiscardHandler), nil) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestNodeJoinsFollowsAndRenews(t *testing.T) {
	h := newHost(t)
	m, err := identity.Join(t.Context(), t.TempDir(), "node", "n1", h.token(t, "node"))
	if err != nil {
		t.Fatal(err)
	}
	follow(t, m)
	client := easelv1connect.NewClusterServiceClient(m.HTTP("coordinator", "c1"), h.url)
	ask := func(ctx context.Context, csr []byte) ([]byte, error) {
		answer, err := client.Renew(ctx, connect.NewRequest(&easelv1.RenewRequest{Csr: csr}))
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetCertificate(), nil
	}
	if err := h.Register(t.Context(), "c1", h.url, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node has the coordinator's token key", func() bool { return len(m.Trust().GetTokenKeys()) == 1 })
	old := m.RenewAt()
	eventually(t, "a second passes", func() bool { return time.Now().After(old.Add(1100*time.Millisecond - identity.CertificateLife*2/3)) })
	if err := m.Renew(t.Context(), ask); err != nil || !m.RenewAt().After(old) {
		t.Errorf("renewal: %v", err)
	}
	if members, err := h.Members(); err != nil || len(members) != 2 || members[1].Name != "n1" || members[1].Role != "node" {
		t.Errorf("%+v, %v", members, err)
	}
	if err := h.Remove(t.Context(), "node", "n1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the coordinator refuses it", func() bool {
		_, err := ask(t.Context(), request(t))
		return err != nil
	})
}

// The coordinator was killed after it had spent the token, before the node heard: the same command ends the join.
func TestJoinWhoseAnswerWasLostIsRepeated(t *testing.T) {
	h := newHost(t)
	lost := 0
	h.hook = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lost++; lost == 1 {
				next.ServeHTTP(nothing{}, r)
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	}
	dir, token := t.TempDir(), h.token(t, "node")
	if _, err := identity.Join(t.Context(), dir, "node", "n1", token); err == nil {
		t.Fatal("the answer was not lost")
	}
	if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNotJoined) {
		t.Fatalf("between: %v", err)
	}
	if _, err := identity.Join(t.Context(), t.TempDir(), "node", "n1", token); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("another host with the same token: %v", err)
	}
	m, err := identity.Join(t.Context(), dir, "node", "n1", token)
	if err != nil || m.Name() != "n1" {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

type nothing struct{}

func (nothing) Header() http.Header         { return http.Header{} }
func (nothing) Write(b []byte) (int, error) { return len(b), nil }
func (nothing) WriteHeader(int)             {}

func TestJoinRefusesBeforeItAsks(t *testing.T) {
	h, other := newHost(t), newHost(t)
	dir := t.TempDir()
	if _, err := identity.Join(t.Context(), dir, "node", "n1", h.token(t, "node")); err != nil {
		t.Fatal(err)
	}
	expired := h.token(t, "node")
	expired.Expires = time.Now().Add(-time.Hour)
	elsewhere := h.token(t, "node")
	elsewhere.Addresses = []string{other.url} // it takes the address of another cluster: somebody in between
	gone := h.token(t, "node")
	gone.Addresses = []string{"https://127.0.0.1:1"}
	for name, tt := range map[string]struct {
		dir, role, name string
		token           identity.JoinToken
		says            string
	}{
		"another cluster's token":  {dir, "node", "n1", other.token(t, "node"), "another one"},
		"a coordinator's token":    {t.TempDir(), "node", "n2", h.token(t, "coordinator"), "for a coordinator"},
		"expired":                  {t.TempDir(), "node", "n2", expired, "expired at"},
		"a bad name":               {t.TempDir(), "node", "n/2", h.token(t, "node"), "letters"},
		"another cluster answers":  {t.TempDir(), "node", "n2", elsewhere, "not of this cluster"},
		"nobody answers":           {t.TempDir(), "node", "n2", gone, "refused"},
		"a living member's name":   {t.TempDir(), "node", "n1", h.token(t, "node"), "member remove"},
		"this host, not removed":   {dir, "node", "n1", h.token(t, "node"), "member remove"},
		"a coordinator, joining n": {t.TempDir(), "coordinator", "c2", h.token(t, "node"), "for a node"},
	} {
		if _, err := identity.Join(t.Context(), tt.dir, tt.role, tt.name, tt.token); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.Remove(t.Context(), "node", "n1"); err != nil {
		t.Fatal(err)
	}
	if m, err := identity.Join(t.Context(), dir, "node", "n1", h.token(t, "node")); err != nil || m.Removed() {
		t.Errorf("removed, it joins again: %v", err)
	}
}

// An old copy of the state must not hold back what is changed after it was restored.
func TestRestoredStateOvertakesItsMembers(t *testing.T) {
	a, clock := newAuthority(t, somewhere)
	for range 3 {
		if err := a.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ahead, err := a.version()
	if err != nil {
		t.Fatal(err)
	}
	restored, later := newAuthority(t, somewhere) // as if it were the copy of before
	clock.set(0)
	later.set(time.Minute)
	if err := restored.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if version, err := restored.version(); err != nil || version <= ahead {
		t.Errorf("version %d after %d, %v", version, ahead, err)
	}
}
