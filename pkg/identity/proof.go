package identity

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	easelv1 "easel/pkg/api/easel/v1"
)

// proofContext keeps a proof's signature from meaning anything elsewhere.
const proofContext = "easel-renew-v1\x00"

// ErrProof means that a request to renew an expired certificate does not come from who had it.
var ErrProof = errors.New("the request is not signed with the key of the certificate that it names")

func proofDigest(csr []byte) []byte {
	sum := sha256.Sum256(append([]byte(proofContext), csr...))
	return sum[:]
}

// prove makes a request to renew that needs no certificate to count any more: a host that was off for longer than a certificate
// lives is a member still, and its last key says that it is the same.
func (m *Member) prove(csr []byte) (*easelv1.RenewRequest, error) {
	shown := m.shown()
	key, ok := shown.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("renew an expired certificate: its key is a %T", shown.PrivateKey)
	}
	signature, err := ecdsa.SignASN1(rand.Reader, key, proofDigest(csr))
	if err != nil {
		return nil, fmt.Errorf("renew an expired certificate: %w", err)
	}
	return &easelv1.RenewRequest{Csr: csr, Certificate: shown.Leaf.Raw, Signature: signature}, nil
}

// Proof checks such a request and returns who makes it, and its old key. Whether that is the last key of a member that still
// belongs is for the caller to know.
func (m *Member) Proof(req *easelv1.RenewRequest) (Peer, *ecdsa.PublicKey, error) {
	cert, err := x509.ParseCertificate(req.GetCertificate())
	if err != nil {
		return Peer{}, nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	// It counted once: that is all that is asked of its time.
	p, err := m.trusted().peer([]*x509.Certificate{cert}, x509.ExtKeyUsageClientAuth, cert.NotAfter)
	if err != nil {
		return Peer{}, nil, err
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, proofDigest(req.GetCsr()), req.GetSignature()) {
		return Peer{}, nil, ErrProof
	}
	return p, key, nil
}

// withoutCertificate is a client for coordinators that shows nothing of itself.
func (m *Member) withoutCertificate() *http.Client {
	conf := m.clientTLS(nil, RoleCoordinator, "", nil)
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
}
