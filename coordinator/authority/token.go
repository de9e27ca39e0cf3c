package authority

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"easel/coordinator/state"
	"easel/pkg/identity"
)

// Bounds of a join token's life.
const (
	DefaultTokenLife = time.Hour
	maxTokenLife     = 7 * 24 * time.Hour
)

// NewToken makes a join token for one member of a role, by name unless name is "", and returns its text.
func (a *Authority) NewToken(ctx context.Context, role, name string, life time.Duration) (string, error) {
	ca, err := a.arrivedCA(ctx)
	if err != nil {
		return "", err
	}
	probe := name
	if probe == "" {
		probe = "any"
	}
	if err := identity.CheckName(role, probe); err != nil {
		return "", fmt.Errorf("make a join token: %w: %w", ErrInvalid, err)
	}
	if life <= 0 || life > maxTokenLife {
		return "", fmt.Errorf("make a join token: %w: it would live for %v; want up to %v", ErrInvalid, life, maxTokenLife)
	}
	trust, err := a.Trust()
	if err != nil {
		return "", fmt.Errorf("make a join token: %w", err)
	}
	addresses := trust.GetCoordinators()
	token := identity.JoinToken{
		Addresses: addresses[:min(len(addresses), identity.MaxAddresses)], Authority: sha256.Sum256(ca.Certificate()),
		Secret: identity.NewJoinSecret(), Role: role, Expires: a.now().Add(life).Truncate(time.Second),
	}
	text, err := token.Encode()
	if err != nil {
		return "", err
	}
	err = a.store.Update(ctx, func(tx state.Tx) error {
		return put(tx, bucketTokens, tokenKey(token.Secret), tokenRecord{Role: role, Name: name, Expires: token.Expires})
	})
	if err != nil {
		return "", fmt.Errorf("make a join token: %w", err)
	}
	return text, nil
}

// tokenKey is what is kept of a secret. It has 256 bits of entropy, so a plain hash is enough.
func tokenKey(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Join spends a token and returns the member's certificate. The same key may ask again with the same token, because the answer
// may have been lost.
func (a *Authority) Join(ctx context.Context, secret, role, name string, csr []byte) ([]byte, error) {
	cert, err := a.join(ctx, secret, role, name, csr)
	if err != nil {
		return nil, fmt.Errorf("join as %.20s %.80s: %w", role, name, err)
	}
	return cert, nil
}

func (a *Authority) join(ctx context.Context, secret, role, name string, csr []byte) ([]byte, error) {
	ca, err := a.arrivedCA(ctx)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(csr)
	if err = errors.Join(err, identity.CheckName(role, name)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	use := tokenUse{Name: name, Key: key}
	var issued time.Time
	spend := func(tx state.Tx) error {
		issued, err = a.spend(tx, tokenKey(secret), role, use)
		return err
	}
	err = a.store.Update(ctx, spend)
	if errors.Is(err, ErrToken) { // another coordinator may have made it a moment ago
		if err = a.store.Barrier(ctx); err == nil {
			err = a.store.Update(ctx, spend)
		}
	}
	if err != nil {
		return nil, err
	}
	return ca.Issue(csr, role, name, issued)
}

// keyOf is what is kept of the key of a request.
func keyOf(csr []byte) ([]byte, error) {
	public, err := identity.RequestKey(csr)
	if err != nil {
		return nil, err
	}
	return hashKey(public), nil
}

func hashKey(public *ecdsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil // a key on P-256, as all are that were checked, can be marshalled
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

// spend marks a token as used and makes its user a member.
func (a *Authority) spend(tx state.Tx, key, role string, use tokenUse) (issued time.Time, err error) {
	now := a.now()
	token, known, err := get[tokenRecord](tx, bucketTokens, key)
	switch {
	case err != nil:
		return issued, err
	case !known:
		return issued, ErrToken
	case !now.Before(token.Expires):
		return issued, ErrExpired
	case token.Role != role:
		return issued, fmt.Errorf("%w: it is for a %s", ErrOtherUse, token.Role)
	case token.Name != "" && token.Name != use.Name:
		return issued, fmt.Errorf("%w: it is for the member called %s", ErrOtherUse, token.Name)
	}
	member, living, err := get[memberRecord](tx, bucketMembers, memberKey(role, use.Name))
	if err != nil {
		return issued, err
	}
	again := token.Used != nil && token.Used.Name == use.Name && bytes.Equal(token.Used.Key, use.Key)
	switch {
	case token.Used != nil && !again, again && !living: // the latter was removed meanwhile
		return issued, ErrUsed
	case living && !bytes.Equal(member.Key, use.Key): // with the same key it is that member, whose join was cut off
		return issued, ErrTaken
	}
	if issued, err = a.issueTime(tx, role, use.Name); err != nil {
		return issued, err
	}
	if !living {
		member.Joined = now
	}
	member.Issued, member.Key, token.Used = issued, use.Key, &use
	return issued, errors.Join(
		put(tx, bucketTokens, key, token), put(tx, bucketMembers, memberKey(role, use.Name), member),
		a.welcomeBack(tx, role, use.Name))
}

// welcomeBack lets gossip of a name in again whose earlier bearer was removed.
func (a *Authority) welcomeBack(tx state.Tx, role, name string) error {
	r, known, err := get[removedRecord](tx, bucketRemoved, memberKey(role, name))
	if err != nil || !known || r.Back {
		return err
	}
	r.Back = true
	return errors.Join(put(tx, bucketRemoved, memberKey(role, name), r), bump(tx, a.now()))
}
