package identity

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var issued = time.Unix(1_800_000_000, 0)

func testSigner(t testing.TB, seed byte) *Signer {
	t.Helper()
	s, err := NewSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testVerifier(t testing.TB, signers ...*Signer) *Verifier {
	t.Helper()
	keys := make([]ed25519.PublicKey, 0, len(signers))
	for _, s := range signers {
		keys = append(keys, s.Public())
	}
	v, err := NewVerifier(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func claims() Claims {
	return Claims{
		Audience: SessionAudience("sabc"), Subject: "ada", Scope: ScopeView,
		IssuedAt: issued, Expires: issued.Add(time.Minute), ID: "one",
	}
}

func mustSign(t testing.TB, s *Signer, c Claims) string {
	t.Helper()
	token, err := s.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// seal signs any payload, so that the checks behind a good signature can be tested too.
func seal(s *Signer, body string) string {
	sig := ed25519.Sign(s.key, []byte(signingContext+body))
	return base64.RawURLEncoding.EncodeToString([]byte(body)) + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestVerifyReturnsWhatWasSigned(t *testing.T) {
	s := testSigner(t, 'a')
	got, err := testVerifier(t, testSigner(t, 'b'), s).Verify(mustSign(t, s, claims()), "session:sabc", issued)
	if err != nil {
		t.Fatal(err)
	}
	if got != claims() {
		t.Errorf("got %+v, want %+v", got, claims())
	}
}

func TestSignMakesUniqueIDs(t *testing.T) {
	s, c := testSigner(t, 'a'), claims()
	c.ID = ""
	if first, second := mustSign(t, s, c), mustSign(t, s, c); first == second {
		t.Error("two tokens without an ID are equal, so a node could not tell them apart")
	}
}

func TestVerifyRefuses(t *testing.T) {
	s := testSigner(t, 'a')
	good := mustSign(t, s, claims())
	body, sig, _ := strings.Cut(good, ".")
	const full = `{"aud":"session:sabc","sub":"ada","scope":"view","iat":1800000000,"exp":1800000060,"jti":"one"`
	tests := []struct {
		name, token, audience string
		at                    time.Duration
		want                  error
	}{
		{"empty", "", "session:sabc", 0, ErrMalformed},
		{"no signature", body, "session:sabc", 0, ErrMalformed},
		{"empty signature", body + ".", "session:sabc", 0, ErrMalformed},
		{"three parts", good + ".x", "session:sabc", 0, ErrMalformed},
		{"padding", good + "==", "session:sabc", 0, ErrMalformed},
		{"line break inside", body + "\n." + sig, "session:sabc", 0, ErrMalformed},
		{"too long", strings.Repeat("A", MaxTokenLength+1), "session:sabc", 0, ErrMalformed},
		{"another key", mustSign(t, testSigner(t, 'b'), claims()), "session:sabc", 0, ErrSignature},
		{"changed payload", base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(full, "ada", "eve", 1)+"}")) + "." + sig, "session:sabc", 0, ErrSignature},
		{"no context in signature", base64.RawURLEncoding.EncodeToString([]byte(full+"}")) + "." +
			base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(full+"}"))), "session:sabc", 0, ErrSignature},
		{"another session", good, "session:sabd", 0, ErrAudience},
		{"a node", good, "node:sabc", 0, ErrAudience},
		{"expired", good, "session:sabc", time.Minute + Leeway, ErrExpired},
		{"from the future", good, "session:sabc", -Leeway - time.Second, ErrNotYet},
		{"unknown field", seal(s, full+`,"admin":true}`), "session:sabc", 0, ErrMalformed},
		{"trailing data", seal(s, full+`}{}`), "session:sabc", 0, ErrMalformed},
		{"not an object", seal(s, `[]`), "session:sabc", 0, ErrMalformed},
		{"missing fields", seal(s, `{}`), "session:sabc", 0, ErrMalformed},
		{"unknown scope", seal(s, strings.Replace(full, "view", "root", 1)+"}"), "session:sabc", 0, ErrMalformed},
		{"endless life", seal(s, strings.Replace(full, "1800000060", "9800000060", 1)+"}"), "session:sabc", 0, ErrMalformed},
	}
	v := testVerifier(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := v.Verify(tt.token, tt.audience, issued.Add(tt.at))
			if !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if c != (Claims{}) {
				t.Errorf("a refused token still gave claims %+v", c)
			}
		})
	}
}

func TestVerifyAllowsForClockSkew(t *testing.T) {
	s := testSigner(t, 'a')
	for _, at := range []time.Duration{-Leeway, 0, time.Minute + Leeway - time.Second} {
		if _, err := testVerifier(t, s).Verify(mustSign(t, s, claims()), "session:sabc", issued.Add(at)); err != nil {
			t.Errorf("%v after issue: %v", at, err)
		}
	}
}

func TestSignRefusesWhatVerifyWould(t *testing.T) {
	tests := map[string]func(*Claims){
		"no audience": func(c *Claims) { c.Audience = "" },
		"no subject":  func(c *Claims) { c.Subject = "" },
		"scope":       func(c *Claims) { c.Scope = "all" },
		"backwards":   func(c *Claims) { c.Expires = c.IssuedAt },
		"too long":    func(c *Claims) { c.Expires = c.IssuedAt.Add(MaxLifetime + time.Second) },
		"zero times":  func(c *Claims) { c.IssuedAt, c.Expires = time.Time{}, time.Time{}.Add(time.Minute) },
		"huge":        func(c *Claims) { c.Subject = strings.Repeat("x", MaxTokenLength) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := claims()
			change(&c)
			if token, err := testSigner(t, 'a').Sign(c); err == nil {
				t.Errorf("signed %q", token)
			}
		})
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	var wg sync.WaitGroup
	keys := make([]ed25519.PrivateKey, 8)
	for i := range keys {
		wg.Go(func() {
			k, err := LoadOrCreateKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	wg.Wait()
	for _, k := range keys {
		if !k.Equal(keys[0]) {
			t.Fatal("two starts at once made two keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("key file has mode %v, want 0600", info.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".new-key-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestKeyFileRefused(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		content string
		mode    os.FileMode
	}{
		"readable by others": {"x", 0o644},
		"not PEM":            {"hello", 0o600},
		"wrong type":         {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o600},
		"empty":              {"", 0o600},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(path, []byte(tt.content), tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadOrCreateKey(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	s := testSigner(f, 'a')
	v := testVerifier(f, s)
	good := mustSign(f, s, claims())
	for _, seed := range []string{good, "", ".", "a.b", good + ".", strings.ToUpper(good)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(token, "session:sabc", issued)
		if err == nil && (token != good || c != claims()) {
			t.Errorf("accepted %q, which was never signed", token)
		}
	})
}

// FuzzDecode attacks the parser behind the signature, as a leaked key or a buggy coordinator would.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"aud":"session:s","sub":"a","scope":"view","iat":1,"exp":2,"jti":"j"}`))
	f.Add([]byte(`{"aud":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decode(body)
		if err == nil && p.check() != nil {
			t.Errorf("decoded claims that no signer would sign: %+v", p)
		}
	})
}
