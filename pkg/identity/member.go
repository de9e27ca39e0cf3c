package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	easelv1 "easel/pkg/api/easel/v1"
)

// Files of a member's directory. bundleFile is written last: where it is, the member has joined.
const (
	bundleFile  = "member.pem" // key and certificate in one file, so that they never differ
	trustFile   = "trust.json"
	joiningFile = "joining.pem" // the key of a join that has not ended
	renewalFile = "renewal.pem" // likewise, of a renewal
)

// ErrNotJoined means that a directory holds no member.
var ErrNotJoined = errors.New("this host has not joined a cluster")

// Member is one daemon's place in its cluster: its key, its certificate and what it trusts, kept in a directory. Its methods are
// safe for concurrent use.
type Member struct {
	dir string
	now func() time.Time

	mu      sync.Mutex
	self    Peer
	cert    *tls.Certificate
	trust   *trusted
	changed chan struct{}            // closed and replaced at every change of the trust
	open    map[*connection]struct{} // connections whose peer was accepted
}

// Load reads the member that is kept in dir. It returns ErrNotJoined when there is none.
func Load(dir string) (*Member, error) {
	m := &Member{dir: dir, now: time.Now, changed: make(chan struct{}), open: map[*connection]struct{}{}}
	raw, err := readPrivate(filepath.Join(dir, bundleFile), maxFile, joinAgain)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotJoined
	}
	if err != nil {
		return nil, fmt.Errorf("load this member's certificate: %w", err)
	}
	key, cert, err := parseBundle(raw)
	if err != nil {
		return nil, fmt.Errorf("load this member's certificate: %s: %w", filepath.Join(dir, bundleFile), err)
	}
	if raw, err = readPrivate(filepath.Join(dir, trustFile), maxFile, joinAgain); err != nil {
		return nil, fmt.Errorf("load what this member trusts: %w", err)
	}
	wire := &easelv1.Trust{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, wire); err != nil {
		return nil, fmt.Errorf("load what this member trusts: %s: %w", filepath.Join(dir, trustFile), err)
	}
	if m.trust, err = readTrust(wire); err != nil {
		return nil, fmt.Errorf("load what this member trusts: %s: %w", filepath.Join(dir, trustFile), err)
	}
	if err := m.wear(key, cert); err != nil {
		return nil, fmt.Errorf("load this member's certificate: %w", err)
	}
	return m, nil
}

// Create keeps a new member in dir, in place of one that was there, and loads it.
func Create(dir string, key *ecdsa.PrivateKey, cert []byte, trust *easelv1.Trust) (*Member, error) {
	bundle, err := formatBundle(key, cert)
	if err != nil {
		return nil, fmt.Errorf("keep this member's certificate: %w", err)
	}
	text, err := protojson.Marshal(trust)
	if err != nil {
		return nil, fmt.Errorf("keep what this member trusts: %w", err)
	}
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	if err := replaceFile(filepath.Join(dir, trustFile), text); err != nil {
		return nil, fmt.Errorf("keep what this member trusts: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, bundleFile), bundle); err != nil {
		return nil, fmt.Errorf("keep this member's certificate: %w", err)
	}
	return Load(dir)
}

// Make keeps a new member in dir, for a coordinator that has the authority at hand: issue is given a request for the member's key.
func Make(ctx context.Context, dir string, trust *easelv1.Trust, issue func(ctx context.Context, csr []byte) ([]byte, error)) (*Member, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make this member's certificate: %w", err)
	}
	csr, err := newRequest(key)
	if err != nil {
		return nil, fmt.Errorf("make this member's certificate: %w", err)
	}
	cert, err := issue(ctx, csr)
	if err != nil {
		return nil, fmt.Errorf("make this member's certificate: %w", err)
	}
	return Create(dir, key, cert, trust)
}

// wear makes cert what the member shows from now on; m.mu is held, or nobody else has m.
func (m *Member) wear(key *ecdsa.PrivateKey, cert *x509.Certificate) error {
	self, err := peerOf(cert)
	if err != nil {
		return err
	}
	if self.Cluster != m.trust.wire.GetClusterId() {
		return fmt.Errorf("its certificate is of cluster %s, its trust of %s: join again", self.Cluster, m.trust.wire.GetClusterId())
	}
	chain, err := m.trust.chain(cert, key)
	if err != nil {
		return err
	}
	m.self, m.cert = self, chain
	return nil
}

// Cluster is the ID of the cluster.
func (m *Member) Cluster() string { return m.identity().Cluster }

