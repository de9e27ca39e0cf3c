package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commandDeadline bounds an operator's command.
const commandDeadline = 60 * time.Second

// NodedCLI runs `noded ARGS… --config …` as an operator would and returns its standard output.
func (s *Stack) NodedCLI(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, "noded", append(args, "--config", s.NodedConfigPath())...)
}

// CoordinatorCLI runs `coordinator ARGS… --config …` as an operator would and returns its standard output.
func (s *Stack) CoordinatorCLI(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, "coordinator", append(args, "--config", s.CoordinatorConfigPath())...)
}

func (s *Stack) run(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandDeadline)
	defer cancel()
	cmd := s.command(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// command is a subcommand of a daemon's binary, with the environment that the daemon has; it is interrupted, then killed,
// when ctx ends.
func (s *Stack) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.BinDir, program), args...)
	cmd.Env = s.Noded.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// SigninURL is a one-time link that signs a browser in as the administrator.
func (s *Stack) SigninURL(ctx context.Context) (string, error) { return s.signinURL(ctx) }

// SigninURLFor makes an account and returns a one-time link that signs a browser in as it.
func (s *Stack) SigninURLFor(ctx context.Context, user string) (string, error) {
	if _, err := s.CoordinatorCLI(ctx, "user", "add", user, "--no-password"); err != nil {
		return "", err
	}
	return s.signinURL(ctx, "--user", user)
}

func (s *Stack) signinURL(ctx context.Context, args ...string) (string, error) {
	out, err := s.CoordinatorCLI(ctx, append([]string{"signin-link"}, args...)...)
	if err != nil {
		return "", err
	}
	for word := range strings.FieldsSeq(out) {
		if strings.HasPrefix(word, s.CoordinatorURL()+"/signin?") {
			return word, nil
		}
	}
	return "", fmt.Errorf("coordinator signin-link printed no link to %s: %q", s.CoordinatorURL(), out)
}

// lineWriter calls line for each full line written to it.
type lineWriter struct {
	line func(string)

	mu   sync.Mutex
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.line(strings.TrimRight(string(line), "\r"))
		w.rest = append([]byte(nil), rest...)
	}
}

// tailWriter keeps the last bytes written to it.
type tailWriter struct {
	most int

	mu   sync.Mutex
	kept []byte
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, p...)
	w.kept = w.kept[max(0, len(w.kept)-w.most):]
	return len(p), nil
}

func (w *tailWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(string(w.kept))
}
