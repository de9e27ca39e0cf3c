// Command easel-dev is `make run`, `make stop` and `make clean`: Easel on the developer's own machine, in the foreground.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: easel-dev COMMAND [flags]

  run     start Easel on this machine and stay until Ctrl-C
  stop    end what run started, also when it was killed
  clean   stop, then remove builds, cache and state (homes with drawings only with --homes)

easel-dev COMMAND -h lists a command's flags.
`

// errUsage marks wrong use: exit status 2, as ARCHITECTURE.md says.
var errUsage = errors.New("wrong use")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "easel-dev:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "easel-dev:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w\n%s", errUsage, usage)
	}
	commands := map[string]func(context.Context, []string, io.Writer) error{"run": runStack, "stop": stopStack, "clean": cleanMachine}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("%w: no command %q\n%s", errUsage, args[0], usage)
	}
	if os.Geteuid() != 0 {
		return errors.New("this needs root, for containers and mounts; run it with sudo")
	}
	return command(ctx, args[1:], out)
}

// flags is a flag set that reports wrong use as errUsage.
func parse(set *flag.FlagSet, args []string) error {
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case set.NArg() > 0:
		return fmt.Errorf("%w: unexpected argument %q", errUsage, set.Arg(0))
	}
	return nil
}
