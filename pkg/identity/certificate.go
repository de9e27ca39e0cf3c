package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Roles of a member, as certificates name them.
const (
	RoleNode        = "node"
	RoleCoordinator = "coordinator"
)

const (
	// CertificateLife is how long a member's certificate counts; it is renewed when two thirds of that are over.
	CertificateLife = 24 * time.Hour
	// Backdate is how long before its issue a certificate begins to count, for members whose clock is behind.
	Backdate      = 10 * time.Minute
	authorityLife = 20 * 365 * 24 * time.Hour
	scheme        = "easel"
)

var (
	namePattern    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)
	clusterPattern = regexp.MustCompile(`^[a-z0-9]{26}$`)
)

// Peer is a member as its certificate names it.
type Peer struct {
	Cluster, Role, Name string
	Issued              time.Time // when its certificate was; whole seconds
}

// CheckName tells whether a member may have this role and name.
func CheckName(role, name string) error {
	if role != RoleNode && role != RoleCoordinator {
		return fmt.Errorf("role %.20q: there are node and coordinator", role)
	}
	if !namePattern.MatchString(name) {
		return fmt.Errorf("name %.80q: want 1 to 64 letters, digits, '.', '_' and '-'", name)
	}
	return nil
}

// Authority is a cluster's certificate authority: what it has signed is who it says.
type Authority struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// NewAuthority founds a cluster.
func NewAuthority(now time.Time) (*Authority, error) {
	cluster := strings.ToLower(rand.Text())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Easel cluster " + cluster},
		URIs:      []*url.URL{{Scheme: scheme, Host: cluster}},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	return &Authority{cluster: cluster, cert: cert, key: key}, nil
}

// ParseAuthority reads what Certificate and Key gave.
func ParseAuthority(cert, key []byte) (*Authority, error) {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	if !c.IsCA || len(c.URIs) != 1 || c.URIs[0].Scheme != scheme || !clusterPattern.MatchString(c.URIs[0].Host) {
		return nil, errors.New("read the cluster's authority: its certificate is not one of a cluster")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !k.PublicKey.Equal(c.PublicKey) {
		return nil, errors.New("read the cluster's authority: key and certificate are not of one another")
	}
	return &Authority{cluster: c.URIs[0].Host, cert: c, key: k}, nil
}

// Cluster is the cluster's ID.
func (a *Authority) Cluster() string { return a.cluster }

// Certificate is what members trust, DER.
func (a *Authority) Certificate() []byte { return a.cert.Raw }

// Key is the secret of the cluster: PKCS #8, DER.
func (a *Authority) Key() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(a.key) }

// Issue makes a certificate for the key of a request. Of the request only the key counts: role and name are the caller's to
// know. issued is rounded down to whole seconds.
func (a *Authority) Issue(csr []byte, role, name string, issued time.Time) ([]byte, error) {
	if err := CheckName(role, name); err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	public, err := RequestKey(csr)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s %s: %w", role, name, err)
	}
	issued = issued.Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: role + " " + name},
		URIs:      []*url.URL{{Scheme: scheme, Host: a.cluster, Path: "/" + role + "/" + name}},
		NotBefore: issued.Add(-Backdate), NotAfter: issued.Add(CertificateLife), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s %s: %w", role, name, err)
	}
	return der, nil
}

func serial() *big.Int {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails, by its contract
	raw[0] &= 0x7f
	return new(big.Int).SetBytes(raw[:])
}

// RequestKey checks a certificate request (PKCS #10, DER) and returns its key.
func RequestKey(csr []byte) (*ecdsa.PublicKey, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	key, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("read the certificate request: its key is not an ECDSA key on P-256")
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	return key, nil
}

func newRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return csr, nil
}

// peerOf reads whom a certificate names; nothing here says that it may be believed.
func peerOf(cert *x509.Certificate) (Peer, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme {
		return Peer{}, errors.New("its certificate names no member")
	}
	u := cert.URIs[0]
	role, name, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if err := CheckName(role, name); err != nil || !clusterPattern.MatchString(u.Host) {
		return Peer{}, fmt.Errorf("its certificate names no member: %.80q", u)
	}
	return Peer{Cluster: u.Host, Role: role, Name: name, Issued: cert.NotBefore.Add(Backdate)}, nil
}
