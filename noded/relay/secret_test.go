package relay

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"easel/pkg/listen"
)

// A restart of the node leaves credentials good, so its secret must be the same.
func TestSecretIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var secrets [][]byte
	for range 2 {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s, err := Secret(db)
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, s)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range secrets {
		if len(s) != secretSize || !bytes.Equal(s, secrets[0]) {
			t.Fatalf("the secrets are %x", secrets)
		}
	}
}

// The relay shows a renewed certificate without a restart.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writeCertificate(t, cert, key)
	config, err := listen.TLSConfig(cert, key, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(o *Options) { o.TLSListen, o.TLS = []string{"127.0.0.1:0"}, config })
	shown := func() []byte {
		c, err := tls.Dial("tcp", w.streams[1].Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	if !bytes.Equal(shown(), first) {
		t.Error("another certificate is shown")
	}
	second := writeCertificate(t, cert, key)
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown(), second) {
		t.Error("the renewed certificate is not shown")
	}
}
