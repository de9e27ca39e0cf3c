package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// trust is the certificate authority of the members' browser addresses, as a public one would be.
type trust struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newTrust() (*trust, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	t := &trust{key: key, pool: x509.NewCertPool()}
	if t.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	t.pool.AddCert(t.cert)
	return t, os.WriteFile(t.file(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// file holds the authority's certificate, for programs that trust what SSL_CERT_FILE names.
func (t *trust) file() string { return filepath.Join(stateDir, "ca.crt") }

// issue writes a certificate for an address and its key as dir/tls.crt and dir/tls.key.
func (t *trust) issue(dir, address string) (map[string]any, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: address}, IPAddresses: []net.IP{net.ParseIP(address)},
		NotBefore: t.cert.NotBefore, NotAfter: t.cert.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, t.cert, &key.PublicKey, t.key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	files := map[string]any{"cert": filepath.Join(dir, "tls.crt"), "key": filepath.Join(dir, "tls.key")}
	for file, block := range map[any]*pem.Block{files["cert"]: {Type: "CERTIFICATE", Bytes: der}, files["key"]: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file.(string), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, fmt.Errorf("write the certificate of %s: %w", address, err)
		}
	}
	return files, nil
}
