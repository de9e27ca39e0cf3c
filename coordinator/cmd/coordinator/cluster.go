package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"easel/coordinator/admin"
	"easel/coordinator/authority"
	"easel/coordinator/state"
	"easel/pkg/identity"
)

// maxTokenInput bounds what is read for a join token, in bytes.
const maxTokenInput = 16 << 10

// loadMember is this coordinator's place in its cluster, without which it does not run.
func loadMember(cfg Config) (*identity.Member, error) {
	m, err := identity.Load(cfg.identityDir())
	if errors.Is(err, identity.ErrNotJoined) {
		return nil, authority.ErrNotFounded
	}
	if err != nil {
		return nil, err
	}
	if m.Role() != identity.RoleCoordinator || m.Name() != cfg.Name {
		return nil, fmt.Errorf("this coordinator belongs to cluster %s as %s %s, and the configuration names it %s: set name to %s",
			m.Cluster(), m.Role(), m.Name(), cfg.Name, m.Name())
	}
	return m, nil
}

// initCluster is "coordinator init": it founds a cluster with this coordinator as its first. Repeated, it ends what a kill cut off.
func initCluster(ctx context.Context, args []string, p process) (err error) {
	c := newCommand("init", p)
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if err := makeDir(cfg.StateDir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ownTree(cfg.StateDir)) }()
	m, err := identity.Load(cfg.identityDir())
	if err != nil && !errors.Is(err, identity.ErrNotJoined) {
		return err
	}
	db, openErr := state.Open(cfg.database(), lockPatience)
	if m != nil && (errors.Is(openErr, state.ErrLocked) || errors.Is(openErr, state.ErrReplicated)) {
		what := "it runs"
		if errors.Is(openErr, state.ErrReplicated) {
			what = "it is one of several"
		}
		fmt.Fprintf(p.stdout, "This is coordinator %s of cluster %s already, and %s.\n", m.Name(), m.Cluster(), what)
		return nil
	}
	if openErr != nil {
		return openErr
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a := authority.New(db)
	if m == nil {
		if m, err = found(ctx, cfg, a); err != nil {
			return err
		}
	}
	if cluster, err := a.Cluster(); err == nil && cluster != m.Cluster() {
		return fmt.Errorf("the state in %s is of cluster %s, but %s of cluster %s: restore the one or the other from a backup", cfg.StateDir, cluster, cfg.identityDir(), m.Cluster())
	}
	fmt.Fprintf(p.stdout, "This is coordinator %s of cluster %s. Start it, then let others join: coordinator token --role node\n", m.Name(), m.Cluster())
	return nil
}

// found makes the cluster, and this coordinator's member last: where it is, all is done.
func found(ctx context.Context, cfg Config, a *authority.Authority) (*identity.Member, error) {
	signer, err := loadSigner(cfg)
	if err != nil {
		return nil, err
	}
	if err := a.Found(ctx, cfg.Name, cfg.API.URL); err != nil {
		return nil, err
	}
	if err := a.Register(ctx, cfg.Name, cfg.API.URL, signer.Public()); err != nil {
		return nil, err
	}
	return a.MakeMember(ctx, cfg.identityDir(), cfg.Name)
}

// loadSigner makes what signs this coordinator's session tokens.
func loadSigner(cfg Config) (*identity.Signer, error) {
	key, err := identity.LoadOrCreateKey(cfg.signingKey())
	if err != nil {
		return nil, err
	}
	return identity.NewSigner(key)
}

// joinCluster is "coordinator join": it makes this the next coordinator of a cluster.
func joinCluster(ctx context.Context, args []string, p process) (err error) {
	c := newCommand("join", p)
	file := c.set.String("token-file", "-", "`file` that holds the token; - is stdin")
	cfg, err := c.noTokenInArguments(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if err := makeDir(cfg.StateDir); err != nil {
		return err
	}
	if err := notFounded(cfg); err != nil {
		return err
	}
	text, err := readToken(*file, p)
	if err != nil {
		return err
	}
	token, err := identity.ParseJoinToken(text)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ownTree(cfg.StateDir)) }()
	m, err := identity.Join(ctx, cfg.identityDir(), identity.RoleCoordinator, cfg.Name, token)
	if err != nil {
		return err
	}
	if err := state.Follow(cfg.database(), cfg.Name); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "This is coordinator %s of cluster %s. Start or restart it now.\n", m.Name(), m.Cluster())
	return nil
}

// noTokenInArguments is noArguments for a command that somebody may give a token to, which must not be said again.
func (c *command) noTokenInArguments(args []string) (Config, error) {
	for _, a := range args {
		if strings.HasPrefix(a, "easel-join-") {
			return Config{}, wrongUse("join takes no token as an argument, because other users see arguments: give it on stdin, or in a file by --token-file")
		}
	}
	return c.noArguments(args)
}

