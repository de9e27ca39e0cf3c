package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	certificateType = "CERTIFICATE"
	maxFile         = 4 << 20 // bytes; a trust names every member that was removed lately
	joinAgain       = "remove this member and let it join again"
)

func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make this member's directory: %w", err)
	}
	return nil
}

// readPrivate reads up to limit bytes of a file that nobody else may read; remedy says what to do when it may have been read.
func readPrivate(path string, limit int64, remedy string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so others may read it; run chmod 600 %s and, if it may have been read, %s", path, info.Mode().Perm(), path, remedy)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// replaceFile leaves the old file or the new one, whole, whenever the machine stops.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func formatKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func parseKey(raw []byte) (key *ecdsa.PrivateKey, rest []byte, err error) {
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != pemType {
		return nil, nil, fmt.Errorf("it does not begin with a PEM block %q", pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("it holds a %T, not an ECDSA key", parsed)
	}
	return key, rest, nil
}

// formatBundle is a member's key and certificate as PEM.
func formatBundle(key *ecdsa.PrivateKey, cert []byte) ([]byte, error) {
	text, err := formatKey(key)
	if err != nil {
		return nil, err
	}
	return append(text, pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: cert})...), nil
}

func parseBundle(raw []byte) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, rest, err := parseKey(raw)
	if err != nil {
		return nil, nil, err
	}
	block, rest := pem.Decode(rest)
	if block == nil || block.Type != certificateType || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, fmt.Errorf("the key is not followed by one PEM block %q", certificateType)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, errors.New("key and certificate are not of one another")
	}
	return key, cert, nil
}
