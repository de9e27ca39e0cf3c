package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLSConfig serves the certificate and key in two PEM files, and looks for a renewed one at a handshake, at
// most once in every; 0 looks at each. It is nil when cert is "": plain HTTP, which is for loopback alone.
// Its errors call the files by their names in the configuration, tls.cert and tls.key.
func TLSConfig(cert, key string, every time.Duration, log *slog.Logger) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	c := &certificate{cert: cert, key: key, every: every, log: log}
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// certificate is read again when its file changes: it is renewed without a restart.
type certificate struct {
	cert, key string
	every     time.Duration
	log       *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	written time.Time
	looked  time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil && time.Since(c.looked) < c.every {
		return c.loaded, nil
	}
	c.looked = time.Now()
	err := c.read()
	if err != nil && c.loaded != nil {
		c.log.Error("the renewed certificate cannot be used; the one of before stays", "error", err)
		return c.loaded, nil
	}
	return c.loaded, err
}

func (c *certificate) read() error {
	info, err := os.Stat(c.cert)
	if err != nil {
		return fmt.Errorf("read tls.cert: %w", err)
	}
	if c.loaded != nil && info.ModTime().Equal(c.written) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read tls.cert %s and tls.key %s: %w", c.cert, c.key, err)
	}
	if len(pair.Certificate) == 0 {
		return errors.New("read tls.cert: it holds no certificate")
	}
	c.loaded, c.written = &pair, info.ModTime()
	return nil
}
