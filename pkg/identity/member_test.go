package identity_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
)

// serve runs an HTTP server of member m for members of role, until the test ends. Its answer is who asked; /wait answers when the
// connection ends.
func serve(t *testing.T, m *identity.Member, role string, conf *tls.Config) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", m.Only(role, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := identity.PeerFrom(r.Context())
		if !ok {
			http.Error(w, "nobody", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, p.Role+" "+p.Name)
		if r.URL.Path == "/wait" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})))
	server := &http.Server{Handler: mux, TLSConfig: conf, ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ServeTLS(m.Listen(l), "", "") })
	t.Cleanup(func() { _ = server.Close(); wg.Wait() })
	return l.Addr().String()
}

func get(t *testing.T, client *http.Client, addr string) (int, string, error) {
	t.Helper()
	t.Cleanup(client.CloseIdleConnections)
	resp, err := client.Get("https://" + addr + "/")
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 {
		t.Errorf("HTTP/%d", resp.ProtoMajor)
	}
	return resp.StatusCode, string(body), err
}

func TestMembersSpeakWithOneAnother(t *testing.T) {
	c := identitytest.New(t)
	node, coordinator := c.Member("node", "n1"), c.Member("coordinator", "c1")
	addr := serve(t, node, "coordinator", node.ServerTLS())
	code, body, err := get(t, coordinator.HTTP("node", "n1"), addr)
	if err != nil || code != 200 || body != "coordinator c1" {
		t.Fatalf("%d %q %v", code, body, err)
	}
	if code, body, err := get(t, c.Member("node", "n2").HTTP("node", "n1"), addr); err != nil || code != http.StatusForbidden || !strings.Contains(body, "only a coordinator") {
		t.Errorf("a node at the coordinators' door: %d %q %v", code, body, err)
	}
	if _, _, err := get(t, coordinator.HTTP("node", "n2"), addr); !errors.Is(err, identity.ErrWrongPeer) {
		t.Errorf("another node than was asked for: %v", err)
	}
	if _, _, err := get(t, coordinator.HTTP("coordinator", ""), addr); !errors.Is(err, identity.ErrWrongPeer) {
		t.Errorf("a node where a coordinator was asked for: %v", err)
	}
}

func TestHandshakeRefuses(t *testing.T) {
	c, foreign := identitytest.New(t), identitytest.New(t)
	node := c.Member("node", "n1")
	addr := serve(t, node, "coordinator", node.ServerTLS())
	clients := map[string]*tls.Config{
		"nobody":                {InsecureSkipVerify: true, NextProtos: []string{"h2"}},
		"another cluster's":     trustful(foreign.Member("coordinator", "c1")),
		"of two days ago":       trustful(c.MemberIn(t.TempDir(), "coordinator", "c2", time.Now().Add(-48*time.Hour))),
		"of tomorrow":           trustful(c.MemberIn(t.TempDir(), "coordinator", "c3", time.Now().Add(24*time.Hour))),
		"TLS 1.2":               {InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		"a removed coordinator": trustful(c.Member("coordinator", "gone")),
	}
	c.Remove("coordinator", "gone")
	for name, conf := range clients {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}}
			t.Cleanup(client.CloseIdleConnections)
			if resp, err := client.Get("https://" + addr); err == nil {
				resp.Body.Close()
				t.Errorf("answered %d", resp.StatusCode)
			}
		})
	}
	for name, issued := range map[string]time.Duration{"clock behind by nine minutes": 9 * time.Minute, "clock ahead by 23 hours": -23 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			m := c.MemberIn(t.TempDir(), "coordinator", "skewed", time.Now().Add(issued))
			if code, _, err := get(t, m.HTTP("node", "n1"), addr); err != nil || code != 200 {
				t.Errorf("%d %v", code, err)
			}
		})
	}
	t.Run("a server of another cluster", func(t *testing.T) {
		if _, _, err := get(t, foreign.Member("coordinator", "c1").HTTP("node", "n1"), addr); !errors.Is(err, identity.ErrForeign) {
			t.Errorf("got %v", err)
		}
	})
}

// trustful is a client that believes every server, so that it is the server who refuses.
func trustful(m *identity.Member) *tls.Config {
	conf := m.ClientTLS("node", "")
	conf.VerifyConnection = nil
	return conf
}

