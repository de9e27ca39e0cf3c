// Package identitytest is a cluster's authority for tests: it makes members, and removes them, without a coordinator.
package identitytest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/identity"
)

// Cluster is an authority and the members that it made.
type Cluster struct {
	Authority *identity.Authority

	t       testing.TB
	mu      sync.Mutex
	trust   *easelv1.Trust
	members []*identity.Member
}

// New founds a cluster.
func New(t testing.TB) *Cluster {
	t.Helper()
	a, err := identity.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	gossip := make([]byte, 32)
	_, _ = rand.Read(gossip) // never fails, by its contract
	return &Cluster{Authority: a, t: t, trust: &easelv1.Trust{
		ClusterId: a.Cluster(), Version: 1, Authorities: [][]byte{a.Certificate()}, GossipKeys: [][]byte{gossip},
	}}
}

// Member makes a member in a directory of its own.
func (c *Cluster) Member(role, name string) *identity.Member {
	c.t.Helper()
	return c.MemberIn(c.t.TempDir(), role, name, time.Now())
}

// MemberIn makes a member in dir whose certificate was issued at a given time.
func (c *Cluster) MemberIn(dir, role, name string, issued time.Time) *identity.Member {
	c.t.Helper()
	m, err := c.make(dir, role, name, issued)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *Cluster) make(dir, role, name string, issued time.Time) (*identity.Member, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	cert, err := c.Authority.Issue(csr, role, name, issued)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := identity.Create(dir, key, cert, c.trust)
	if err != nil {
		return nil, fmt.Errorf("make member %s %s: %w", role, name, err)
	}
	c.members = append(c.members, m)
	return m, nil
}

// Trust is what members trust now.
func (c *Cluster) Trust() *easelv1.Trust {
	c.mu.Lock()
	defer c.mu.Unlock()
	return proto.CloneOf(c.trust)
}

// Change changes the trust and tells every member.
func (c *Cluster) Change(change func(*easelv1.Trust)) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	next := proto.CloneOf(c.trust)
	change(next)
	next.Version++
	c.trust = next
	for _, m := range c.members {
		if err := m.SetTrust(next); err != nil {
			c.t.Error(err)
		}
	}
}

// Remove removes a member from the cluster: all its certificates of before count no more.
func (c *Cluster) Remove(role, name string) {
	c.t.Helper()
	c.Change(func(trust *easelv1.Trust) {
		trust.Removed = append(trust.Removed, &easelv1.Removed{Role: role, Name: name, Before: timestamppb.New(time.Now().Add(time.Second))})
	})
}

// Signer makes a coordinator's key for session tokens, which the members trust from now on.
func (c *Cluster) Signer() *identity.Signer {
	c.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	signer, err := identity.NewSigner(private)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Change(func(trust *easelv1.Trust) { trust.TokenKeys = append(trust.TokenKeys, public) })
	return signer
}
