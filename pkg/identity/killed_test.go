package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// gatekeeper lets in whoever asks, as a coordinator whose checks are tested elsewhere.
type gatekeeper struct {
	easelv1connect.UnimplementedClusterServiceHandler
	ca    *Authority
	trust *easelv1.Trust
}

func (g *gatekeeper) Join(_ context.Context, req *connect.Request[easelv1.JoinRequest]) (*connect.Response[easelv1.JoinResponse], error) {
	cert, err := g.ca.Issue(req.Msg.GetCsr(), req.Msg.GetRole(), req.Msg.GetName(), time.Now())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&easelv1.JoinResponse{Certificate: cert, Trust: g.trust}), nil
}

func newGatekeeper(t *testing.T) JoinToken {
	t.Helper()
	ca, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	g := &gatekeeper{ca: ca, trust: &easelv1.Trust{ClusterId: ca.Cluster(), Version: 1, Authorities: [][]byte{ca.Certificate()}}}
	m, err := Make(t.Context(), t.TempDir(), g.trust, func(_ context.Context, csr []byte) ([]byte, error) {
		return ca.Issue(csr, RoleCoordinator, "c1", time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(easelv1connect.NewClusterServiceHandler(g))
	server := &http.Server{Handler: mux, TLSConfig: m.JoinTLS(), ReadHeaderTimeout: time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ServeTLS(m.Listen(l), "", "") }) // ends with Close
	t.Cleanup(func() { _ = server.Close(); wg.Wait() })
	return JoinToken{
		Addresses: []string{"https://" + l.Addr().String()}, Authority: sha256.Sum256(ca.Certificate()),
		Secret: NewJoinSecret(), Role: RoleNode, Expires: time.Now().Add(time.Hour),
	}
}

// A join that was killed between any two of its writes is ended by the next, with the key that it began with.
func TestJoinKilledBetweenItsWrites(t *testing.T) {
	token := newGatekeeper(t)
	for name, undo := range map[string]func(dir string) error{
		"after the key":         func(dir string) error { return errors.Join(os.Remove(dir+"/member.pem"), os.Remove(dir+"/trust.json")) },
		"after the trust":       func(dir string) error { return os.Remove(dir + "/member.pem") },
		"after the certificate": func(string) error { return nil },
		"within a write":        func(dir string) error { return os.Rename(dir+"/member.pem", dir+"/.new-123") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, err := Join(t.Context(), dir, RoleNode, "n1", token)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, bundleFile))
			if err != nil {
				t.Fatal(err)
			}
			key, _, err := parseKey(raw)
			if err != nil {
				t.Fatal(err)
			}
			text, err := formatKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(filepath.Join(dir, joiningFile), text, 0o600), undo(dir)); err != nil {
				t.Fatal(err)
			}
			again, err := Join(t.Context(), dir, RoleNode, "n1", token)
			if err != nil {
				t.Fatal(err)
			}
			if !key.Equal(again.shown().PrivateKey) || again.Cluster() != first.Cluster() {
				t.Error("it joined with another key, so its token would not have counted")
			}
			if _, err := os.Stat(filepath.Join(dir, joiningFile)); err == nil {
				t.Error("the key of the joining stays")
			}
		})
	}
}
