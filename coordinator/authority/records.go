package authority

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"easel/coordinator/state"
)

// Buckets of the state, and keys in the first.
const (
	bucketCluster = "cluster"
	bucketMembers = "members"     // by role/name
	bucketRemoved = "removed"     // by role/name
	bucketTokens  = "join_tokens" // by the SHA-256 of the secret

	keyAuthority = "authority"
	keyGossip    = "gossip"
	keyVersion   = "trust_version"
)

type authorityRecord struct {
	Certificate []byte `json:"certificate"` // DER
	Key         []byte `json:"key"`         // PKCS #8, DER
}

type memberRecord struct {
	Joined time.Time `json:"joined"`
	Issued time.Time `json:"issued"`        // its last certificate
	Key    []byte    `json:"key,omitempty"` // SHA-256 of the public key in that
	// Former is the key before that: the answer that gave the last certificate may have been lost.
	Former   []byte `json:"former,omitempty"`
	URL      string `json:"url,omitempty"`
	TokenKey []byte `json:"token_key,omitempty"` // of a coordinator: Ed25519
}

type removedRecord struct {
	Before time.Time `json:"before"` // whole seconds
	Back   bool      `json:"back,omitempty"`
}

type tokenRecord struct {
	Role    string    `json:"role"`
	Name    string    `json:"name,omitempty"` // "" lets the member choose
	Expires time.Time `json:"expires"`
	Used    *tokenUse `json:"used,omitempty"`
}

// tokenUse lets a join that was cut off be repeated, with the same key alone.
type tokenUse struct {
	Name string `json:"name"`
	Key  []byte `json:"key"` // SHA-256 of the member's public key
}

// Phases of a rotation of the gossip keys.
const (
	phaseSteady = ""    // one key
	phaseAdd    = "add" // the second key is new: all learn to decrypt with it
	phaseUse    = "use" // the first key is new and encrypts; the second is old
)

type gossipRecord struct {
	Keys    [][]byte  `json:"keys"` // the first encrypts
	Phase   string    `json:"phase,omitempty"`
	Version uint64    `json:"version,omitempty"` // of the trust with which the phase began
	Since   time.Time `json:"since"`             // when it began
	Again   bool      `json:"again,omitempty"`   // rotate once more: somebody was removed who knows the keys of this rotation
}

func memberKey(role, name string) string { return role + "/" + name }

func eachMember(tx state.Tx, visit func(role, name string, m memberRecord) error) error {
	return tx.Each(bucketMembers, func(key string, raw []byte) error {
		m, err := decode[memberRecord](bucketMembers, raw)
		if err != nil {
			return err
		}
		role, name, _ := strings.Cut(key, "/")
		return visit(role, name, m)
	})
}

func get[T any](tx state.Tx, bucket, key string) (r T, known bool, err error) {
	raw := tx.Get(bucket, key)
	if raw == nil {
		return r, false, nil
	}
	r, err = decode[T](bucket, raw)
	return r, true, err
}

func decode[T any](bucket string, raw []byte) (r T, err error) {
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("a record in %q is damaged: %w", bucket, err)
	}
	return r, nil
}

func put(tx state.Tx, bucket, key string, r any) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tx.Put(bucket, key, raw)
	return nil
}
