package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

// How often the manager looks after what no single keeper does.
const (
	tendEvery  = 15 * time.Second // metrics
	sweepEvery = 5 * time.Minute  // leaks and old records
	sweepAgain = 10 * time.Second // after a failure
	// sweepPatience bounds a sweep: containerd may hang.
	sweepPatience = 30 * time.Second
)

// tend sweeps at start and then now and then, until ctx ends. A leak that cannot be removed does not keep
// the node from serving.
func (m *Manager) tend(ctx context.Context) {
	due := m.trySweep(ctx)
	m.hearAll(ctx)
	m.settled.Store(true)
	m.bell.ring()
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	for {
		m.measure()
		m.retireUnfit(ctx)
		select {
		case <-ctx.Done():
			return
		case <-m.bell.heard():
			if !waitOr(ctx, time.Second) { // changes come in bursts
				return
			}
		case <-ticker.C:
		}
		if time.Now().After(due) {
			due = m.trySweep(ctx)
		}
	}
}

// hearPatience bounds how long the node waits, before it calls itself settled, for the streamers of the
// sessions of before: who asks it then is told of their processes and viewers as they are.
const hearPatience = 3 * time.Second

// hearAll returns once every session that was up has been heard from, or patience ends.
func (m *Manager) hearAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, hearPatience)
	defer cancel()
	for {
		heard := m.bell.heard()
		if m.allHeard() {
			return
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) allHeard() bool {
	all, err := m.store.List()
	if err != nil {
		return true // what is wrong with the store shows elsewhere
	}
	for _, r := range all {
		if r.State != Ready && r.State != Connected && r.State != Detached {
			continue
		}
		if k := m.keeperOf(r.ID); k != nil && k.health.Load() == nil {
			return false
		}
	}
	return true
}

// trySweep returns when to sweep next: soon when it failed.
func (m *Manager) trySweep(ctx context.Context) time.Time {
	limited, cancel := context.WithTimeoutCause(ctx, sweepPatience, fmt.Errorf("it took longer than %s: does containerd answer?", sweepPatience))
	defer cancel()
	err := m.sweep(limited)
	if err != nil && limited.Err() != nil {
		err = errors.Join(context.Cause(limited), err)
	}
	if err == nil {
		return time.Now().Add(sweepEvery)
	}
	if ctx.Err() == nil {
		m.log.Warn("cannot remove all that no session owns; trying again", "error", err)
	}
	return time.Now().Add(sweepAgain)
}

func waitOr(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sweep removes what lies on the host and no session owns, and forgets old sessions. What there is gets
// listed before the records are read: anything is recorded before it is made, so what a session makes
// meanwhile is never taken for a leak.
func (m *Manager) sweep(ctx context.Context) error {
	if err := m.store.Prune(time.Now().Add(-rememberFor), rememberMax); err != nil {
		return err
	}
	containers, err := m.containers.List(ctx)
	if err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	cgroups, err := m.containers.Cgroups()
	if err != nil {
		return fmt.Errorf("list the cgroups: %w", err)
	}
	dirs, err := m.runDirs()
	if err != nil {
		return err
	}
	prepared, err := m.prepared()
	if err != nil {
		return err
	}
	owned, err := m.owners()
	if err != nil {
		return err
	}
	leak := func(kind, id string) {
		m.log.Warn("removing what no session owns", "kind", kind, "session", id)
		m.metrics.leaks.WithLabelValues(kind).Inc()
	}
	var errs []error
	for _, id := range containers {
		if ValidID(id) && !owned[id] {
			leak("container", id)
			errs = append(errs, m.containers.Remove(ctx, id, 0))
		}
	}
	for _, id := range cgroups {
		if ValidID(id) && !owned[id] { // the daemons' own cgroups may lie beside the sessions'
			leak("cgroup", id)
			errs = append(errs, m.containers.RemoveCgroup(ctx, m.places.of(id).Cgroup))
		}
	}
	for _, id := range prepared {
		if !owned[id] {
			leak("devices", id)
			errs = append(errs, m.gpus.Free(ctx, gpu.Slice{}, id))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what no session owns: %w", err)
	}
	return m.sweepDirs(ctx, dirs, owned, leak)
}

// sweepDirs unmounts homes before it removes what they were mounted in.
func (m *Manager) sweepDirs(ctx context.Context, dirs []string, owned map[string]bool, leak func(kind, id string)) error {
	keep := func(target string) bool {
		id := filepath.Base(filepath.Dir(target))
		return owned[id] || !slices.Contains(dirs, id)
	}
	if err := m.homes.Sweep(ctx, keep); err != nil {
		return fmt.Errorf("unmount homes that no session owns: %w", err)
	}
	var errs []error
	for _, id := range dirs {
		if owned[id] {
			continue
		}
		leak("directory", id)
		if err := m.containers.RemoveDirs(ctx, m.places.of(id).Run); err != nil {
			errs = append(errs, fmt.Errorf("remove a run directory that no session owns: %w", err))
		}
	}
	return errors.Join(errs...)
}

// prepared is the sessions for whose containers devices were made ready.
func (m *Manager) prepared() ([]string, error) {
	if m.gpus == nil {
		return nil, nil
	}
	return m.gpus.Prepared()
}

func (m *Manager) runDirs() ([]string, error) {
	entries, err := os.ReadDir(m.places.runDir + "/s")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the run directories: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if ValidID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// owners is the ids of the sessions that may hold something.
func (m *Manager) owners() (map[string]bool, error) {
	all, err := m.store.List()
	if err != nil {
		return nil, err
	}
	owned := map[string]bool{}
	for _, r := range holding(all) {
		owned[r.ID] = true
	}
	return owned, nil
}

// measure brings the gauges up to date.
func (m *Manager) measure() {
	all, err := m.store.List()
	if err != nil {
		return
	}
	count, opencl, viewers := map[State]int{}, map[string]int{}, map[string]int{}
	var total Usage
	tilesLost := 0
	for _, r := range holding(all) {
		if !r.pooled() {
			count[r.State]++
		}
		if u, err := m.containers.Usage(m.places.of(r.ID).Cgroup); err == nil {
			total.Memory += u.Memory
			total.CPU += u.CPU
		}
		if k := m.keeperOf(r.ID); k != nil && k.health.Load() != nil {
			h := k.health.Load()
			opencl[h.OpenCL.State]++
			viewers[contract.RoleTakePart] += h.Guests.TakePart
			viewers[contract.RoleView] += h.Guests.View
			viewers[contract.RoleOwner] += h.Viewers - h.Guests.Count()
			tilesLost += h.TilesLost
		}
	}
	for _, s := range states {
		if s != Stopped {
			m.metrics.states.WithLabelValues(string(s)).Set(float64(count[s]))
		}
	}
	for _, s := range []string{contract.OpenCLOn, contract.OpenCLProving, contract.OpenCLFailed} {
		m.metrics.opencl.WithLabelValues(s).Set(float64(opencl[s]))
	}
	for _, role := range []string{contract.RoleOwner, contract.RoleTakePart, contract.RoleView} {
		m.metrics.viewers.WithLabelValues(role).Set(float64(viewers[role]))
	}
	m.metrics.tilesLost.Set(float64(tilesLost))
	m.measureDuty()
	m.measureSlices(holding(all))
	m.metrics.memory.Set(float64(total.Memory))
	m.metrics.cpu.Set(total.CPU)
}
