package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"easel/coordinator/state"
)

// Roles of an account.
const (
	RoleUser  = "user"
	RoleAdmin = "admin"
)

// FirstAdmin is the account that FirstLink makes in an empty database.
const FirstAdmin = "admin"

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Account is one person, or program, that may sign in.
type Account struct {
	Name        string    `json:"name"`
	Role        string    `json:"role"`
	Created     time.Time `json:"created"`
	HasPassword bool      `json:"has_password"`
}

type accountRecord struct {
	Role    string    `json:"role"`
	Hash    string    `json:"hash,omitempty"` // PHC string, "" when no password is set
	Created time.Time `json:"created"`
}

func (r accountRecord) account(name string) Account {
	return Account{Name: name, Role: r.Role, Created: r.Created, HasPassword: r.Hash != ""}
}

// AddAccount makes an account. Without a password it is used through one-time links and API tokens.
func (s *Store) AddAccount(ctx context.Context, name, role, password string) (Account, error) {
	if err := checkAccount(name, role); err != nil {
		return Account{}, fmt.Errorf("add account %q: %w", name, err)
	}
	rec := accountRecord{Role: role, Created: s.now().UTC()}
	if password != "" {
		var err error
		if rec.Hash, err = s.hasher.hash(ctx, password); err != nil {
			return Account{}, fmt.Errorf("add account %q: %w", name, err)
		}
	}
	err := s.db.Update(ctx, func(tx state.Tx) error {
		if tx.Get(bucketAccounts, name) != nil {
			return ErrExists
		}
		return put(tx, bucketAccounts, name, rec)
	})
	if err != nil {
		return Account{}, fmt.Errorf("add account %q: %w", name, err)
	}
	return rec.account(name), nil
}

func checkAccount(name, role string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: a name has 1 to 64 of a-z, 0-9, dot, dash and underscore, and begins with a letter or digit", ErrInvalid)
	}
	if role != RoleUser && role != RoleAdmin {
		return fmt.Errorf("%w: role %q; use %s or %s", ErrInvalid, role, RoleUser, RoleAdmin)
	}
	return nil
}

// Accounts returns every account, sorted by name: as of now, or when the coordinators cannot agree, as this one knows them.
func (s *Store) Accounts(ctx context.Context) ([]Account, error) {
	if err := s.catchUp(ctx); err != nil && !errors.Is(err, state.ErrUnavailable) {
		return nil, err
	}
	var all []Account
	err := s.db.View(func(tx state.Tx) error {
		all = nil
		return eachAccount(tx, func(name string, rec accountRecord) { all = append(all, rec.account(name)) })
	})
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return all, nil
}

func eachAccount(tx state.Tx, visit func(name string, rec accountRecord)) error {
	return tx.Each(bucketAccounts, func(name string, value []byte) error {
		var rec accountRecord
		if err := json.Unmarshal(value, &rec); err != nil {
			return fmt.Errorf("account %q: its record is damaged: %w", name, err)
		}
		visit(name, rec)
		return nil
	})
}

// Account returns one account, or ErrNoAccount.
func (s *Store) Account(name string) (Account, error) {
	rec, err := s.accountRecord(name)
	if err != nil {
		return Account{}, err
	}
	return rec.account(name), nil
}

func (s *Store) accountRecord(name string) (accountRecord, error) {
	var rec accountRecord
	err := s.db.View(func(tx state.Tx) error {
		var err error
		rec, err = accountIn(tx, name)
		return err
	})
	return rec, err
}

func accountIn(tx state.Tx, name string) (accountRecord, error) {
	rec, ok, err := get[accountRecord](tx, bucketAccounts, name)
	if err == nil && !ok {
		err = ErrNoAccount
	}
	if err != nil {
		return accountRecord{}, fmt.Errorf("account %q: %w", name, err)
	}
	return rec, nil
}

// SetPassword changes a password, and signs every browser of the account out but the one whose cookie
// has the value keep (which may be ""). API tokens stay.
func (s *Store) SetPassword(ctx context.Context, name, password, keep string) error {
	if _, err := s.Account(name); err != nil { // before the costly hash
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("set the password of %q: %w", name, err)
	}
	return s.db.Update(ctx, func(tx state.Tx) error {
		rec, err := accountIn(tx, name)
		if err != nil {
			return err
		}
		rec.Hash = hash
		if err := put(tx, bucketAccounts, name, rec); err != nil {
			return err
		}
		return forget(tx, name, digest(keep), bucketBrowsers, bucketLinks)
	})
}

// RemoveAccount deletes an account with its sign-ins, links and API tokens. The last administrator stays.
func (s *Store) RemoveAccount(ctx context.Context, name string) error {
	return s.db.Update(ctx, func(tx state.Tx) error {
		rec, err := accountIn(tx, name)
		if err != nil {
			return err
		}
		if rec.Role == RoleAdmin {
			others, err := otherAdmins(tx, name)
			if err != nil {
				return err
			}
			if others == 0 {
				return fmt.Errorf("remove account %q: %w", name, ErrLastAdmin)
			}
		}
		tx.Delete(bucketAccounts, name)
		return forget(tx, name, "", bucketBrowsers, bucketLinks, bucketTokens)
	})
}

func otherAdmins(tx state.Tx, name string) (int, error) {
	n := 0
	err := eachAccount(tx, func(other string, rec accountRecord) {
		if rec.Role == RoleAdmin && other != name {
			n++
		}
	})
	return n, err
}

// forget removes the records of a user from buckets of hashed secrets, except the one under the key keep.
func forget(tx state.Tx, user, keep string, buckets ...string) error {
	for _, bucket := range buckets {
		keys, err := keysOf(tx, bucket, func(r expiring) bool { return r.User == user })
		if err != nil {
			return err
		}
		for _, key := range keys {
			if key != keep {
				tx.Delete(bucket, key)
			}
		}
	}
	return nil
}

// CheckPassword compares a user name and password. It returns ErrWrong for an unknown user and for a
// wrong password alike, after the same work, and a *RateLimited after too many failures; address is
// the client's IP address.
func (s *Store) CheckPassword(ctx context.Context, name, password, address string) (Account, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	if !namePattern.MatchString(name) {
		name = "-" // no account has this name, and the limiter needs no long or odd ones
	}
	if err := s.limits.attempt(name, address, s.now()); err != nil {
		return Account{}, err
	}
	if err := s.catchUp(ctx); err != nil {
		return Account{}, err
	}
	rec, err := s.accountRecord(name)
	if err != nil && !errors.Is(err, ErrNoAccount) {
		return Account{}, err
	}
	ok, stale, err := s.hasher.matches(ctx, rec.Hash, password)
	if err != nil {
		s.limits.refund(name, address, s.now()) // nothing was learned from this attempt
		return Account{}, err
	}
	if !ok {
		return Account{}, ErrWrong
	}
	s.limits.refund(name, address, s.now())
	if stale {
		if err := s.rehash(ctx, name, rec.Hash, password); err != nil {
			return Account{}, err
		}
	}
	return rec.account(name), nil
}

// rehash stores a password under today's parameters, unless it was changed meanwhile.
func (s *Store) rehash(ctx context.Context, name, old, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if errors.Is(err, ErrInvalid) {
		return nil // set when shorter ones were allowed: it keeps working
	}
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx state.Tx) error {
		rec, err := accountIn(tx, name)
		if err != nil || rec.Hash != old {
			return err
		}
		rec.Hash = hash
		return put(tx, bucketAccounts, name, rec)
	})
}
