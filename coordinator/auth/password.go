package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

const (
	minPassword = 10   // characters
	maxPassword = 1024 // bytes, so that hashing costs what its parameters say
	saltBytes   = 16
	hashBytes   = 32
	maxMemory   = 1 << 20 // KiB that a stored hash may ask for
)

// Params is what hashing one password costs with argon2id (RFC 9106).
type Params struct {
	Time    uint32
	Memory  uint32 // KiB
	Threads uint8
}

// Recommended is RFC 9106's second recommended option: 64 MiB, three passes, four lanes.
var Recommended = Params{Time: 3, Memory: 64 << 10, Threads: 4}

// hasher computes password hashes, few at a time, so that a flood of sign-ins cannot take the memory.
type hasher struct {
	params Params
	gate   chan struct{}
	dummy  string // a hash that no password has, for accounts that do not exist
}

func newHasher(p Params, parallel int) (*hasher, error) {
	if p.Time < 1 || p.Threads < 1 || p.Memory < 8*uint32(p.Threads) || p.Memory > maxMemory {
		return nil, fmt.Errorf("argon2id parameters %+v are out of range", p)
	}
	h := &hasher{params: p, gate: make(chan struct{}, parallel)}
	unknown := make([]byte, saltBytes+hashBytes)
	if _, err := rand.Read(unknown); err != nil {
		return nil, err
	}
	h.dummy = encodeHash(p, unknown[:saltBytes], unknown[saltBytes:])
	return h, nil
}

// enter waits for a place; ErrBusy when ctx ends first.
func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
}

func (h *hasher) leave() { <-h.gate }

// hash returns the PHC string of a new password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	sum := argon2.IDKey([]byte(password), salt, h.params.Time, h.params.Memory, h.params.Threads, hashBytes)
	return encodeHash(h.params, salt, sum), nil
}

// matches compares a password with a stored hash. An empty hash, of an account without a password or of
// none at all, costs the same time and never matches. stale tells that the hash has other parameters
// than new ones get.
func (h *hasher) matches(ctx context.Context, stored, password string) (ok, stale bool, err error) {
	real := stored != ""
	if !real {
		stored = h.dummy
	}
	p, salt, want, err := decodeHash(stored)
	if err != nil {
		return false, false, err
	}
	if len(password) > maxPassword {
		password = password[:maxPassword]
		real = false
	}
	if err := h.enter(ctx); err != nil {
		return false, false, err
	}
	defer h.leave()
	sum := argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, uint32(len(want)))
	equal := subtle.ConstantTimeCompare(sum, want) == 1
	return equal && real, p != h.params, nil
}

func checkPassword(password string) error {
	switch {
	case !utf8.ValidString(password):
		return fmt.Errorf("%w: the password is not UTF-8 text", ErrInvalid)
	case utf8.RuneCountInString(password) < minPassword:
		return fmt.Errorf("%w: the password is too short, use at least %d characters", ErrInvalid, minPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("%w: the password is too long, use at most %d bytes", ErrInvalid, maxPassword)
	}
	return nil
}

// encodeHash writes the PHC string format, $argon2id$v=19$m=…,t=…,p=…$salt$hash.
func encodeHash(p Params, salt, sum []byte) string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads,
		enc.EncodeToString(salt), enc.EncodeToString(sum))
}

var errHash = errors.New("a stored password hash is damaged; set the password again with `coordinator user passwd`")

func decodeHash(s string) (p Params, salt, sum []byte, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return Params{}, nil, nil, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil {
		return Params{}, nil, nil, errHash
	}
	enc := base64.RawStdEncoding.Strict()
	if salt, err = enc.DecodeString(parts[4]); err != nil {
		return Params{}, nil, nil, errHash
	}
	if sum, err = enc.DecodeString(parts[5]); err != nil {
		return Params{}, nil, nil, errHash
	}
	if p.Time < 1 || p.Time > 64 || p.Threads < 1 || p.Memory < 8 || p.Memory > maxMemory || len(salt) < 8 || len(sum) < 16 || len(sum) > 64 {
		return Params{}, nil, nil, errHash
	}
	return p, salt, sum, nil
}