// notFounded makes sure that the state here is of no cluster of its own, which a join would leave behind.
func notFounded(cfg Config) error {
	if _, err := identity.Load(cfg.identityDir()); err == nil {
		return nil // it has joined before: whether this is the same cluster is asked by the join
	}
	if _, err := os.Stat(cfg.database()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := state.Open(cfg.database(), lockPatience)
	if err != nil {
		return err
	}
	cluster, err := authority.New(db).Cluster()
	switch {
	case errors.Is(err, authority.ErrNotFounded):
		err = nil
	case err == nil:
		err = fmt.Errorf("the state in %s is of cluster %s; move it away to join another one", cfg.StateDir, cluster)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return state.CheckUnused(cfg.database())
}

// readToken reads a join token from a file or stdin, where a terminal does not show it.
func readToken(file string, p process) (string, error) {
	if file == "-" && term.IsTerminal(int(p.stdin.Fd())) {
		raw, err := askUnseen(p, "Join token (it is not shown): ")
		return string(raw), err
	}
	from := p.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the join token: %w", err)
		}
		defer f.Close()
		from = f
	}
	raw, err := io.ReadAll(io.LimitReader(from, maxTokenInput))
	if err != nil {
		return "", fmt.Errorf("read the join token: %w", err)
	}
	return string(raw), nil
}

// ownTree gives what root made below a folder to the folder's owner, as whom the daemon runs.
func ownTree(folder string) error {
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		return ownLikeItsFolder(path)
	})
}

func joinToken(ctx context.Context, args []string, p process) error {
	c := newCommand("token", p)
	role := c.set.String("role", "", "node or coordinator: what may join by it")
	name := c.set.String("name", "", "the name that the member must have (default: it chooses)")
	life := c.set.Duration("ttl", authority.DefaultTokenLife, "how long it can be used")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	if *role != identity.RoleNode && *role != identity.RoleCoordinator {
		return wrongUse("token makes a join token and needs --role node or --role coordinator; API tokens are made by \"token create\"")
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.CreateJoin, Role: *role, Name: *name, Life: *life})
	if err != nil {
		return err
	}
	command := "noded join"
	if *role == identity.RoleCoordinator {
		command = "coordinator join"
	}
	fmt.Fprintf(p.stderr, "This token lets one %s join, within %v. Give it to `%s` on stdin:\n", *role, *life, command)
	fmt.Fprintln(p.stdout, answer.Secret)
	return nil
}

func memberList(ctx context.Context, args []string, p process) error {
	c := newCommand("member list", p)
	asJSON := c.set.Bool("json", false, "print JSON")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.ListMembers})
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(p.stdout, answer.Members)
	}
	table := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ROLE\tNAME\tJOINED\tCERTIFICATE OF\tADDRESS\tSTATE")
	for _, m := range answer.Members {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
			m.Role, m.Name, m.Joined.Format(time.DateOnly), m.Renewed.Format(time.DateTime), m.URL, standing(answer, m))
	}
	if n := len(answer.Coordinators); n%2 == 0 && n > 0 {
		fmt.Fprintf(p.stderr, "%d coordinators survive the loss of no more than %d do: have one more or one less.\n", n, n-1)
	}
	return table.Flush()
}

// standing is what a coordinator is among those that share the state.
func standing(answer admin.Answer, m authority.Member) string {
	if m.Role != identity.RoleCoordinator {
		return "-"
	}
	for _, c := range answer.Coordinators {
		if c.Name == m.Name || c.Standing == state.Alone {
			return c.Standing
		}
	}
	return "not there yet"
}

func memberRemove(ctx context.Context, args []string, p process) error {
	c := newCommand("member remove", p)
	role := c.set.String("role", identity.RoleNode, "node or coordinator")
	names, err := c.parse(args, 1, "one name; `coordinator member list` shows them")
	if err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if _, err = ask(ctx, cfg, admin.Request{Op: admin.RemoveMember, Role: *role, Name: names[0]}); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "The %s %s is out of the cluster; its certificates count no more, and the gossip key is being replaced.\n", *role, names[0])
	return nil
}

func gossipRotate(ctx context.Context, args []string, p process) error {
	cfg, err := newCommand("gossip rotate", p).noArguments(args)
	if err != nil {
		return err
	}
	if _, err = ask(ctx, cfg, admin.Request{Op: admin.RotateGossip}); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "The gossip key is being replaced; members follow within seconds.")
	return nil
}
