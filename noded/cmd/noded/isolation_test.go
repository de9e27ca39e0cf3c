package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"easel/pkg/cluster"
)

// view is a gossip's view that the test sets.
type view struct {
	mu      sync.Mutex
	members []cluster.Member
	changed chan struct{}
}

func (v *view) Members() []cluster.Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.members
}

func (v *view) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

func (v *view) set(members ...cluster.Member) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.members = members
	close(v.changed)
	v.changed = make(chan struct{})
}

// TestNodeCutOffFromCoordinatorsIsIsolated: other nodes do not count, a blink does not either, and healing counts at once.
func TestNodeCutOffFromCoordinatorsIsIsolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		member := func(role string) cluster.Member { return cluster.Member{Meta: cluster.Meta{Role: role, Name: role}} }
		v := &view{changed: make(chan struct{}), members: []cluster.Member{member(cluster.RoleCoordinator)}}
		var mu sync.Mutex
		var told []bool
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			watchIsolation(ctx, v, func(is bool) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, is)
			}, slog.New(slog.DiscardHandler))
		}()
		expect := func(want ...bool) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != len(want) || len(told) > 0 && told[len(told)-1] != want[len(want)-1] {
				t.Fatalf("it was told %v, want %v", told, want)
			}
		}
		time.Sleep(time.Hour)
		expect()
		v.set(member(cluster.RoleNode))
		time.Sleep(isolatedAfter - time.Second)
		v.set(member(cluster.RoleCoordinator)) // it was started anew
		expect()
		v.set(member(cluster.RoleNode))
		time.Sleep(isolatedAfter + 2*time.Second)
		expect(true)
		time.Sleep(time.Hour)
		v.set(member(cluster.RoleNode), member(cluster.RoleCoordinator))
		expect(true, false)
		cancel()
		<-done
	})
}
