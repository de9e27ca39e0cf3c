package identity

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
)

// Reasons for which a peer is refused.
var (
	ErrNoCertificate = errors.New("the peer shows no certificate; only members of the cluster are let in")
	ErrForeign       = errors.New("the peer's certificate is not of this cluster")
	ErrRemoved       = errors.New("the peer was removed from the cluster; it has to join again")
	ErrWrongPeer     = errors.New("the peer is not who it should be")
)

// trusted is a Trust, read and checked; it does not change.
type trusted struct {
	wire     *easelv1.Trust
	roots    *x509.CertPool
	issuers  []*x509.Certificate
	removed  map[string]time.Time // by role and name: older certificates are refused
	verifier *Verifier            // nil when no coordinator has a token key
}

func readTrust(wire *easelv1.Trust) (*trusted, error) {
	t := &trusted{wire: proto.CloneOf(wire), roots: x509.NewCertPool(), removed: map[string]time.Time{}}
	if !clusterPattern.MatchString(wire.GetClusterId()) {
		return nil, fmt.Errorf("read the cluster's trust: %.40q is no cluster", wire.GetClusterId())
	}
	for _, der := range wire.GetAuthorities() {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read the cluster's trust: %w", err)
		}
		t.roots.AddCert(cert)
		t.issuers = append(t.issuers, cert)
	}
	if len(t.issuers) == 0 {
		return nil, errors.New("read the cluster's trust: it has no authority")
	}
	var keys []ed25519.PublicKey
	for _, key := range wire.GetTokenKeys() {
		keys = append(keys, ed25519.PublicKey(key))
	}
	if len(keys) > 0 {
		verifier, err := NewVerifier(keys...)
		if err != nil {
			return nil, fmt.Errorf("read the cluster's trust: %w", err)
		}
		t.verifier = verifier
	}
	for _, r := range wire.GetRemoved() {
		t.removed[r.GetRole()+"/"+r.GetName()] = r.GetBefore().AsTime()
	}
	return t, nil
}

// peer is who is at the other end, if the trust lets it be a member.
func (t *trusted) peer(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (Peer, error) {
	if len(certs) == 0 {
		return Peer{}, ErrNoCertificate
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: t.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return Peer{}, fmt.Errorf("the peer's certificate counts from %s to %s, and here it is %s: compare the clocks, or let it join again",
			certs[0].NotBefore.Format(time.RFC3339), certs[0].NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return t.standing(certs[0])
}

// standing is who a certificate names that was verified before: it may have been removed since.
func (t *trusted) standing(cert *x509.Certificate) (Peer, error) {
	p, err := peerOf(cert)
	if err != nil {
		return Peer{}, err
	}
	if p.Cluster != t.wire.GetClusterId() {
		return Peer{}, ErrForeign
	}
	if before, ok := t.removed[p.Role+"/"+p.Name]; ok && p.Issued.Before(before) {
		return Peer{}, fmt.Errorf("%s %s: %w", p.Role, p.Name, ErrRemoved)
	}
	return p, nil
}

// chain is what a member shows: its certificate and the authority's, by which one that has only a join token knows it.
func (t *trusted) chain(cert *x509.Certificate, key any) (*tls.Certificate, error) {
	for _, issuer := range t.issuers {
		if cert.CheckSignatureFrom(issuer) == nil {
			return &tls.Certificate{Certificate: [][]byte{cert.Raw, issuer.Raw}, PrivateKey: key, Leaf: cert}, nil
		}
	}
	return nil, errors.New("the member's certificate is not signed by the cluster's authority")
}
