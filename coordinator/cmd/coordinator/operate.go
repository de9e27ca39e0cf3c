package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"easel/coordinator/api"
	"easel/coordinator/events"
	"easel/pkg/problem"
)

// Bounds of asking the daemon.
const (
	operateTimeout = 50 * time.Second
	mostAnswer     = 64 << 20 // bytes: a large cluster has many sessions
)

// operate asks the running daemon, by its socket, what its API tells administrators. body and into may be nil.
func operate(ctx context.Context, cfg Config, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, operateTimeout)
	defer cancel()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask the coordinator: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://coordinator"+path, sent)
	if err != nil {
		return fmt.Errorf("ask the coordinator: %w", err)
	}
	if sent != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := socketClient(cfg.adminSocket()).Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return errors.New(problem.Read(resp).Detail)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, mostAnswer)).Decode(into); err != nil {
		return fmt.Errorf("read the coordinator's answer: %w", err)
	}
	return nil
}

func socketClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
			switch {
			case errors.Is(err, os.ErrPermission):
				return nil, fmt.Errorf("reach the coordinator at %s: permission denied; run this as root or as the coordinator's user", socket)
			case err != nil:
				return nil, fmt.Errorf("the coordinator does not answer on %s; is it running, with this configuration?", socket)
			}
			return conn, nil
		},
	}}
}

func listNodes(ctx context.Context, args []string, p process) error {
	c := newCommand("nodes", p)
	asJSON := c.set.Bool("json", false, "print JSON")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	nodes, err := nodesOf(ctx, cfg)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(p.stdout, nodes)
	}
	return nodeTable(p.stdout, nodes, time.Now())
}

func nodesOf(ctx context.Context, cfg Config) ([]api.Node, error) {
	var answer struct{ Nodes []api.Node }
	err := operate(ctx, cfg, http.MethodGet, "/api/v1/nodes", nil, &answer)
	return answer.Nodes, err
}

