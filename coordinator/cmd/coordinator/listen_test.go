package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// writeCertificate makes a self-signed certificate with a serial number, to tell it by.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64, written time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "easel"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, written, written); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestTLSFollowsARenewedCertificate(t *testing.T) {
	p := newPlace(t)
	p.mustRun("", "init")
	p.cfg.TLS.Cert, p.cfg.TLS.Key = filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem")
	p.cfg.PublicURL = "https://" + p.cfg.Listen
	first := writeCertificate(t, p.cfg.TLS.Cert, p.cfg.TLS.Key, 1, time.Now().Add(-time.Minute))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := serve(ctx, p.cfg, slog.New(slog.DiscardHandler), reading{}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })

	get := func(trust *x509.Certificate, path string) (*http.Response, error) {
		roots := x509.NewCertPool()
		roots.AddCert(trust)
		client := &http.Client{
			Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		resp, err := client.Get(p.cfg.PublicURL + path)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	deadline := time.Now().Add(15 * time.Second)
	for {
		if _, err := get(first, "/healthz"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	link := strings.TrimSpace(p.mustRun("", "signin-link"))
	resp, err := get(first, link[strings.Index(link, "/signin"):])
	if err != nil {
		t.Fatal(err)
	}
	if cookie := resp.Header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-easel=") || !strings.Contains(cookie, "Secure") {
		t.Errorf("over TLS the cookie is %q", cookie)
	}
	if resp.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security")
	}

	second := writeCertificate(t, p.cfg.TLS.Cert, p.cfg.TLS.Key, 2, time.Now())
	if _, err := get(second, "/healthz"); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
	if err := os.WriteFile(p.cfg.TLS.Cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(second, "/healthz"); err != nil {
		t.Errorf("a broken renewal took the working certificate away: %v", err)
	}
}

func TestBrokenCertificateEndsTheStart(t *testing.T) {
	p := newPlace(t)
	p.mustRun("", "init")
	p.cfg.TLS.Cert, p.cfg.TLS.Key = filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem")
	if err := serve(t.Context(), p.cfg, slog.New(slog.DiscardHandler), reading{}); err == nil || !strings.Contains(err.Error(), "tls.cert") {
		t.Errorf("without the file: %v", err)
	}
	for _, file := range []string{p.cfg.TLS.Cert, p.cfg.TLS.Key} {
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := serve(t.Context(), p.cfg, slog.New(slog.DiscardHandler), reading{}); err == nil || !strings.Contains(err.Error(), "tls.key") {
		t.Errorf("with broken files: %v", err)
	}
}
