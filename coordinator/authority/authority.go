// Package authority decides who belongs to the cluster: it holds the certificate authority and the gossip keys, gives out join
// tokens and certificates, removes members, and tells all of them what to trust. All of it lies in the coordinators' state.
package authority

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"easel/coordinator/state"
	"easel/pkg/identity"
)

// Reasons for which this package refuses. Errors match them by errors.Is.
var (
	ErrNotFounded = errors.New("this coordinator belongs to no cluster yet: run `coordinator init` on the first one, `coordinator join` on others")
	ErrInvalid    = errors.New("not valid")
	ErrToken      = errors.New("the join token is not known here: it is forged, of another cluster, or expired long ago")
	ErrExpired    = errors.New("the join token has expired; ask for another by `coordinator token`")
	ErrUsed       = errors.New("the join token was used already; ask for another by `coordinator token`")
	ErrOtherUse   = errors.New("the join token is not for this")
	ErrTaken      = errors.New("a living member has this name; choose another, or run `coordinator member remove` first if that member is gone for good")
	ErrNoMember   = errors.New("there is no such member; `coordinator member list` shows all")
	ErrLast       = errors.New("this is the last coordinator; without one the cluster would be lost")
)

// Authority works on one coordinator's state. Its methods are safe for concurrent use.
type Authority struct {
	store *state.Store
	now   func() time.Time

	mu     sync.Mutex
	loaded *identity.Authority // once it was read; it never changes
}

// New works on a store. Everything but Found fails with ErrNotFounded while no cluster is in it, as on a coordinator that has just
// joined and has not heard the others yet.
func New(store *state.Store) *Authority { return &Authority{store: store, now: time.Now} }

// Found makes a cluster in the state, unless there is one, and registers its first coordinator. It can be repeated at any time.
func (a *Authority) Found(ctx context.Context, name, url string) error {
	if err := errors.Join(identity.CheckName(identity.RoleCoordinator, name), identity.CheckAddress(url)); err != nil {
		return fmt.Errorf("found a cluster: %w: %w", ErrInvalid, err)
	}
	ca, err := identity.NewAuthority(a.now())
	if err != nil {
		return fmt.Errorf("found a cluster: %w", err)
	}
	key, err := ca.Key()
	if err != nil {
		return fmt.Errorf("found a cluster: %w", err)
	}
	err = a.store.Update(ctx, func(tx state.Tx) error {
		if tx.Get(bucketCluster, keyAuthority) == nil {
			if err := put(tx, bucketCluster, keyAuthority, authorityRecord{Certificate: ca.Certificate(), Key: key}); err != nil {
				return err
			}
			if err := put(tx, bucketCluster, keyGossip, gossipRecord{Keys: [][]byte{newGossipKey()}, Since: a.now()}); err != nil {
				return err
			}
		}
		first := memberKey(identity.RoleCoordinator, name)
		m, known, err := get[memberRecord](tx, bucketMembers, first)
		if err != nil || known && m.URL == url {
			return err
		}
		if !known {
			m.Joined = a.now()
		}
		m.URL = url
		return errors.Join(put(tx, bucketMembers, first, m), bump(tx, a.now()))
	})
	if err != nil {
		return fmt.Errorf("found a cluster: %w", err)
	}
	return nil
}

// ca is the cluster's certificate authority. It returns ErrNotFounded when there is none.
func (a *Authority) ca() (*identity.Authority, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loaded != nil {
		return a.loaded, nil
	}
	err := a.store.View(func(tx state.Tx) error {
		r, known, err := get[authorityRecord](tx, bucketCluster, keyAuthority)
		if err == nil && !known {
			err = ErrNotFounded
		}
		if err == nil {
			a.loaded, err = identity.ParseAuthority(r.Certificate, r.Key)
		}
		return err
	})
	return a.loaded, err
}

// arrivedCA is ca, for who may ask a coordinator whose state is still on its way, as after a start.
func (a *Authority) arrivedCA(ctx context.Context) (*identity.Authority, error) {
	ca, err := a.ca()
	if !errors.Is(err, ErrNotFounded) {
		return ca, err
	}
	if err := a.store.Barrier(ctx); err != nil {
		return nil, err
	}
	return a.ca()
}

// Cluster is the cluster's ID.
func (a *Authority) Cluster() (string, error) {
	ca, err := a.ca()
	if err != nil {
		return "", err
	}
	return ca.Cluster(), nil
}

// MakeMember issues this coordinator's own certificate and keeps it in dir.
func (a *Authority) MakeMember(ctx context.Context, dir, name string) (*identity.Member, error) {
	trust, err := a.Trust()
	if err != nil {
		return nil, err
	}
	return identity.Make(ctx, dir, trust, func(ctx context.Context, csr []byte) ([]byte, error) {
		return a.Renew(ctx, identity.RoleCoordinator, name, csr)
	})
}

// Renew signs a certificate for a member that is known, with the key of a request.
func (a *Authority) Renew(ctx context.Context, role, name string, csr []byte) ([]byte, error) {
	return a.renewBy(ctx, role, name, nil, csr)
}

