package main

import (
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
