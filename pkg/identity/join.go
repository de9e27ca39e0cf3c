package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

const (
	joinTimeout = 20 * time.Second // one coordinator's
	maxMessage  = 4 << 20          // bytes of a coordinator's answer
)

// Join makes this host a member: it asks the coordinators that the token names for a certificate, and keeps the member in dir.
// Killed at any moment, the same call with the same token ends what was begun: the key is kept first, and a coordinator gives
// the certificate of a used token to the key that used it.
func Join(ctx context.Context, dir, role, name string, token JoinToken) (*Member, error) {
	if err := joinable(dir, role, name, token); err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	key, err := pendingKey(filepath.Join(dir, joiningFile))
	if err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	csr, err := newRequest(key)
	if err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	answer, err := askToJoin(ctx, token, &easelv1.JoinRequest{Token: token.Secret, Role: role, Name: name, Csr: csr})
	if err != nil {
		return nil, fmt.Errorf("join the cluster as %s %s: %w", role, name, err)
	}
	if err := checkJoined(answer, role, name, token); err != nil {
		return nil, fmt.Errorf("join the cluster as %s %s: %w", role, name, err)
	}
	m, err := Create(dir, key, answer.GetCertificate(), answer.GetTrust())
	if err != nil {
		return nil, fmt.Errorf("join the cluster as %s %s: %w", role, name, err)
	}
	if err := os.Remove(filepath.Join(dir, joiningFile)); err != nil {
		return nil, fmt.Errorf("join the cluster: it is done, but the key of the joining stays: %w", err)
	}
	return m, nil
}

// joinable says before anything is asked what would come to nothing.
func joinable(dir, role, name string, token JoinToken) error {
	if err := CheckName(role, name); err != nil {
		return err
	}
	if token.Role != role {
		return fmt.Errorf("the token is for a %s, this is a %s; `coordinator token --role %s` prints the right one", token.Role, role, role)
	}
	if now := time.Now(); now.After(token.Expires.Add(Backdate)) { // the coordinator's clock decides about less
		return fmt.Errorf("the token expired at %s, and here it is %s; ask for another by `coordinator token`, or compare the clocks",
			token.Expires.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	old, err := Load(dir)
	if errors.Is(err, ErrNotJoined) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("there is a member in %s already: %w; move that directory away to join anew", dir, err)
	}
	for _, der := range old.Trust().GetAuthorities() {
		if sha256.Sum256(der) == token.Authority {
			return nil // it may have been removed, and joins again
		}
	}
	return fmt.Errorf("this host belongs to cluster %s, and the token is of another one; move %s away to change clusters", old.Cluster(), dir)
}

// pendingKey is the key in the file path, for which a certificate is asked: of this try, and of an earlier one that did not end.
func pendingKey(path string) (*ecdsa.PrivateKey, error) {
	raw, err := readPrivate(path, maxFile, joinAgain)
	if err == nil {
		key, _, err := parseKey(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; remove it and try again", path, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := formatKey(key)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return key, replaceFile(path, text)
}

// askToJoin asks one coordinator after the other until one decides.
func askToJoin(ctx context.Context, token JoinToken, req *easelv1.JoinRequest) (*easelv1.JoinResponse, error) {
	transport := &http.Transport{TLSClientConfig: token.clientTLS(), ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	var errs []error
	for _, address := range token.Addresses {
		client := easelv1connect.NewClusterServiceClient(&http.Client{Transport: transport}, address, connect.WithReadMaxBytes(maxMessage))
		answer, err := func() (*connect.Response[easelv1.JoinResponse], error) {
			ctx, cancel := context.WithTimeout(ctx, joinTimeout)
			defer cancel()
			return client.Join(ctx, connect.NewRequest(req))
		}()
		if err == nil {
			return answer.Msg, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", address, err))
		switch connect.CodeOf(err) {
		case connect.CodePermissionDenied, connect.CodeAlreadyExists, connect.CodeInvalidArgument:
			return nil, errors.Join(errs...) // every coordinator would say so
		}
	}
	return nil, errors.Join(errs...)
}

// clientTLS believes the coordinators of the cluster whose authority the token names.
func (t JoinToken) clientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: httpProtocols,
		InsecureSkipVerify: true, // VerifyConnection does it: members have no host names
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, cert := range state.PeerCertificates[1:] {
				if sha256.Sum256(cert.Raw) == t.Authority {
					return t.verify(state.PeerCertificates[0], cert)
				}
			}
			return fmt.Errorf("%w: the token names another authority", ErrForeign)
		},
	}
}

func (t JoinToken) verify(leaf, authority *x509.Certificate) error {
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return fmt.Errorf("the coordinator's certificate does not count here (compare the clocks): %w", err)
	}
	if p, err := peerOf(leaf); err != nil || p.Role != RoleCoordinator {
		return fmt.Errorf("%w: it is no coordinator", ErrWrongPeer)
	}
	return nil
}

// checkJoined looks whether a coordinator gave what was asked for.
func checkJoined(answer *easelv1.JoinResponse, role, name string, token JoinToken) error {
	trust, err := readTrust(answer.GetTrust())
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(answer.GetCertificate())
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	p, err := peerOf(cert)
	if err != nil {
		return err
	}
	if p.Role != role || p.Name != name {
		return fmt.Errorf("the coordinator gave a certificate for %s %s", p.Role, p.Name)
	}
	chain, err := trust.chain(cert, nil)
	if err != nil {
		return err
	}
	if sha256.Sum256(chain.Certificate[1]) != token.Authority {
		return fmt.Errorf("%w: the coordinator gave a certificate of another authority", ErrForeign)
	}
	return nil
}
