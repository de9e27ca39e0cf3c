package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"easel/coordinator/state"
)

const (
	// BrowserLifetime is how long a browser stays signed in.
	BrowserLifetime = 14 * 24 * time.Hour
	// LinkLifetime is how long a one-time link may be used.
	LinkLifetime = 15 * time.Minute
	// tokenPrefix lets people and secret scanners see what a token is.
	tokenPrefix = "easel_"
	// maxSecret bounds what is hashed of a client's cookie, token or code, in bytes.
	maxSecret = 128
)

type browserRecord struct {
	User    string    `json:"user"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

type linkRecord struct {
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

type tokenRecord struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// Token describes an API token; the token itself is not known any more.
type Token struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// SignInBrowser returns the value of a new cookie for name, and when it stops working.
func (s *Store) SignInBrowser(ctx context.Context, name string) (string, time.Time, error) {
	value, err := newSecret()
	if err != nil {
		return "", time.Time{}, err
	}
	now := s.now().UTC()
	rec := browserRecord{User: name, Created: now, Expires: now.Add(BrowserLifetime)}
	err = s.db.Update(ctx, func(tx state.Tx) error {
		if _, err := accountIn(tx, name); err != nil {
			return err
		}
		return put(tx, bucketBrowsers, digest(value), rec)
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign %q in: %w", name, err)
	}
	return value, rec.Expires, nil
}

// Browser returns the account that a cookie's value stands for, or ErrBadToken.
func (s *Store) Browser(ctx context.Context, value string) (Account, error) {
	return s.bearer(ctx, bucketBrowsers, value)
}

// SignOutBrowser makes a cookie's value useless.
func (s *Store) SignOutBrowser(ctx context.Context, value string) error {
	return s.db.Update(ctx, func(tx state.Tx) error {
		tx.Delete(bucketBrowsers, digest(value))
		return nil
	})
}

// NewToken makes an API token for a user. It is returned once and only its hash is kept.
func (s *Store) NewToken(ctx context.Context, user, name string) (string, Token, error) {
	if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", Token{}, fmt.Errorf("make an API token: %w: its name has at most 64 bytes, all printable", ErrInvalid)
	}
	secret, err := newSecret()
	if err != nil {
		return "", Token{}, err
	}
	secret = tokenPrefix + secret
	rec := tokenRecord{ID: strings.ToLower(rand.Text()[:10]), User: user, Name: name, Created: s.now().UTC()}
	err = s.db.Update(ctx, func(tx state.Tx) error {
		if _, err := accountIn(tx, user); err != nil {
			return err
		}
		return put(tx, bucketTokens, digest(secret), rec)
	})
	if err != nil {
		return "", Token{}, fmt.Errorf("make an API token: %w", err)
	}
	return secret, Token(rec), nil
}

// Bearer returns the account that an API token stands for, or ErrBadToken.
func (s *Store) Bearer(ctx context.Context, token string) (Account, error) {
	return s.bearer(ctx, bucketTokens, token)
}

// Tokens returns the API tokens of a user, or of everybody for ""; see Accounts.
func (s *Store) Tokens(ctx context.Context, user string) ([]Token, error) {
	if err := s.catchUp(ctx); err != nil && !errors.Is(err, state.ErrUnavailable) {
		return nil, err
	}
	var all []Token
	err := s.db.View(func(tx state.Tx) error {
		all = nil
		return tx.Each(bucketTokens, func(_ string, v []byte) error {
			var rec tokenRecord
			if err := json.Unmarshal(v, &rec); err != nil {
				return fmt.Errorf("list API tokens: a record is damaged: %w", err)
			}
			if user == "" || rec.User == user {
				all = append(all, Token(rec))
			}
			return nil
		})
	})
	slices.SortFunc(all, func(a, b Token) int {
		return cmp.Or(cmp.Compare(a.User, b.User), a.Created.Compare(b.Created))
	})
	return all, err
}

// RevokeToken deletes the API token with this ID, or returns ErrNoToken.
func (s *Store) RevokeToken(ctx context.Context, id string) error {
	err := s.db.Update(ctx, func(tx state.Tx) error {
		found := false
		keys, err := keysOf(tx, bucketTokens, func(r tokenRecord) bool {
			found = found || r.ID == id
			return r.ID == id
		})
		for _, key := range keys {
			tx.Delete(bucketTokens, key)
		}
		if err == nil && !found {
			err = ErrNoToken
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke API token %q: %w", id, err)
	}
	return nil
}

// NewLink returns the code of a one-time sign-in link for an account.
func (s *Store) NewLink(ctx context.Context, user string) (string, error) {
	code, err := newSecret()
	if err != nil {
		return "", err
	}
	rec := linkRecord{User: user, Expires: s.now().UTC().Add(LinkLifetime)}
	err = s.db.Update(ctx, func(tx state.Tx) error {
		if _, err := accountIn(tx, user); err != nil {
			return err
		}
		return put(tx, bucketLinks, digest(code), rec)
	})
	if err != nil {
		return "", fmt.Errorf("make a sign-in link: %w", err)
	}
	return code, nil
}

// FirstLink returns the code of a one-time link for an administrator: the account FirstAdmin when it is
// one, else the first by name. In a database without accounts it makes FirstAdmin, with no password.
func (s *Store) FirstLink(ctx context.Context) (string, Account, error) {
	var admin Account
	err := s.db.Update(ctx, func(tx state.Tx) error {
		accounts := 0
		admin = Account{}
		err := eachAccount(tx, func(name string, rec accountRecord) {
			accounts++
			if rec.Role == RoleAdmin && (admin.Name == "" || name == FirstAdmin) {
				admin = rec.account(name)
			}
		})
		if err != nil || accounts > 0 {
			return err
		}
		rec := accountRecord{Role: RoleAdmin, Created: s.now().UTC()}
		admin = rec.account(FirstAdmin)
		return put(tx, bucketAccounts, FirstAdmin, rec)
	})
	if err == nil && admin.Name == "" {
		err = errors.New("no account is an administrator; make one with `coordinator user add --role admin NAME`")
	}
	if err != nil {
		return "", Account{}, fmt.Errorf("make a sign-in link: %w", err)
	}
	code, err := s.NewLink(ctx, admin.Name)
	return code, admin, err
}

// UseLink consumes a one-time code and returns its account, or ErrLink. Of two uses at once one works.
func (s *Store) UseLink(ctx context.Context, code string) (Account, error) {
	var account Account
	if len(code) > maxSecret {
		return account, ErrLink
	}
	err := s.db.Update(ctx, func(tx state.Tx) error {
		rec, ok, err := get[linkRecord](tx, bucketLinks, digest(code))
		if err != nil {
			return err
		}
		if !ok || !s.now().Before(rec.Expires) {
			return ErrLink
		}
		owner, err := accountIn(tx, rec.User)
		if err != nil {
			return errors.Join(ErrLink, err)
		}
		account = owner.account(rec.User)
		tx.Delete(bucketLinks, digest(code))
		return nil
	})
	if err != nil {
		return Account{}, err
	}
	return account, nil
}

// bearer finds the account of a secret that is in use: not expired, and its account not removed. What is not known here may have
// been made a moment ago on another coordinator, so the state is brought up to date before it is refused.
func (s *Store) bearer(ctx context.Context, bucket, secret string) (Account, error) {
	if secret == "" || len(secret) > maxSecret {
		return Account{}, ErrBadToken
	}
	account, err := s.bearerHere(bucket, secret)
	if !errors.Is(err, ErrBadToken) {
		return account, err
	}
	if err := s.catchUp(ctx); err != nil {
		return Account{}, err
	}
	return s.bearerHere(bucket, secret)
}

func (s *Store) bearerHere(bucket, secret string) (Account, error) {
	var account Account
	err := s.db.View(func(tx state.Tx) error {
		rec, ok, err := get[expiring](tx, bucket, digest(secret))
		if err != nil {
			return err
		}
		if !ok || (!rec.Expires.IsZero() && s.expired(rec)) {
			return errNotCurrent
		}
		owner, err := accountIn(tx, rec.User)
		account = owner.account(rec.User)
		return err
	})
	switch {
	case errors.Is(err, errNotCurrent), errors.Is(err, ErrNoAccount):
		return Account{}, ErrBadToken
	case err != nil:
		return Account{}, err
	}
	return account, nil
}
