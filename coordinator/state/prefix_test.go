package state_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"easel/coordinator/state"
)

func TestEachPrefix(t *testing.T) {
	s, err := state.Open(filepath.Join(t.TempDir(), "state.db"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Update(t.Context(), func(tx state.Tx) error {
		for _, key := range []string{"ad\x00x", "ada\x002", "ada\x001", "adam\x001", "b"} {
			tx.Put("b", key, []byte(key))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string][]string{
		"ada\x00": {"ada\x001", "ada\x002"}, "c": nil, "": {"ad\x00x", "ada\x001", "ada\x002", "adam\x001", "b"},
	} {
		var got []string
		err := s.View(func(tx state.Tx) error {
			return tx.EachPrefix("b", prefix, func(key string, _ []byte) error {
				got = append(got, key)
				return nil
			})
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", prefix, got, err, want)
		}
	}
}