// Role is RoleNode or RoleCoordinator.
func (m *Member) Role() string { return m.identity().Role }

// Name is unique among the living members of one role.
func (m *Member) Name() string { return m.identity().Name }

func (m *Member) identity() Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self
}

// Trust is what the member trusts now; it is not to be changed.
func (m *Member) Trust() *easelv1.Trust { return m.trusted().wire }

func (m *Member) trusted() *trusted {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trust
}

// Changed returns a channel that is closed at the next change of the trust. Ask for it before Trust.
func (m *Member) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// SetTrust makes wire what the member trusts, from its next start on too, unless it has a newer one. Connections of members
// that are removed by it end.
func (m *Member) SetTrust(wire *easelv1.Trust) error {
	next, err := readTrust(wire)
	if err != nil {
		return err
	}
	text, err := protojson.Marshal(wire)
	if err != nil {
		return fmt.Errorf("keep what this member trusts: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.trust.wire
	if wire.GetClusterId() != now.GetClusterId() {
		return fmt.Errorf("keep what this member trusts: it is of cluster %s, this is %s", wire.GetClusterId(), now.GetClusterId())
	}
	if wire.GetVersion() <= now.GetVersion() {
		return nil
	}
	if err := replaceFile(filepath.Join(m.dir, trustFile), text); err != nil {
		return fmt.Errorf("keep what this member trusts: %w", err)
	}
	m.trust = next
	m.dropRefused()
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// Removed tells whether the trust says that this very member is out.
func (m *Member) Removed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.trust.standing(m.cert.Leaf)
	return errors.Is(err, ErrRemoved)
}

// Admits says why gossip of a member is not welcome: it was removed, and has not joined again.
func (m *Member) Admits(role, name string) error {
	for _, r := range m.Trust().GetRemoved() {
		if r.GetRole() == role && r.GetName() == name && !r.GetBack() {
			return fmt.Errorf("%s %s: %w", role, name, ErrRemoved)
		}
	}
	return nil
}

// Verify checks a session token by the keys of the cluster's coordinators; see Verifier.
func (m *Member) Verify(token, audience string, now time.Time) (Claims, error) {
	v := m.trusted().verifier
	if v == nil {
		return Claims{}, ErrSignature
	}
	return v.Verify(token, audience, now)
}

// RenewAt is when the certificate should be renewed: when two thirds of its life are over.
func (m *Member) RenewAt() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self.Issued.Add(CertificateLife * 2 / 3)
}

// Expires is when the certificate counts no more.
func (m *Member) Expires() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cert.Leaf.NotAfter
}

// Renew replaces key and certificate: issue is given a request for a new key. Killed at any moment, the old ones or the new ones
// are there, whole. Connections that stand go on with the old.
func (m *Member) Renew(ctx context.Context, issue func(ctx context.Context, csr []byte) ([]byte, error)) error {
	pending := filepath.Join(m.dir, renewalFile)
	key, err := pendingKey(pending)
	if err != nil {
		return fmt.Errorf("renew this member's certificate: %w", err)
	}
	csr, err := newRequest(key)
	if err != nil {
		return fmt.Errorf("renew this member's certificate: %w", err)
	}
	der, err := issue(ctx, csr)
	if err != nil {
		return fmt.Errorf("renew this member's certificate: %w", err)
	}
	bundle, err := formatBundle(key, der)
	if err != nil {
		return fmt.Errorf("renew this member's certificate: %w", err)
	}
	_, cert, err := parseBundle(bundle)
	if err != nil {
		return fmt.Errorf("renew this member's certificate: %w", err)
	}
	if err := m.change(key, cert, bundle); err != nil {
		return fmt.Errorf("renew this member's certificate: %w", err)
	}
	if err := os.Remove(pending); err != nil {
		return fmt.Errorf("renew this member's certificate: it is done, but the next would have the same key: %w", err)
	}
	return nil
}

// change keeps a new certificate of this very member, and shows it from now on.
func (m *Member) change(key *ecdsa.PrivateKey, cert *x509.Certificate, bundle []byte) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, worn := m.self, m.cert
	defer func() {
		if err != nil {
			m.self, m.cert = old, worn
		}
	}()
	if err := m.wear(key, cert); err != nil {
		return err
	}
	if m.self.Role != old.Role || m.self.Name != old.Name {
		return fmt.Errorf("asked for %s %s, got %s %s", old.Role, old.Name, m.self.Role, m.self.Name)
	}
	return replaceFile(filepath.Join(m.dir, bundleFile), bundle)
}
