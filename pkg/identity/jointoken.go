package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

const (
	joinPrefix   = "easel-join-1."
	maxJoinToken = 4096 // bytes
	// MaxAddresses is how many coordinators a token names at most.
	MaxAddresses   = 16
	joinSecretSize = 32
)

// ErrJoinToken means that a text is no join token.
var ErrJoinToken = errors.New("this is no join token; `coordinator token --role node` prints one")

// JoinToken is what a host needs to join a cluster: where to ask, whom to believe there, and the secret that lets it in once.
type JoinToken struct {
	Addresses []string          // cluster addresses of coordinators, such as https://10.0.0.5:8444
	Authority [sha256.Size]byte // SHA-256 of the authority's certificate
	Secret    string
	Role      string
	Expires   time.Time // whole seconds
}

// LogValue keeps the secret out of logs.
func (t JoinToken) LogValue() slog.Value {
	return slog.GroupValue(slog.String("role", t.Role), slog.Time("expires", t.Expires))
}

type wireJoinToken struct {
	Addresses []string `json:"u"`
	Authority string   `json:"h"`
	Secret    string   `json:"s"`
	Role      string   `json:"r"`
	Expires   int64    `json:"x"`
}

// NewJoinSecret makes the secret of a token.
func NewJoinSecret() string {
	var raw [joinSecretSize]byte
	_, _ = rand.Read(raw[:]) // never fails, by its contract
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// Encode is the text of a token.
func (t JoinToken) Encode() (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("write a join token: %w", err)
	}
	body, err := json.Marshal(wireJoinToken{
		Addresses: t.Addresses, Authority: base64.RawURLEncoding.EncodeToString(t.Authority[:]),
		Secret: t.Secret, Role: t.Role, Expires: t.Expires.Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("write a join token: %w", err)
	}
	text := joinPrefix + base64.RawURLEncoding.EncodeToString(body)
	if len(text) > maxJoinToken {
		return "", fmt.Errorf("write a join token: it would have %d bytes, the limit is %d", len(text), maxJoinToken)
	}
	return text, nil
}

// ParseJoinToken reads what Encode wrote; space around it does not matter. Its errors never hold the token.
func ParseJoinToken(text string) (JoinToken, error) {
	text = strings.TrimSpace(text)
	encoded, ok := strings.CutPrefix(text, joinPrefix)
	if !ok || len(text) > maxJoinToken {
		return JoinToken{}, ErrJoinToken
	}
	broken := func(what string) (JoinToken, error) {
		return JoinToken{}, fmt.Errorf("%w: %s; was all of it copied?", ErrJoinToken, what)
	}
	body, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return broken("it is not base64url")
	}
	var w wireJoinToken
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return broken("it does not hold the expected JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return broken("something follows its JSON object")
	}
	t := JoinToken{Addresses: w.Addresses, Secret: w.Secret, Role: w.Role, Expires: time.Unix(w.Expires, 0)}
	hash, err := base64.RawURLEncoding.Strict().DecodeString(w.Authority)
	if err != nil || len(hash) != len(t.Authority) {
		return broken("its authority is not a SHA-256")
	}
	copy(t.Authority[:], hash)
	if err := t.check(); err != nil {
		return broken(err.Error())
	}
	return t, nil
}

// check holds for writer and reader alike.
func (t JoinToken) check() error {
	if len(t.Addresses) == 0 || len(t.Addresses) > MaxAddresses {
		return fmt.Errorf("it has %d addresses, want 1 to %d", len(t.Addresses), MaxAddresses)
	}
	for _, a := range t.Addresses {
		if err := CheckAddress(a); err != nil {
			return err
		}
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(t.Secret); err != nil || len(raw) != joinSecretSize {
		return errors.New("its secret is not as it should be")
	}
	if t.Role != RoleNode && t.Role != RoleCoordinator {
		return errors.New("it is for no role that there is")
	}
	if t.Expires.Unix() <= 0 {
		return errors.New("it has no end")
	}
	return nil
}

// CheckAddress tells whether text is the base URL of a member's mTLS address.
func CheckAddress(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "" {
		return fmt.Errorf("address %.100q: want https, host and port alone, such as https://10.0.0.5:8444", text)
	}
	return nil
}