// renewBy renews for who has the key of the member's last certificate; nil asks for no key, as a certificate was shown that counts.
func (a *Authority) renewBy(ctx context.Context, role, name string, last *ecdsa.PublicKey, csr []byte) ([]byte, error) {
	ca, err := a.arrivedCA(ctx)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(csr)
	if err != nil {
		return nil, fmt.Errorf("renew the certificate of %s %s: %w: %w", role, name, ErrInvalid, err)
	}
	var issued time.Time
	err = a.store.Update(ctx, func(tx state.Tx) error {
		m, known, err := get[memberRecord](tx, bucketMembers, memberKey(role, name))
		if err != nil {
			return err
		}
		if !known {
			return identity.ErrRemoved
		}
		if last != nil && !bytes.Equal(m.Key, hashKey(last)) && !bytes.Equal(m.Former, hashKey(last)) {
			return identity.ErrProof
		}
		if issued, err = a.issueTime(tx, role, name); err != nil {
			return err
		}
		if m.Issued = issued; !bytes.Equal(m.Key, key) {
			m.Key, m.Former = key, m.Key
		}
		return put(tx, bucketMembers, memberKey(role, name), m)
	})
	if err != nil {
		return nil, fmt.Errorf("renew the certificate of %s %s: %w", role, name, err)
	}
	return ca.Issue(csr, role, name, issued)
}

// issueTime is now, and not before the member's last removal, so that the certificate counts whatever the coordinators' clocks say.
func (a *Authority) issueTime(tx state.Tx, role, name string) (time.Time, error) {
	now := a.now().Truncate(time.Second)
	r, known, err := get[removedRecord](tx, bucketRemoved, memberKey(role, name))
	if err == nil && known && r.Before.After(now) {
		return r.Before, nil
	}
	return now, err
}

// Register says where a coordinator is reached by members, and with which key it signs session tokens.
func (a *Authority) Register(ctx context.Context, name, url string, tokenKey []byte) error {
	if err := identity.CheckAddress(url); err != nil {
		return fmt.Errorf("register coordinator %s: %w: %w", name, ErrInvalid, err)
	}
	err := a.store.Update(ctx, func(tx state.Tx) error {
		key := memberKey(identity.RoleCoordinator, name)
		m, known, err := get[memberRecord](tx, bucketMembers, key)
		if err != nil {
			return err
		}
		if !known {
			return identity.ErrRemoved
		}
		if m.URL == url && string(m.TokenKey) == string(tokenKey) {
			return nil
		}
		m.URL, m.TokenKey = url, tokenKey
		return errors.Join(put(tx, bucketMembers, key, m), bump(tx, a.now()))
	})
	if err != nil {
		return fmt.Errorf("register coordinator %s: %w", name, err)
	}
	return nil
}

// Member is one member that has joined and was not removed.
type Member struct {
	Role    string    `json:"role"`
	Name    string    `json:"name"`
	Joined  time.Time `json:"joined"`
	Renewed time.Time `json:"renewed"` // when its certificate was issued
	URL     string    `json:"url,omitempty"`
}

// Members lists who belongs, by role and name.
func (a *Authority) Members() ([]Member, error) {
	var all []Member
	err := a.store.View(func(tx state.Tx) error {
		all = nil
		return eachMember(tx, func(role, name string, m memberRecord) error {
			all = append(all, Member{Role: role, Name: name, Joined: m.Joined, Renewed: m.Issued, URL: m.URL})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the cluster's members: %w", err)
	}
	return all, nil
}

// Remove puts a member out of the cluster: its certificates count no more, anywhere, and the gossip gets another key.
func (a *Authority) Remove(ctx context.Context, role, name string) error {
	err := a.store.Update(ctx, func(tx state.Tx) error {
		m, known, err := get[memberRecord](tx, bucketMembers, memberKey(role, name))
		if err != nil {
			return err
		}
		if !known {
			return ErrNoMember
		}
		if role == identity.RoleCoordinator {
			if err := notLast(tx, name); err != nil {
				return err
			}
		}
		before := a.now()
		if m.Issued.After(before) { // by a coordinator whose clock is ahead
			before = m.Issued
		}
		tx.Delete(bucketMembers, memberKey(role, name))
		return errors.Join(
			put(tx, bucketRemoved, memberKey(role, name), removedRecord{Before: before.Truncate(time.Second).Add(time.Second)}),
			rotate(tx, a.now()), bump(tx, a.now()))
	})
	if err != nil {
		return fmt.Errorf("remove %s %s: %w", role, name, err)
	}
	return nil
}

func notLast(tx state.Tx, name string) error {
	others := 0
	err := eachMember(tx, func(role, other string, _ memberRecord) error {
		if role == identity.RoleCoordinator && other != name {
			others++
		}
		return nil
	})
	if err == nil && others == 0 {
		return ErrLast
	}
	return err
}

// Sweep forgets tokens and removals that can matter no more.
func (a *Authority) Sweep(ctx context.Context) error {
	now := a.now()
	var tokens, removals []string
	err := a.store.View(func(tx state.Tx) error {
		err := tx.Each(bucketTokens, func(key string, raw []byte) error {
			if r, err := decode[tokenRecord](bucketTokens, raw); err != nil || now.Sub(r.Expires) > rememberToken {
				tokens = append(tokens, key)
			}
			return nil
		})
		return errors.Join(err, tx.Each(bucketRemoved, func(key string, raw []byte) error {
			if r, err := decode[removedRecord](bucketRemoved, raw); err != nil || now.Sub(r.Before) > identity.CertificateLife+rememberRemoval {
				removals = append(removals, key)
			}
			return nil
		}))
	})
	if err != nil || len(tokens)+len(removals) == 0 {
		return err
	}
	err = a.store.Update(ctx, func(tx state.Tx) error {
		for _, key := range tokens {
			tx.Delete(bucketTokens, key)
		}
		for _, key := range removals {
			tx.Delete(bucketRemoved, key)
		}
		return bump(tx, now)
	})
	if err != nil {
		return fmt.Errorf("forget old tokens and removals: %w", err)
	}
	return nil
}

const (
	// rememberToken is how long an expired token is known, to be told from a forged one.
	rememberToken = 24 * time.Hour
	// rememberRemoval is how much longer than its certificates a removal is known: clocks differ.
	rememberRemoval = 24 * time.Hour
)

func newGossipKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails, by its contract
	return key
}
