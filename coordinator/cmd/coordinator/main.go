// Command coordinator is Easel's front door: it signs people in, places their sessions on nodes and hands
// out the addresses. Beside "coordinator run" it carries the operator's commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"easel/coordinator/api"
	"easel/coordinator/authority"
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

const usage = `usage: coordinator COMMAND [flags]

  run                                be the coordinator daemon
  init                               found a cluster, with this coordinator as its first
  join [--token-file FILE]           become a further coordinator, by a token on stdin from "coordinator token --role coordinator"
  token --role node|coordinator [--name NAME] [--ttl 1h]
                                     print a join token, which lets one member into the cluster, once
  member list [--json]               who belongs to the cluster
  member remove NAME [--role node|coordinator]
                                     put a member out of the cluster at once
  recover                            on one of several, stopped, when most of the others are lost for good: go on alone with what it has
  gossip rotate                      replace the key that encrypts gossip
  top [--once] [--json]              the cluster at a glance, until Ctrl-C
  nodes [--json]                     nodes with room, warm sessions, load and state
  sessions [--user NAME] [--node NAME] [--ended] [--json]
                                     everybody's sessions
  drain NODE [--deadline 30m] [--reason WHY]
                                     have a node take no new sessions, and end its own at the deadline
  cordon NODE [--reason WHY]         have a node take no new sessions
  uncordon NODE                      have it take sessions again, after a drain too
  pool list [--json]                 policies of warm sessions, and what they want now
  pool set --mode fixed|schedule|forecast [--ready N] [--desktop N] [--window "mon-fri 08:30-18:00 desktop=6"]… [--zone ZONE]
           [--miss RISK] [--min N] [--max N] [--image REF] [--class CLASS]
                                     how many warm sessions the nodes keep together
  pool clear [--image REF] [--class CLASS]
                                     remove a policy; without any each node keeps what its own configuration says
  reload [--json]                    have the daemon read its configuration anew; tells what that changed
  user add NAME [--role user|admin] [--no-password]
                                     make an account; the password is read from the terminal or from stdin
  user passwd NAME                   set a password; ends the account's other sign-ins
  user remove NAME                   remove an account, and end its sessions
  user list [--json]
  token create --user NAME [--name WHAT-FOR]
                                     make an API token; it is printed once
  token list [--user NAME] [--json]
  token revoke ID
  signin-link [--user NAME]          print a link that signs a browser in, once; without --user as an administrator
  openapi                            print the API's OpenAPI document
  version

Every command takes --config FILE (default ` + defaultConfig + `, where it exists).
"coordinator COMMAND -h" lists a command's flags.
`

// process is what the commands have of the process around them.
type process struct {
	stdin          *os.File
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], process{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

var errUsage = errors.New("wrong use")

func wrongUse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, p process) int {
	err := dispatch(ctx, args, p)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintf(p.stderr, "coordinator: %v\nTry \"coordinator help\".\n", err)
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "coordinator: %v\n", err)
	if errors.Is(err, authority.ErrNotFounded) {
		return exitLonely
	}
	return exitFailed
}

func dispatch(ctx context.Context, args []string, p process) error {
	if len(args) == 0 {
		return wrongUse("a command is missing")
	}
	name, rest := args[0], args[1:]
	switch name {
	case "user", "token", "member", "gossip", "pool":
		if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") { // "token --role node" is a command of its own
			name, rest = name+" "+rest[0], rest[1:]
		}
	}
	switch name {
	case "run":
		return daemon(ctx, rest, p)
	case "init":
		return initCluster(ctx, rest, p)
	case "join":
		return joinCluster(ctx, rest, p)
	case "token":
		return joinToken(ctx, rest, p)
	case "member list":
		return memberList(ctx, rest, p)
	case "member remove":
		return memberRemove(ctx, rest, p)
	case "recover":
		return recoverState(ctx, rest, p)
	case "gossip rotate":
		return gossipRotate(ctx, rest, p)
	case "pool list":
		return poolList(ctx, rest, p)
	case "pool set":
		return poolSet(ctx, rest, p)
	case "pool clear":
		return poolClear(ctx, rest, p)
	case "reload":
		return askReload(ctx, rest, p)
	case "top":
		return top(ctx, rest, p)
	case "nodes":
		return listNodes(ctx, rest, p)
	case "sessions":
		return listSessions(ctx, rest, p)
	case "drain", "cordon", "uncordon":
		return setDuty(ctx, name, rest, p)
	case "user add":
		return userAdd(ctx, rest, p)
	case "user passwd":
		return userPasswd(ctx, rest, p)
	case "user remove":
		return userRemove(ctx, rest, p)
	case "user list":
		return userList(ctx, rest, p)
	case "token create":
		return tokenCreate(ctx, rest, p)
	case "token list":
		return tokenList(ctx, rest, p)
	case "token revoke":
		return tokenRevoke(ctx, rest, p)
	case "signin-link":
		return signinLink(ctx, rest, p)
	case "openapi":
		_, err := p.stdout.Write(api.OpenAPI())
		return err
	case "version", "--version":
		fmt.Fprintln(p.stdout, telemetry.Version(version))
		return nil
	case "help", "-h", "--help":
		fmt.Fprint(p.stdout, usage)
		return nil
	}
	return wrongUse("there is no command %q", name)
}

// command is one command's flags, which may stand before and after its arguments.
type command struct {
	set    *flag.FlagSet
	config string
	apply  func(*Config)
}

func newCommand(name string, p process) *command {
	c := &command{set: flag.NewFlagSet("coordinator "+name, flag.ContinueOnError), apply: func(*Config) {}}
	c.set.SetOutput(p.stderr)
	c.set.StringVar(&c.config, "config", "", "configuration file (default "+defaultConfig+", where it exists)")
	return c
}

// parse returns the arguments, of which there must be want.
func (c *command) parse(args []string, want int, what string) ([]string, error) {
	var rest []string
	for {
		if err := c.set.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, wrongUse("%v", err)
		}
		if c.set.NArg() == 0 {
			break
		}
		rest, args = append(rest, c.set.Arg(0)), c.set.Args()[1:]
	}
	if len(rest) != want {
		return nil, wrongUse("%s takes %s, got %q", c.set.Name(), what, rest)
	}
	return rest, nil
}

func (c *command) load() (Config, error) { return load(c.config, c.apply) }
