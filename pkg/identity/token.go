// Package identity signs and verifies the short-lived Ed25519 tokens by which a coordinator lets a
// browser into one session, so that a node needs nothing but a public key; and it keeps the identities
// by which the members of a cluster know one another: certificates, the trust, join tokens.
package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Scopes that a token may carry.
const (
	ScopeView = "view" // look at, and work in, one session
)

const (
	// MaxTokenLength bounds, in bytes, what Verify looks at and what Sign makes.
	MaxTokenLength = 2048
	// MaxLifetime is the longest life a token may have; a node remembers used tokens that long.
	MaxLifetime = 24 * time.Hour
	// Leeway is how far the clocks of signer and verifier may differ.
	Leeway = 30 * time.Second

	// signingContext keeps a token's signature from meaning anything in another protocol.
	signingContext = "easel-token-v1\x00"
)

// Reasons for which Verify refuses a token.
var (
	ErrMalformed = errors.New("the token is malformed")
	ErrSignature = errors.New("the token is not signed by a known key")
	ErrExpired   = errors.New("the token has expired")
	ErrNotYet    = errors.New("the token is not valid yet (compare the clocks of coordinator and node)")
	ErrAudience  = errors.New("the token is meant for another audience")
)

// Claims is what a token says. Times have a resolution of one second.
type Claims struct {
	Audience string // "session:ID"
	Subject  string // the user's account name
	Scope    string // ScopeView
	IssuedAt time.Time
	Expires  time.Time
	ID       string // unique, so that a verifier can accept a token once; Sign makes one when empty
}

// SessionAudience is the audience of a token for one session.
func SessionAudience(sessionID string) string { return "session:" + sessionID }

// payload is the wire form of Claims; times are seconds since the Unix epoch.
type payload struct {
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	Scope    string `json:"scope"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
}

// Signer makes tokens with one private key.
type Signer struct {
	key ed25519.PrivateKey
}

// NewSigner returns a Signer that uses key.
func NewSigner(key ed25519.PrivateKey) (*Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("use signing key: it has %d bytes, an Ed25519 private key has %d", len(key), ed25519.PrivateKeySize)
	}
	return &Signer{key: key}, nil
}

// Public returns the key that verifies this signer's tokens.
func (s *Signer) Public() ed25519.PublicKey {
	return s.key.Public().(ed25519.PublicKey)
}

// Sign returns the token that says c.
func (s *Signer) Sign(c Claims) (string, error) {
	if c.ID == "" {
		c.ID = rand.Text()
	}
	p := payload{
		Audience: c.Audience, Subject: c.Subject, Scope: c.Scope,
		IssuedAt: c.IssuedAt.Unix(), Expires: c.Expires.Unix(), ID: c.ID,
	}
	if err := p.check(); err != nil {
		return "", fmt.Errorf("sign token for %q: %w", c.Audience, err)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("sign token for %q: %w", c.Audience, err)
	}
	sig := ed25519.Sign(s.key, append([]byte(signingContext), body...))
	token := base64.RawURLEncoding.EncodeToString(body) + "." + base64.RawURLEncoding.EncodeToString(sig)
	if len(token) > MaxTokenLength {
		return "", fmt.Errorf("sign token for %q: it would have %d bytes, the limit is %d", c.Audience, len(token), MaxTokenLength)
	}
	return token, nil
}

// Verifier accepts tokens that were signed by any of its keys.
type Verifier struct {
	keys []ed25519.PublicKey
}

// NewVerifier returns a Verifier that trusts the given keys, of which there must be at least one.
func NewVerifier(keys ...ed25519.PublicKey) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, errors.New("verify tokens: no public key is given")
	}
	for _, k := range keys {
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("verify tokens: a public key has %d bytes, want %d", len(k), ed25519.PublicKeySize)
		}
	}
	return &Verifier{keys: keys}, nil
}

// Verify returns the claims of token when it is well formed, signed by a known key, meant for
// audience and valid at now. Its errors match the Err… values of this package by errors.Is.
func (v *Verifier) Verify(token, audience string, now time.Time) (Claims, error) {
	body, sig, err := split(token)
	if err != nil {
		return Claims{}, err
	}
	if !v.signed(body, sig) {
		return Claims{}, ErrSignature
	}
	p, err := decode(body)
	if err != nil {
		return Claims{}, err
	}
	c := Claims{
		Audience: p.Audience, Subject: p.Subject, Scope: p.Scope,
		IssuedAt: time.Unix(p.IssuedAt, 0), Expires: time.Unix(p.Expires, 0), ID: p.ID,
	}
	switch {
	case c.Audience != audience:
		return Claims{}, ErrAudience
	case now.Add(Leeway).Before(c.IssuedAt):
		return Claims{}, ErrNotYet
	case !now.Before(c.Expires.Add(Leeway)):
		return Claims{}, ErrExpired
	}
	return c, nil
}

func (v *Verifier) signed(body, sig []byte) bool {
	message := append([]byte(signingContext), body...)
	for _, k := range v.keys {
		if ed25519.Verify(k, message, sig) {
			return true
		}
	}
	return false
}

func split(token string) (body, sig []byte, err error) {
	if len(token) > MaxTokenLength {
		return nil, nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrMalformed, len(token), MaxTokenLength)
	}
	first, second, ok := strings.Cut(token, ".")
	if !ok {
		return nil, nil, fmt.Errorf("%w: it has no signature", ErrMalformed)
	}
	// Strict refuses trailing bits, and the line breaks that the decoder skips are refused here:
	// there is exactly one spelling of a token.
	if strings.ContainsAny(token, "\r\n") {
		return nil, nil, fmt.Errorf("%w: it holds a line break", ErrMalformed)
	}
	enc := base64.RawURLEncoding.Strict()
	if body, err = enc.DecodeString(first); err != nil {
		return nil, nil, fmt.Errorf("%w: its payload is not base64url", ErrMalformed)
	}
	if sig, err = enc.DecodeString(second); err != nil || len(sig) != ed25519.SignatureSize {
		return nil, nil, fmt.Errorf("%w: its signature is not %d bytes of base64url", ErrMalformed, ed25519.SignatureSize)
	}
	return body, sig, nil
}

func decode(body []byte) (payload, error) {
	var p payload
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return payload{}, fmt.Errorf("%w: its payload is not the expected JSON object", ErrMalformed)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return payload{}, fmt.Errorf("%w: something follows its payload", ErrMalformed)
	}
	if err := p.check(); err != nil {
		return payload{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p, nil
}

// check holds for signer and verifier alike: no field may be missing, and no token lives too long.
func (p payload) check() error {
	switch {
	case p.Audience == "":
		return errors.New("no audience")
	case p.Subject == "":
		return errors.New("no subject")
	case p.Scope != ScopeView:
		return fmt.Errorf("unknown scope %q", p.Scope)
	case p.ID == "":
		return errors.New("no ID")
	case p.IssuedAt <= 0 || p.Expires <= p.IssuedAt:
		return errors.New("it expires before it is issued")
	case p.Expires-p.IssuedAt > int64(MaxLifetime/time.Second):
		return fmt.Errorf("its life is longer than %v", MaxLifetime)
	}
	return nil
}
