package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"easel/coordinator/admin"
	"easel/coordinator/auth"
)

// commandTimeout bounds an operator's command.
const commandTimeout = 45 * time.Second

// ask has the daemon, or without one this process, carry out a command.
func ask(ctx context.Context, cfg Config, req admin.Request) (admin.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if err := makeDir(cfg.StateDir); err != nil {
		return admin.Answer{}, err
	}
	answer, err := admin.Run(ctx, cfg.adminSocket(), cfg.database(), req)
	if ownErr := ownLikeItsFolder(cfg.database()); ownErr != nil {
		err = errors.Join(err, ownErr)
	}
	return answer, err
}

func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make folder: %w; run this as root or as the coordinator's user", err)
	}
	return nil
}

// ownLikeItsFolder gives a file that root made to the owner of its folder, so that the daemon, which runs
// as that user, can open it.
func ownLikeItsFolder(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	err = os.Lchown(path, int(owner.Uid), int(owner.Gid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func userAdd(ctx context.Context, args []string, p process) error {
	c := newCommand("user add", p)
	role := c.set.String("role", auth.RoleUser, "user or admin")
	none := c.set.Bool("no-password", false, "no password: sign-in by one-time links and API tokens only")
	names, err := c.parse(args, 1, "one name")
	if err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	password := ""
	if !*none {
		if password, err = readPassword(p, names[0]); err != nil {
			return err
		}
	}
	if _, err = ask(ctx, cfg, admin.Request{Op: admin.AddAccount, User: names[0], Role: *role, Password: password}); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Account %s is made.\n", names[0])
	return nil
}

func userPasswd(ctx context.Context, args []string, p process) error {
	c := newCommand("user passwd", p)
	names, err := c.parse(args, 1, "one name")
	if err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	password, err := readPassword(p, names[0])
	if err != nil {
		return err
	}
	if _, err = ask(ctx, cfg, admin.Request{Op: admin.SetPassword, User: names[0], Password: password}); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "The password of %s is set; browsers that were signed in are signed out.\n", names[0])
	return nil
}

func userRemove(ctx context.Context, args []string, p process) error {
	c := newCommand("user remove", p)
	names, err := c.parse(args, 1, "one name")
	if err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.RemoveAccount, User: names[0]})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Account %s is removed; sessions ended: %d. Its files stay on the nodes.\n", names[0], answer.Ended)
	return nil
}

func userList(ctx context.Context, args []string, p process) error {
	c := newCommand("user list", p)
	asJSON := c.set.Bool("json", false, "print JSON")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.ListAccounts})
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(p.stdout, answer.Accounts)
	}
	table := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tROLE\tPASSWORD\tCREATED")
	for _, a := range answer.Accounts {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", a.Name, a.Role, yesNo(a.HasPassword), a.Created.Format(time.DateOnly))
	}
	return table.Flush()
}

func tokenCreate(ctx context.Context, args []string, p process) error {
	c := newCommand("token create", p)
	user := c.set.String("user", "", "whose token it is")
	name := c.set.String("name", "", "what it is for")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	if *user == "" {
		return wrongUse("token create needs --user NAME")
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.CreateToken, User: *user, Name: *name})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "API token %s for %s; it is shown only now:\n", answer.ID, answer.User)
	fmt.Fprintln(p.stdout, answer.Secret)
	return nil
}

func tokenList(ctx context.Context, args []string, p process) error {
	c := newCommand("token list", p)
	user := c.set.String("user", "", "only this user's")
	asJSON := c.set.Bool("json", false, "print JSON")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.ListTokens, User: *user})
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(p.stdout, answer.Tokens)
	}
	table := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tUSER\tFOR\tCREATED")
	for _, t := range answer.Tokens {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", t.ID, t.User, t.Name, t.Created.Format(time.DateOnly))
	}
	return table.Flush()
}

func tokenRevoke(ctx context.Context, args []string, p process) error {
	c := newCommand("token revoke", p)
	ids, err := c.parse(args, 1, "one ID; `coordinator token list` shows them")
	if err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if _, err = ask(ctx, cfg, admin.Request{Op: admin.RevokeToken, ID: ids[0]}); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "API token %s is revoked.\n", ids[0])
	return nil
}

func signinLink(ctx context.Context, args []string, p process) error {
	c := newCommand("signin-link", p)
	user := c.set.String("user", "", "whom the link signs in (default: an administrator, who is made in an empty database)")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.CreateLink, User: *user})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "This link signs in as %s, once, within %d minutes:\n", answer.User, int(auth.LinkLifetime.Minutes()))
	fmt.Fprintln(p.stdout, cfg.PublicURL+"/signin?once="+answer.Secret)
	return nil
}

// noArguments parses a command that takes flags only, and loads the configuration.
func (c *command) noArguments(args []string) (Config, error) {
	if _, err := c.parse(args, 0, "flags only"); err != nil {
		return Config{}, err
	}
	return c.load()
}

// readPassword asks on the terminal, twice and unseen, or reads one line from a stdin that is none.
func readPassword(p process, user string) (string, error) {
	if !term.IsTerminal(int(p.stdin.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(p.stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password from stdin: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("read the password from stdin: it is empty; pipe one line, or run this in a terminal")
		}
		return line, nil
	}
	first, err := askUnseen(p, "Password for "+user+": ")
	if err != nil {
		return "", err
	}
	second, err := askUnseen(p, "Once more: ")
	if err != nil {
		return "", err
	}
	if !bytes.Equal(first, second) {
		return "", errors.New("the two passwords differ; try again")
	}
	return string(first), nil
}

func askUnseen(p process, prompt string) ([]byte, error) {
	fmt.Fprint(p.stderr, prompt)
	password, err := term.ReadPassword(int(p.stdin.Fd()))
	fmt.Fprintln(p.stderr)
	if err != nil {
		return nil, fmt.Errorf("read the password from the terminal: %w", err)
	}
	return password, nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
