package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/state"
	"easel/pkg/identity"
)

// openState opens what this coordinator must not forget: its own while it is alone, else what it shares with the others.
func openState(cfg Config, member *identity.Member, registry prometheus.Registerer, log *slog.Logger) (*state.Store, error) {
	if _, err := os.Stat(cfg.database()); errors.Is(err, fs.ErrNotExist) {
		// Only "init" makes a state. A member without one has joined, or its join was killed before the end.
		if err := state.Follow(cfg.database(), cfg.Name); err != nil {
			return nil, err
		}
	}
	address, err := hostPort(cfg.API.URL)
	if err != nil {
		return nil, fmt.Errorf("api.url: %w", err)
	}
	seeds := func() (addrs []string) {
		for _, text := range member.Trust().GetCoordinators() {
			if addr, err := hostPort(text); err == nil {
				addrs = append(addrs, addr)
			}
		}
		return addrs
	}
	db, err := state.Start(state.Config{
		Path: cfg.database(), Patience: lockPatience, Name: cfg.Name, Address: address, Network: state.OverTLS(member), Seeds: seeds,
		Log: log, Registry: registry,
	})
	if errors.Is(err, state.ErrLocked) {
		err = fmt.Errorf("%w; does another coordinator run?", err)
	}
	return db, err
}

// hostPort is what to dial for a cluster address.
func hostPort(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	return u.Host, nil
}

// recoverState is "coordinator recover": one of several goes on alone.
func recoverState(_ context.Context, args []string, p process) (err error) {
	cfg, err := newCommand("recover", p).noArguments(args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ownTree(cfg.StateDir)) }()
	kept, err := state.Recover(cfg.database(), cfg.Name, lockPatience)
	if errors.Is(err, state.ErrLocked) {
		err = fmt.Errorf("%w: stop this coordinator first", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "This coordinator is alone now, with the state as it had it; what it kept before is in %s.\nStart it, remove the lost ones (coordinator member remove NAME --role coordinator), and let new ones join.\n", kept)
	return nil
}
