package listen

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
	"testing"
	"time"
)

// writeCertificate makes a self-signed pair for name.
func writeCertificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestRenewedCertificateIsServed(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, "old.example")
	c := &certificate{cert: cert, key: key, every: time.Hour, log: slog.New(slog.DiscardHandler)}
	name := func() string {
		t.Helper()
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Subject.CommonName
	}
	if got := name(); got != "old.example" {
		t.Fatal(got)
	}
	writeCertificate(t, dir, "new.example")
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "old.example" {
		t.Fatalf("looked again before its time: %s", got)
	}
	c.looked = time.Time{}
	if got := name(); got != "new.example" {
		t.Fatalf("still %s", got)
	}
	if err := os.WriteFile(cert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.looked = time.Time{}
	if got := name(); got != "new.example" {
		t.Fatalf("a broken renewal took the certificate away: %s", got)
	}
}

func TestUnreadableCertificateIsSaid(t *testing.T) {
	if _, err := TLSConfig("/nonexistent/c.pem", "/nonexistent/k.pem", 0, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "tls.cert") {
		t.Fatalf("error %v", err)
	}
}

func TestServerSpeaksTLS(t *testing.T) {
	cert, key := writeCertificate(t, t.TempDir(), "node.example")
	log := slog.New(slog.DiscardHandler)
	secure, err := TLSConfig(cert, key, 0, log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Listener: l, TLS: secure, Log: log, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "node.example"}}, Timeout: 10 * time.Second}
	resp, err := client.Get("https://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestEachHandshakeLooksForARenewalIfAsked(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, "old.example")
	secure, err := TLSConfig(cert, key, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, dir, "new.example")
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	pair, err := secure.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Subject.CommonName != "new.example" {
		t.Fatalf("still %s", parsed.Subject.CommonName)
	}
}

func TestRequestsUnderWayFinish(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &Server{Listener: l, Log: slog.New(slog.DiscardHandler), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable)
		case <-time.After(100 * time.Millisecond):
			w.WriteHeader(http.StatusNoContent)
		}
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if err := <-ended; err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%v, %s", err, resp.Status)
	}
}

func TestOnlyLoopbackGoesUnencrypted(t *testing.T) {
	for text, want := range map[string]struct{ plain, encrypted string }{
		"127.0.0.1:80": {},
		"[::1]:80":     {},
		"0.0.0.0:80":   {plain: "is not loopback"},
		"[::]:80":      {plain: "is not loopback"},
		"192.0.2.1:80": {plain: "set tls.cert and tls.key"},
		"localhost:80": {"want an IP address before the port", "want an IP address before the port"},
		":80":          {"want an IP address before the port", "want an IP address before the port"},
		"127.0.0.1":    {"such as 127.0.0.1:8443", "such as 127.0.0.1:8443"},
	} {
		for encrypted, want := range map[bool]string{false: want.plain, true: want.encrypted} {
			addr, err := ParseAddress(text, "127.0.0.1:8443", encrypted)
			if want == "" && (err != nil || !addr.IsValid()) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s, encrypted %v: %v; want %q", text, encrypted, err, want)
			}
		}
	}
}