func TestJoinDoorLetsInWhoHasNoCertificateAndNobodyElse(t *testing.T) {
	c := identitytest.New(t)
	m := c.Member("coordinator", "c1")
	addr := serve(t, m, "", m.JoinTLS())
	anonymous := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	if code, body, err := get(t, anonymous, addr); err != nil || code != http.StatusForbidden || !strings.Contains(body, "shows no certificate") {
		t.Errorf("%d %q %v", code, body, err)
	}
	if code, _, err := get(t, c.Member("node", "n1").HTTP("coordinator", ""), addr); err != nil || code != 200 {
		t.Errorf("a member: %d %v", code, err)
	}
	foreign := &http.Client{Transport: &http.Transport{TLSClientConfig: trustful(identitytest.New(t).Member("node", "n1")), ForceAttemptHTTP2: true}}
	if code, _, err := get(t, foreign, addr); err == nil {
		t.Errorf("another cluster's member: %d", code)
	}
}

// A removal ends what stands at both ends at once: the removed one's requests, and the others' to it.
func TestRemovalEndsStandingConnections(t *testing.T) {
	c := identitytest.New(t)
	node, coordinator := c.Member("node", "n1"), c.Member("coordinator", "c1")
	other := c.Member("coordinator", "c2")
	addr := serve(t, node, "coordinator", node.ServerTLS())
	wait := func(m *identity.Member) (ended chan error) {
		client := m.HTTP("node", "n1")
		t.Cleanup(client.CloseIdleConnections)
		resp, err := client.Get("https://" + addr + "/wait")
		if err != nil {
			t.Fatal(err)
		}
		ended = make(chan error, 1)
		go func() {
			_, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			ended <- err
		}()
		return ended
	}
	removed, stays := wait(coordinator), wait(other)
	c.Remove("coordinator", "c1")
	select {
	case err := <-removed:
		if err == nil {
			t.Error("the removed coordinator's request ended well")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the removed coordinator's connection stands")
	}
	if !coordinator.Removed() || other.Removed() {
		t.Error("who was removed is told wrongly")
	}
	if _, _, err := get(t, coordinator.HTTP("node", "n1"), addr); err == nil {
		t.Error("the removed coordinator connected again")
	}
	select {
	case err := <-stays:
		t.Fatalf("another coordinator's request ended too: %v", err)
	default:
	}
	c.Remove("node", "n1")
	select {
	case <-stays:
	case <-time.After(30 * time.Second):
		t.Fatal("the connection to the removed node stands")
	}
	if _, _, err := get(t, other.HTTP("node", "n1"), addr); !errors.Is(err, identity.ErrRemoved) {
		t.Errorf("the removed node was reached: %v", err)
	}
	// It joins again: a certificate of after the removal counts.
	back := c.MemberIn(t.TempDir(), "node", "n1", time.Now().Add(2*time.Second))
	addr = serve(t, back, "coordinator", back.ServerTLS())
	if code, _, err := get(t, other.HTTP("node", "n1"), addr); err != nil || code != 200 {
		t.Errorf("after it joined again: %d %v", code, err)
	}
}

func TestTrustIsKeptAndNeverOlder(t *testing.T) {
	c := identitytest.New(t)
	dir := t.TempDir()
	m := c.MemberIn(dir, "node", "n1", time.Now())
	signer := c.Signer()
	token, err := signer.Sign(identity.Claims{
		Audience: identity.SessionAudience("s"), Subject: "ada", Scope: identity.ScopeView, IssuedAt: time.Now(), Expires: time.Now().Add(time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	changed := m.Changed()
	old := c.Trust()
	c.Change(func(trust *easelv1.Trust) { trust.TokenKeys = nil })
	select {
	case <-changed:
	default:
		t.Error("a change was not told")
	}
	if _, err := m.Verify(token, identity.SessionAudience("s"), time.Now()); !errors.Is(err, identity.ErrSignature) {
		t.Errorf("a key that is trusted no more: %v", err)
	}
	if err := m.SetTrust(old); err != nil {
		t.Fatal(err)
	}
	if got := m.Trust().GetVersion(); got != c.Trust().GetVersion() {
		t.Errorf("an older trust replaced the newer: version %d", got)
	}
	if err := m.SetTrust(identitytest.New(t).Trust()); err == nil {
		t.Error("another cluster's trust was taken")
	}
	registry := prometheus.NewRegistry()
	m.Register(registry)
	metrics, err := registry.Gather()
	if err != nil || len(metrics) != 2 || int64(metrics[0].GetMetric()[0].GetGauge().GetValue()) != m.Expires().Unix() {
		t.Errorf("metrics %v, %v", metrics, err)
	}
	again, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Trust().GetVersion() != c.Trust().GetVersion() || again.Name() != "n1" || again.Role() != "node" || again.Cluster() != c.Authority.Cluster() {
		t.Errorf("loaded %s %s, trust %d", again.Role(), again.Name(), again.Trust().GetVersion())
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := identity.Load(t.TempDir()); !errors.Is(err, identity.ErrNotJoined) {
		t.Errorf("an empty directory: %v", err)
	}
	other := t.TempDir()
	identitytest.New(t).MemberIn(other, "node", "n1", time.Now())
	for name, spoil := range map[string]func(dir string) error{
		"open key":           func(dir string) error { return os.Chmod(filepath.Join(dir, "member.pem"), 0o644) },
		"open trust":         func(dir string) error { return os.Chmod(filepath.Join(dir, "trust.json"), 0o640) },
		"no trust":           func(dir string) error { return os.Remove(filepath.Join(dir, "trust.json")) },
		"broken trust":       func(dir string) error { return os.WriteFile(filepath.Join(dir, "trust.json"), []byte("{"), 0o600) },
		"broken certificate": func(dir string) error { return os.Truncate(filepath.Join(dir, "member.pem"), 300) },
		"empty certificate":  func(dir string) error { return os.Truncate(filepath.Join(dir, "member.pem"), 0) },
		"another cluster's own": func(dir string) error {
			return os.Rename(filepath.Join(other, "trust.json"), filepath.Join(dir, "trust.json"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			identitytest.New(t).MemberIn(dir, "node", "n1", time.Now())
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := identity.Load(dir); err == nil || errors.Is(err, identity.ErrNotJoined) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCertificateRenewsItselfAtTwoThirdsOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := identitytest.New(t)
		dir := t.TempDir()
		m := c.MemberIn(dir, "node", "n1", time.Now())
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var asked []time.Duration
		var wg sync.WaitGroup
		wg.Go(func() {
			m.KeepRenewed(ctx, slog.New(slog.DiscardHandler), func(_ context.Context, csr []byte) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, time.Since(began))
				if len(asked) == 1 {
					return nil, errors.New("no coordinator")
				}
				return c.Authority.Issue(csr, "node", "n1", time.Now())
			})
		})
		time.Sleep(17 * time.Hour)
		synctest.Wait()
		mu.Lock()
		first := slices.Clone(asked)
		mu.Unlock()
		if len(first) != 2 || first[0] != 16*time.Hour || first[1] > 16*time.Hour+2*time.Minute {
			t.Fatalf("asked after %v", first)
		}
		if left := time.Until(m.Expires()); left < 22*time.Hour {
			t.Errorf("the new certificate counts for %v", left)
		}
		again, err := identity.Load(dir)
		if err != nil || !again.Expires().Equal(m.Expires()) {
			t.Errorf("what is kept: %v", err)
		}
		time.Sleep(60 * 24 * time.Hour)
		cancel()
		wg.Wait()
		if time.Until(m.Expires()) < 7*time.Hour {
			t.Errorf("after two months it counts for %v", time.Until(m.Expires()))
		}
	})
}

func TestRenewRefusesWhatIsNotItsOwn(t *testing.T) {
	c, other := identitytest.New(t), identitytest.New(t)
	dir := t.TempDir()
	m := c.MemberIn(dir, "node", "n1", time.Now())
	expires := m.Expires()
	for name, issue := range map[string]func(context.Context, []byte) ([]byte, error){
		"another name": func(_ context.Context, csr []byte) ([]byte, error) {
			return c.Authority.Issue(csr, "node", "n2", time.Now())
		},
		"another role": func(_ context.Context, csr []byte) ([]byte, error) {
			return c.Authority.Issue(csr, "coordinator", "n1", time.Now())
		},
		"another cluster": func(_ context.Context, csr []byte) ([]byte, error) {
			return other.Authority.Issue(csr, "node", "n1", time.Now())
		},
		"nothing":     func(context.Context, []byte) ([]byte, error) { return nil, nil },
		"another key": func(context.Context, []byte) ([]byte, error) { return c.Authority.Certificate(), nil },
	} {
		if err := m.Renew(t.Context(), issue); err == nil {
			t.Errorf("%s was taken", name)
		}
		if m.Name() != "n1" || m.Role() != "node" || !m.Expires().Equal(expires) {
			t.Fatalf("%s: it is %s %s now", name, m.Role(), m.Name())
		}
	}
	if _, err := identity.Load(dir); err != nil {
		t.Error(err)
	}
}

func TestAuthorityIsKeptInTwoPieces(t *testing.T) {
	c, other := identitytest.New(t), identitytest.New(t)
	key, err := c.Authority.Key()
	if err != nil {
		t.Fatal(err)
	}
	again, err := identity.ParseAuthority(c.Authority.Certificate(), key)
	if err != nil || again.Cluster() != c.Authority.Cluster() {
		t.Fatalf("%v", err)
	}
	if _, err := identity.ParseAuthority(other.Authority.Certificate(), key); err == nil {
		t.Error("another cluster's key was taken")
	}
	for _, csr := range [][]byte{nil, []byte("x"), c.Authority.Certificate()} {
		if _, err := again.Issue(csr, "node", "n1", time.Now()); err == nil {
			t.Errorf("%.10q was signed", csr)
		}
	}
	for _, bad := range [][2]string{{"root", "n"}, {"node", ""}, {"node", "a/b"}, {"node", "../x"}, {"node", strings.Repeat("x", 65)}} {
		if err := identity.CheckName(bad[0], bad[1]); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func joinToken() identity.JoinToken {
	return identity.JoinToken{
		Addresses: []string{"https://127.0.0.1:8444", "https://[::1]:1"}, Authority: sha256.Sum256([]byte("x")),
		Secret: identity.NewJoinSecret(), Role: "node", Expires: time.Unix(1_800_000_000, 0),
	}
}

func TestJoinTokenSurvivesItsText(t *testing.T) {
	want := joinToken()
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := identity.ParseJoinToken(" " + text + "\n")
	if err != nil || got.Secret != want.Secret || got.Authority != want.Authority || got.Role != "node" || !got.Expires.Equal(want.Expires) || len(got.Addresses) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", got)
	if strings.Contains(log.String(), want.Secret) {
		t.Error("the secret is in the log")
	}
	for name, bad := range map[string]string{
		"empty": "", "prefix alone": "easel-join-1.", "another's": "easel_abc", "cut": text[:len(text)-3], "more": text + "A", "line break": text[:30] + "\n" + text[30:],
		"a later kind": strings.Replace(text, "-1.", "-2.", 1), "huge": text + strings.Repeat("A", 4096),
	} {
		if _, err := identity.ParseJoinToken(bad); !errors.Is(err, identity.ErrJoinToken) || strings.Contains(err.Error(), text[20:]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*identity.JoinToken){
		"no address": func(t *identity.JoinToken) { t.Addresses = nil },
		"plain HTTP": func(t *identity.JoinToken) { t.Addresses = []string{"http://127.0.0.1:1"} },
		"a path":     func(t *identity.JoinToken) { t.Addresses = []string{"https://127.0.0.1:1/x"} },
		"no port":    func(t *identity.JoinToken) { t.Addresses = []string{"https://127.0.0.1"} },
		"a role":     func(t *identity.JoinToken) { t.Role = "root" },
		"no secret":  func(t *identity.JoinToken) { t.Secret = "" },
		"no end":     func(t *identity.JoinToken) { t.Expires = time.Time{} },
	} {
		token := joinToken()
		spoil(&token)
		if _, err := token.Encode(); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

func FuzzParseJoinToken(f *testing.F) {
	text, err := joinToken().Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{text, "", "easel-join-1.e30", text[:40]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := identity.ParseJoinToken(text)
		if err != nil {
			return
		}
		again, err := token.Encode()
		if err != nil {
			t.Fatalf("%q was read but cannot be written: %v", text, err)
		}
		if second, err := identity.ParseJoinToken(again); err != nil || second.Secret != token.Secret || second.Role != token.Role || !second.Expires.Equal(token.Expires) {
			t.Errorf("%q changed on its way: %v", text, err)
		}
	})
}

// Two trusts that remove the same member twice, as when it was removed, joined again and was removed again: the later counts.
func TestRemovedTwice(t *testing.T) {
	c := identitytest.New(t)
	node, coordinator := c.Member("node", "n1"), c.Member("coordinator", "c1")
	addr := serve(t, node, "coordinator", node.ServerTLS())
	c.Change(func(trust *easelv1.Trust) {
		trust.Removed = []*easelv1.Removed{{Role: "node", Name: "n1", Before: timestamppb.New(time.Now().Add(-time.Hour)), Back: true}}
	})
	if code, _, err := get(t, coordinator.HTTP("node", "n1"), addr); err != nil || code != 200 {
		t.Errorf("removed before it joined: %d %v", code, err)
	}
	c.Change(func(trust *easelv1.Trust) { trust.Removed[0].Before = timestamppb.New(time.Now().Add(time.Second)) })
	if _, _, err := get(t, coordinator.HTTP("node", "n1"), addr); !errors.Is(err, identity.ErrRemoved) {
		t.Errorf("removed again: %v", err)
	}
}
