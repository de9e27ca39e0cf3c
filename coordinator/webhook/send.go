package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Message is the body of a call.
type Message struct {
	ID      string        `json:"id"`   // the same in every attempt: a receiver that has seen it has acted
	Kind    string        `json:"kind"` // scale_up or scale_down
	At      time.Time     `json:"at"`
	From    string        `json:"from"` // the coordinator that calls
	Reason  string        `json:"reason"`
	Class   string        `json:"class,omitempty"`
	Figures Figures       `json:"figures"`
	Nodes   []NodeFigures `json:"nodes"`
}

// SignatureHeader is "t=SECONDS,v1=HEX": the time of the attempt, and the HMAC-SHA256 with the hook's secret of that
// number, a dot and the body.
const SignatureHeader = "Easel-Signature"

// Bounds of sending.
const (
	attemptTimeout = 10 * time.Second
	firstPause     = time.Second
	longestPause   = time.Minute
	maxAttempts    = 8
	leastSecret    = 16 // bytes
	mostSecret     = 4 << 10
	mostAnswer     = 64 << 10
)

// Sign is the value of SignatureHeader for a body.
func Sign(secret, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(t + ".")) // a hash never fails to write
	_, _ = mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// readSecret reads the file anew each time, so that the secret can be changed while the coordinator runs.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the webhook's secret: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, mostSecret+1))
	if err != nil {
		return nil, fmt.Errorf("read the webhook's secret: %w", err)
	}
	secret := bytes.TrimSpace(raw)
	if len(secret) < leastSecret || len(raw) > mostSecret {
		return nil, fmt.Errorf("read the webhook's secret from %s: want %d to %d bytes, such as of: openssl rand -hex 32", path, leastSecret, mostSecret)
	}
	return secret, nil
}

// errRefused is an answer that another attempt would not change.
var errRefused = errors.New("the receiver refuses it")

// clientFor calls a receiver: no proxy, no redirect, and plain HTTP to this host alone, whatever a name resolves to.
func clientFor(h Hook, trust *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: attemptTimeout}
	if strings.HasPrefix(h.URL, "http://") {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().Unmap().IsLoopback() {
				return fmt.Errorf("plain HTTP goes to this host alone, not to %s", address)
			}
			return nil
		}
	}
	return &http.Client{
		Timeout: attemptTimeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: trust, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// attempt sends the message once.
func attempt(ctx context.Context, client *http.Client, h Hook, m Message, now time.Time) error {
	secret, err := readSecret(h.SecretFile)
	if err != nil {
		return err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the call: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call %s: %w", h.URL, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "easel-coordinator")
	req.Header.Set(SignatureHeader, Sign(secret, body, now))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, mostAnswer)) // what it says is not for us
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode != http.StatusTooManyRequests:
		return fmt.Errorf("%w: it answers %d", errRefused, resp.StatusCode)
	}
	return fmt.Errorf("it answers %d", resp.StatusCode)
}
