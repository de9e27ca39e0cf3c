package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"easel/pkg/identity"
)

// nodeName is the stack's node in its cluster.
const nodeName = "node1"

// foundCluster does what an operator does first of all; repeated, it changes nothing.
func (s *Stack) foundCluster(ctx context.Context) error {
	_, err := s.CoordinatorCLI(ctx, "init")
	return err
}

// joinNode makes the node a member of the coordinator's cluster, unless it is one already.
func (s *Stack) joinNode(ctx context.Context) error {
	dir := filepath.Join(s.state("noded"), "identity")
	m, err := identity.Load(dir)
	if !errors.Is(err, identity.ErrNotJoined) && err != nil {
		return err
	}
	if m != nil {
		ours, err := identity.Load(filepath.Join(s.state("coordinator"), "identity"))
		if err != nil {
			return err
		}
		if m.Cluster() == ours.Cluster() && !m.Removed() {
			return nil
		}
		// The coordinator's state was thrown away: the node follows, which nobody but a development machine may decide.
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	// A node that was thrown away still has its name.
	if list, err := s.CoordinatorCLI(ctx, "member", "list"); err != nil {
		return err
	} else if m == nil && strings.Contains(list, nodeName) {
		if _, err := s.CoordinatorCLI(ctx, "member", "remove", nodeName); err != nil {
			return err
		}
	}
	token, err := s.JoinToken(ctx, identity.RoleNode)
	if err != nil {
		return err
	}
	cmd := s.command(ctx, "noded", "join", "--config", s.NodedConfigPath())
	cmd.Stdin = strings.NewReader(token)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("noded join: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// JoinToken is a token by which one member of a role joins the stack's cluster.
func (s *Stack) JoinToken(ctx context.Context, role string) (string, error) {
	return s.CoordinatorCLI(ctx, "token", "--role", role)
}
