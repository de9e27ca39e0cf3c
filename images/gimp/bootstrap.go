package gimp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
)

// localeHook makes the one locale that sessions run in, as a directory: an archive's bytes differ from build to build.
const localeHook = `chroot "$1" localedef --no-archive -i en_US -f UTF-8 en_US.UTF-8`

// bootstrap runs mmdebstrap: packages of the recipe's suite with their dependencies, the root's tar to out.
func (b *builder) bootstrap(ctx context.Context, what string, packages []string, out io.Writer, hooks ...string) error {
	r := b.recipe
	args := []string{
		"--mode=root", "--variant=essential", "--format=tar", "--architectures=" + r.Arch,
		"--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Retries 3", "--dpkgopt=force-unsafe-io",
		"--keyring=/usr/share/keyrings", "--include=" + strings.Join(packages, ","),
	}
	for _, h := range hooks {
		args = append(args, "--customize-hook="+h)
	}
	args = append(args, r.Suite, "-")
	args = append(args, r.sources()...)

	cmd := b.command(ctx, "mmdebstrap", args...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.Epoch))
	// Its mounts end with it, whatever happens to it.
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	cmd.Stdout = out
	err := b.runNoted(cmd, what, func(line string) (string, bool) { return strings.CutPrefix(line, "I: ") })
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("make " + what + ": mmdebstrap is not installed: try \"apt-get install mmdebstrap\"")
	}
	if err != nil {
		return fmt.Errorf("make %s from %s (%s): %w", what, r.Mirror, r.Suite, err)
	}
	return nil
}

// command prepares a program that works in the builder's own temporary directory and knows nothing of this process's environment.
func (b *builder) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TMPDIR=" + b.work, "HOME=/root"}
	cmd.Dir = b.work
	// Ended as a whole: asked nicely, mmdebstrap would finish what it is at, which takes minutes. What it leaves lies in the working
	// directory and in namespaces of its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// runNoted runs cmd, tells progress of the lines of its standard error that note picks, and puts the last lines into the error.
func (b *builder) runNoted(cmd *exec.Cmd, what string, note func(line string) (string, bool)) error {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var last [12]string
	n := 0
	lines := bufio.NewReader(stderr)
	for {
		line, readErr := lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			last[n%len(last)], n = line, n+1
			if text, ok := note(line); ok {
				b.say("%s: %s", what, text)
			}
		}
		if readErr != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		var tail bytes.Buffer
		for i := max(0, n-len(last)); i < n; i++ {
			fmt.Fprintf(&tail, "\n\t%s", last[i%len(last)])
		}
		return fmt.Errorf("%s: %w; it said last:%s", cmd.Args[0], err, tail.String())
	}
	return nil
}
