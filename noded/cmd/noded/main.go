// Command noded is Easel's node daemon: it owns the sessions of its host. Beside "noded run" it carries
// the operator's commands.
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

	"easel/noded/gpu/partition"
	"easel/noded/session"
	"easel/pkg/identity"
	"easel/pkg/telemetry"
)

// version is set at link time.
var version string

// Exit codes: part of what scripts rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitLonely = 3 // it belongs to no cluster yet; the unit does not restart it
)

const usage = `usage: noded COMMAND [flags]

  run                                   be the node daemon
  join [--token-file FILE]              become a member of a cluster, by a token on stdin from "coordinator token --role node"
  status                                what the daemon has room for
  drain [--deadline 30m] [--reason WHY] [--wait] [--until-boot]
                                        take no new sessions, and end those that there are at the deadline
  cordon [--reason WHY]                 take no new sessions; those that there are go on
  uncordon                              take sessions again, after a drain too
  reload                                have the daemon read its configuration anew; tells what that changed
  session create --user U [--key K] [--class C] [--encoder E]
                                        make a session
  session list [--user U] [--all]       living sessions; --all: also ended ones
  session inspect ID                    everything about one session
  session stop ID… | --all              end sessions, and wait until they are gone
  image build | import FILE [REF] | export [REF] FILE | list
  gpu status                            the node's cards, how they are divided, and who holds what
  gpu plan [FILE]                       what applying a layout file (default gpu.layout) would change, and why
  gpu apply [FILE] [--drain 5m] [--dry-run]
                                        divide the cards so; sessions in the way end after the drain's time
  doctor                                check this host
  failpoints [--gpu]                    list where a test may interrupt the daemon
  version

Every command takes --config FILE (default ` + defaultConfig + `, where it exists); most take --json.
"noded COMMAND -h" lists a command's flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "noded: %v\nTry \"noded help\".\n", err)
		return exitUsage
	case errors.Is(err, errUnhealthy):
		return exitFailed // the findings said it all
	}
	fmt.Fprintf(stderr, "noded: %v\n", err)
	if errors.Is(err, identity.ErrNotJoined) {
		return exitLonely
	}
	return exitFailed
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return wrongUse("a command is missing")
	}
	name, rest := args[0], args[1:]
	switch name {
	case "run":
		return daemon(ctx, rest, stderr)
	case "join":
		return join(ctx, rest, os.Stdin, stdout, stderr)
	case "status":
		return status(ctx, rest, stdout, stderr)
	case "reload":
		return askReload(ctx, rest, stdout, stderr)
	case "drain":
		return drain(ctx, rest, stdout, stderr)
	case "cordon", "uncordon":
		return cordon(ctx, name, rest, stdout, stderr)
	case "session":
		return sessions(ctx, rest, stdout, stderr)
	case "image":
		return images(ctx, rest, stdout, stderr)
	case "gpu":
		return gpus(ctx, rest, stdout, stderr)
	case "doctor":
		return examine(ctx, rest, stdout, stderr)
	case "failpoints":
		return failpoints(rest, stdout, stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, telemetry.Version(version))
		return nil
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return nil
	}
	return wrongUse("there is no command %q", name)
}

// failpoints lists the daemon's failpoints, one a line, so that a test can walk them all: those of a session's life, or those of
// a division of the cards.
func failpoints(args []string, stdout, stderr io.Writer) error {
	c := newCommand("failpoints", false)
	ofCards := c.Bool("gpu", false, "those of \"noded gpu apply\"")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	names := session.Failpoints()
	if *ofCards {
		names = partition.Failpoints()
	}
	for _, name := range names {
		fmt.Fprintln(stdout, name)
	}
	return nil
}