func nodeTable(w io.Writer, nodes []api.Node, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tPLACE\tSESSIONS\tGPU\tCARDS\tWARM\tCPU\tMEMORY FREE\tSEEN\tSTATE")
	for _, n := range nodes {
		fmt.Fprintf(table, "%s\t%s\t%d/%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			n.Name, placeOf(n), n.Used, n.Total, classesOf(n), cardsOf(n), warmOf(n), cpuOf(n), memoryOf(n), ago(n.Seen, now), nodeState(n))
	}
	return table.Flush()
}

// classesOf is how many slices of each class are held, and how many of the free ones have an encoder.
func classesOf(n api.Node) string {
	var all []string
	for _, r := range n.Classes {
		if r.Class == "none" {
			continue
		}
		one := fmt.Sprintf("%s %d/%d", r.Class, r.Used, r.Total)
		if r.Encoders > 0 {
			one += fmt.Sprintf(" (%d enc)", r.Encoders)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

// cardsOf is a node's cards by model, with those that are not well.
func cardsOf(n api.Node) string {
	var all []string
	for _, c := range n.Cards {
		one := fmt.Sprintf("%d %s", c.Count, strings.TrimPrefix(c.Model, "NVIDIA "))
		if !c.Encoder {
			one += ", no encoder"
		}
		if c.Unhealthy > 0 {
			one += fmt.Sprintf(", %d UNHEALTHY", c.Unhealthy)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, "; ")
}

func placeOf(n api.Node) string {
	return strings.Trim(n.Region+"/"+n.Zone, "/")
}

func warmOf(n api.Node) string {
	ready, want := 0, 0
	for _, p := range n.Pools {
		ready += p.Warm
		want += p.Want
	}
	return fmt.Sprintf("%d/%d", ready, want)
}

func cpuOf(n api.Node) string {
	if n.Load.CPUs == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%% of %d", n.Load.CPUPercent, n.Load.CPUs)
}

func memoryOf(n api.Node) string {
	if n.Load.MemoryTotal == 0 {
		return "-"
	}
	const gib = 1 << 30
	return fmt.Sprintf("%.1f of %.1f GiB", float64(n.Load.MemoryFree)/gib, float64(n.Load.MemoryTotal)/gib)
}

// nodeState is what a node does for new sessions and why, in words.
func nodeState(n api.Node) string {
	switch {
	case n.Lost:
		return "LOST: " + n.Error
	case !n.Reachable:
		return "SILENT: " + n.Error
	case n.Duty == "draining" && n.Deadline != nil:
		return "draining, sessions end by " + n.Deadline.Local().Format(time.DateTime)
	case n.Duty == "cordoned":
		return "cordoned"
	case n.Isolated:
		return "ISOLATED: it sees no coordinator"
	case n.Draining:
		return "takes no sessions: " + n.Full
	case n.Full != "":
		return "full: " + n.Full
	case len(n.Degraded) > 0:
		return "serving; " + strings.Join(n.Degraded, "; ")
	}
	return "serving"
}

func ago(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return max(0, now.Sub(at)).Round(time.Second).String() + " ago"
}

func listSessions(ctx context.Context, args []string, p process) error {
	c := newCommand("sessions", p)
	asJSON := c.set.Bool("json", false, "print JSON")
	user := c.set.String("user", "", "only this account's")
	node := c.set.String("node", "", "only this node's")
	ended := c.set.Bool("ended", false, "also ended ones that nodes still remember")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	list, err := sessionsOf(ctx, cfg, *ended)
	if err != nil {
		return err
	}
	var some []api.Session
	for _, s := range list.Sessions {
		if (*user == "" || s.User == *user) && (*node == "" || s.Node == *node) {
			some = append(some, s)
		}
	}
	if list.Sessions = some; *asJSON {
		return printJSON(p.stdout, list)
	}
	if list.Partial {
		fmt.Fprintf(p.stderr, "These nodes do not answer, so sessions may be missing: %s\n", strings.Join(list.Unreachable, ", "))
	}
	return sessionTable(p.stdout, list.Sessions, time.Now())
}

func sessionsOf(ctx context.Context, cfg Config, ended bool) (list api.SessionList, err error) {
	path := "/api/v1/sessions?all=true"
	if ended {
		path += "&ended=true"
	}
	err = operate(ctx, cfg, http.MethodGet, path, nil, &list)
	return list, err
}

func sessionTable(w io.Writer, sessions []api.Session, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "SESSION\tUSER\tNODE\tSTATE\tAGE\tVIEWERS\tREASON")
	for _, s := range sessions {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d %s\t%s\n", s.ID, s.User, s.Node, s.State, now.Sub(s.Created).Round(time.Second), s.Viewers, s.Path, s.Reason)
	}
	return table.Flush()
}

// setDuty is "coordinator drain", "cordon" and "uncordon".
func setDuty(ctx context.Context, duty string, args []string, p process) error {
	c := newCommand(duty, p)
	reason, deadline := c.set.String("reason", "", "why; artists read it when the node is drained"), (*time.Duration)(nil)
	if duty == "drain" {
		deadline = c.set.Duration("deadline", 30*time.Minute, "sessions end after this time; 0s ends them at once")
	}
	names, err := c.parse(args, 1, "one node's name; `coordinator nodes` shows them")
	if err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	req := api.DutyRequest{Reason: *reason}
	if deadline != nil {
		seconds := int64(deadline.Round(time.Second) / time.Second)
		req.DeadlineSeconds = &seconds
	}
	var answer api.DutyAnswer
	if err := operate(ctx, cfg, http.MethodPost, "/api/v1/nodes/"+url.PathEscape(names[0])+"/"+duty, req, &answer); err != nil {
		return fmt.Errorf("%s %s: %w", duty, names[0], err)
	}
	switch {
	case answer.Deadline != nil:
		fmt.Fprintf(p.stdout, "%s takes no new sessions; its %d end by %s.\n", answer.Node, answer.Sessions, answer.Deadline.Local().Format(time.DateTime))
	case answer.Duty == "cordoned":
		fmt.Fprintf(p.stdout, "%s takes no new sessions; its %d go on.\n", answer.Node, answer.Sessions)
	default:
		fmt.Fprintf(p.stdout, "%s takes sessions.\n", answer.Node)
	}
	return nil
}

func eventsOf(ctx context.Context, cfg Config) ([]events.Event, error) {
	var answer struct{ Events []events.Event }
	err := operate(ctx, cfg, http.MethodGet, "/api/v1/events", nil, &answer)
	return answer.Events, err
}
