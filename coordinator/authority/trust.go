package authority

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"easel/coordinator/state"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/identity"
)

// Trust is what members are to trust now.
func (a *Authority) Trust() (*easelv1.Trust, error) {
	ca, err := a.ca()
	if err != nil {
		return nil, fmt.Errorf("read the cluster's trust: %w", err)
	}
	var trust *easelv1.Trust
	err = a.store.View(func(tx state.Tx) (err error) {
		trust, err = read(tx, ca)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the cluster's trust: %w", err)
	}
	return trust, nil
}

func read(tx state.Tx, ca *identity.Authority) (*easelv1.Trust, error) {
	version, err := trustVersion(tx)
	if err != nil {
		return nil, err
	}
	trust := &easelv1.Trust{ClusterId: ca.Cluster(), Version: version, Authorities: [][]byte{ca.Certificate()}}
	gossip, _, err := get[gossipRecord](tx, bucketCluster, keyGossip)
	if err != nil {
		return nil, err
	}
	trust.GossipKeys = gossip.Keys
	err = eachMember(tx, func(role, _ string, m memberRecord) error {
		if role == identity.RoleCoordinator && m.URL != "" {
			trust.Coordinators = append(trust.Coordinators, m.URL)
		}
		if role == identity.RoleCoordinator && len(m.TokenKey) > 0 {
			trust.TokenKeys = append(trust.TokenKeys, m.TokenKey)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(trust.Coordinators)
	trust.Coordinators = slices.Compact(trust.Coordinators)
	return trust, tx.Each(bucketRemoved, func(key string, raw []byte) error {
		r, err := decode[removedRecord](bucketRemoved, raw)
		if err != nil {
			return err
		}
		role, name, _ := strings.Cut(key, "/")
		trust.Removed = append(trust.Removed, &easelv1.Removed{Role: role, Name: name, Before: timestamppb.New(r.Before), Back: r.Back})
		return nil
	})
}

func trustVersion(tx state.Tx) (uint64, error) {
	raw := tx.Get(bucketCluster, keyVersion)
	if raw == nil {
		return 0, nil
	}
	version, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the version of the trust is damaged: %w", err)
	}
	return version, nil
}

// bump makes a new version of the trust. It follows the clock, so that after an old copy of the state was restored the next change
// is newer than what members have.
func bump(tx state.Tx, now time.Time) error {
	version, err := trustVersion(tx)
	if err != nil {
		return err
	}
	version = max(version+1, uint64(max(0, now.UnixMilli())))
	tx.Put(bucketCluster, keyVersion, []byte(strconv.FormatUint(version, 10)))
	return nil
}

func (a *Authority) version() (version uint64, err error) {
	err = a.store.View(func(tx state.Tx) (err error) {
		version, err = trustVersion(tx)
		return err
	})
	return version, err
}
