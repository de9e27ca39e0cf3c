package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

const keyBytes = 32 // AES-256

// SetKeys replaces the keys of the gossip: the first encrypts, all of them decrypt. Members keep hearing one
// another when a new key is added everywhere, then put first everywhere, and only then the old one left out.
func (c *Cluster) SetKeys(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return fmt.Errorf("change the gossip keys of %s %q: %w", c.cfg.Role, c.cfg.Name, err)
	}
	c.keysMu.Lock()
	defer c.keysMu.Unlock()
	for _, key := range keys {
		if err := c.keyring.AddKey(key); err != nil {
			return err
		}
	}
	if err := c.keyring.UseKey(keys[0]); err != nil {
		return err
	}
	return dropOthers(c.keyring, keys)
}

// dropOthers takes the keys that are not wanted out of the ring. RemoveKey shifts the keys behind the one that
// goes while packets are decrypted with them, so only the last is ever removed and those behind come back at once.
func dropOthers(ring *memberlist.Keyring, wanted [][]byte) error {
	keys := slices.Clone(ring.GetKeys())
	first := slices.IndexFunc(keys, func(k []byte) bool { return !contains(wanted, k) })
	if first < 0 {
		return nil
	}
	for i := len(keys) - 1; i >= first; i-- {
		if err := ring.RemoveKey(keys[i]); err != nil {
			return err
		}
	}
	for _, key := range keys[first:] {
		if contains(wanted, key) {
			if err := ring.AddKey(key); err != nil {
				return err
			}
		}
	}
	return nil
}

func contains(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("no gossip key is given; a member gets them with the cluster's trust when it joins")
	}
	for i, key := range keys {
		if len(key) != keyBytes {
			return fmt.Errorf("gossip key %d of %d has %d bytes, not %d", i+1, len(keys), len(key), keyBytes)
		}
	}
	return nil
}

func newKeyring(keys [][]byte) (*memberlist.Keyring, error) {
	own := make([][]byte, len(keys))
	for i, key := range keys {
		own[i] = bytes.Clone(key)
	}
	return memberlist.NewKeyring(own, own[0])
}
