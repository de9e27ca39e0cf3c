package main

import (
	"log/slog"
	"strings"
	"testing"
)

func TestUnreadableCertificateEndsTheStart(t *testing.T) {
	var cfg Config
	cfg.TLS.Cert, cfg.TLS.Key = "/nonexistent/c.pem", "/nonexistent/k.pem"
	if _, err := openDoors(cfg, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "tls.cert") {
		t.Fatalf("error %v", err)
	}
}
