package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"easel/pkg/identity"
)

// maxTokenInput bounds what is read for a join token, in bytes.
const maxTokenInput = 16 << 10

// loadMember is this node's place in its cluster, without which it serves nobody.
func loadMember(cfg Config) (*identity.Member, error) {
	m, err := identity.Load(cfg.identityDir())
	if errors.Is(err, identity.ErrNotJoined) {
		return nil, fmt.Errorf("%w: run `coordinator token --role node` on a coordinator, and `noded join` here, with the token on stdin", err)
	}
	if err != nil {
		return nil, err
	}
	if m.Role() != identity.RoleNode || m.Name() != cfg.Name {
		return nil, fmt.Errorf("this host joined cluster %s as %s %s, and the configuration names it %s: set name to %s, or move %s away and join anew",
			m.Cluster(), m.Role(), m.Name(), cfg.Name, m.Name(), cfg.identityDir())
	}
	return m, nil
}

// join is "noded join": it makes this host a member of the cluster whose coordinator made a token.
func join(ctx context.Context, args []string, stdin *os.File, stdout, stderr io.Writer) error {
	c := newCommand("join", true)
	file := c.String("token-file", "-", "`file` that holds the token; - is stdin")
	rest, err := c.arguments(args, 0, 1, "flags only")
	if err != nil {
		return c.help(err, stderr)
	}
	if len(rest) > 0 && rest[0] != "-" { // never said again: it may be the token
		return wrongUse("join takes no argument, because other users see arguments: give the token on stdin, or in a file by --token-file")
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	text, err := readToken(*file, stdin, stderr)
	if err != nil {
		return err
	}
	token, err := identity.ParseJoinToken(text)
	if err != nil {
		return err
	}
	m, err := identity.Join(ctx, cfg.identityDir(), identity.RoleNode, cfg.Name, token)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "This host is node %s of cluster %s. Start or restart noded now: systemctl restart easel-noded\n", m.Name(), m.Cluster())
	return nil
}

// readToken reads a join token from a file or stdin, where a terminal does not show it.
func readToken(file string, stdin *os.File, stderr io.Writer) (string, error) {
	if file != "-" {
		raw, err := readBounded(file)
		if err != nil {
			return "", fmt.Errorf("read the join token: %w", err)
		}
		return raw, nil
	}
	if term.IsTerminal(int(stdin.Fd())) {
		fmt.Fprint(stderr, "Join token (it is not shown): ")
		raw, err := term.ReadPassword(int(stdin.Fd()))
		fmt.Fprintln(stderr)
		if err != nil {
			return "", fmt.Errorf("read the join token from the terminal: %w", err)
		}
		return string(raw), nil
	}
	raw, err := io.ReadAll(io.LimitReader(stdin, maxTokenInput))
	if err != nil {
		return "", fmt.Errorf("read the join token from stdin: %w", err)
	}
	return string(raw), nil
}

func readBounded(path string) (string, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxTokenInput))
	return string(raw), err
}
