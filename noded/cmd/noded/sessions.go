package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

const (
	askTimeout  = 20 * time.Second
	stopTimeout = 90 * time.Second
)

// socketClient reaches the daemon by its own socket.
func socketClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("the daemon does not answer on %s (is it running, with this configuration, and are you root?): %w", socket, errors.Unwrap(err))
		}
		return conn, nil
	}}}
}

// node is a client of the daemon's own socket.
func node(socket string) easelv1connect.NodeServiceClient {
	return easelv1connect.NewNodeServiceClient(socketClient(socket), "http://noded")
}

// explain drops the RPC's own words, which say nothing to an operator.
func explain(doing string, err error) error {
	var rpc *connect.Error
	if errors.As(err, &rpc) {
		return fmt.Errorf("%s: %s", doing, rpc.Message())
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func status(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("status", false)
	asJSON := c.Bool("json", false, "print JSON")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := node(cfg.adminSocket()).Status(ctx, connect.NewRequest(&easelv1.StatusRequest{}))
	if err != nil {
		return explain("ask the node for its status", err)
	}
	s := resp.Msg
	if *asJSON {
		return printJSON(stdout, s)
	}
	fmt.Fprintf(stdout, "node %s, noded %s: %d of %d sessions\n", s.Name, s.Version, s.Used, s.Capacity)
	if s.Duty == easelv1.Duty_DUTY_DRAINING {
		fmt.Fprintf(stdout, "draining: sessions end by %s\n", s.DrainDeadline.AsTime().Local().Format(time.DateTime))
	}
	if s.FullReason != "" {
		fmt.Fprintf(stdout, "no room: %s\n", s.FullReason)
	}
	for _, d := range s.Degraded {
		fmt.Fprintf(stdout, "degraded: %s\n", d)
	}
	for _, i := range s.Images {
		fmt.Fprintf(stdout, "image: %s\n", i)
	}
	for _, e := range s.Encoders {
		fmt.Fprintln(stdout, encoderLine(e))
	}
	for _, p := range s.Pool {
		fmt.Fprintf(stdout, "warm %s of %s: %d of %d, %d starting\n", p.Pool.GetKind(), p.Pool.GetImage(), p.Warm, p.Pool.GetWant(), p.Starting)
	}
	return nil
}

// encoderLine says what came of an encoder's proof.
func encoderLine(e *easelv1.EncoderProof) string {
	where := ""
	if e.Card != "" {
		where = " of " + e.Card
	}
	if !e.Proven {
		return fmt.Sprintf("encoder %s%s: not proven: %s", e.Format, where, e.Why)
	}
	return fmt.Sprintf("encoder %s%s: proven, %s decoded by %s: %.1f dB, off by at most %d of 256", e.Format, where, e.Encoder, e.Decoder, e.Decibels, e.Levels)
}

func sessions(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return wrongUse("session: want create, list, inspect or stop")
	}
	switch args[0] {
	case "create":
		return createSession(ctx, args[1:], stdout, stderr)
	case "list":
		return listSessions(ctx, args[1:], stdout, stderr)
	case "inspect":
		return inspectSession(ctx, args[1:], stdout, stderr)
	case "stop":
		return stopSessions(ctx, args[1:], stdout, stderr)
	}
	return wrongUse("session %q: want create, list, inspect or stop", args[0])
}

func createSession(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("session create", false)
	asJSON := c.Bool("json", false, "print JSON")
	user := c.String("user", "", "account `name` (required)")
	key := c.String("key", "default", "the same key gives the same session")
	image := c.String("image", "", "image `reference` (default: the node's)")
	class := c.String("class", "none", "what of a GPU it has: none, shared, whole or a MIG `profile`")
	encoder := c.String("encoder", "any", "hardware: only where the card encodes the picture; any: by the CPU as well")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	if *user == "" {
		return wrongUse("session create: --user is missing")
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req := &easelv1.ReserveRequest{User: *user, Key: *key, Class: *class, Encoder: *encoder, Image: *image}
	resp, err := node(cfg.adminSocket()).Reserve(ctx, connect.NewRequest(req))
	if err != nil {
		return explain("create a session for "+*user, err)
	}
	if *asJSON {
		return printJSON(stdout, resp.Msg.Session)
	}
	fmt.Fprintln(stdout, resp.Msg.Session.Id)
	return nil
}

func listSessions(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("session list", false)
	asJSON := c.Bool("json", false, "print JSON")
	user := c.String("user", "", "only this account's")
	all := c.Bool("all", false, "also ended ones that are still remembered")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := node(cfg.adminSocket()).List(ctx, connect.NewRequest(&easelv1.ListRequest{User: *user, Ended: *all, Warm: true}))
	if err != nil {
		return explain("list the sessions", err)
	}
	if *asJSON {
		return printJSON(stdout, resp.Msg)
	}
	table := tabwriter.NewWriter(stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tUSER\tCLASS\tSTATE\tAGE\tVIEWERS\tREASON")
	for _, s := range resp.Msg.Sessions {
		age := time.Since(s.Created.AsTime()).Round(time.Second)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.Id, userOf(s), s.Class, stateName(s.State), age, s.Viewers, s.Reason)
	}
	return table.Flush()
}

func inspectSession(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("session inspect", false)
	asJSON := c.Bool("json", false, "print JSON")
	ids, err := c.arguments(args, 1, 1, "one session's id")
	if err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := node(cfg.adminSocket()).Get(ctx, connect.NewRequest(&easelv1.GetRequest{Id: ids[0]}))
	if err != nil {
		return explain("inspect session "+ids[0], err)
	}
	if *asJSON {
		return printJSON(stdout, resp.Msg.Session)
	}
	return describe(stdout, resp.Msg.Session)
}

// describe prints a session for a person.
func describe(w io.Writer, s *easelv1.Session) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, text)
		}
	}
	row("session", "%s", s.Id)
	if s.User == "" && s.Warmth != "cold" {
		row("user", "none yet: it is warm")
	} else {
		row("user", "%s (key %s)", s.User, s.Key)
	}
	row("state", "%s", stateName(s.State))
	row("reason", "%s", s.Reason)
	for _, t := range s.Times {
		row("  "+stateName(t.State), "+%.3fs  %s", t.At.AsTime().Sub(s.Created.AsTime()).Seconds(), t.At.AsTime().Local().Format(time.RFC3339))
	}
	if s.WindowMs > 0 {
		row("GIMP's window", "after %.2fs", float64(s.WindowMs)/1000)
	}
	if s.Expires != nil {
		row("ends unless used", "%s", s.Expires.AsTime().Local().Format(time.RFC3339))
	}
	row("notice", "%s", s.Notice)
	row("viewers", "%d %s", s.Viewers, s.Path)
	row("container", "%s from %s", s.ContainerId, s.Image)
	row("processes", "streamer %d, init %d, X %d, GIMP %d", s.Pids.GetStreamer(), s.Pids.GetInit(), s.Pids.GetX(), s.Pids.GetGimp())
	row("restarts", "GIMP %d, streamer %d", s.GimpRestarts, s.StreamerRestarts)
	row("X socket", "%s", s.XSocket)
	row("X cookie", "%s", s.XCookie)
	row("cgroup", "%s", s.Cgroup)
	row("home", "%s", s.Volume)
	row("stream", "UDP port %d", s.UdpPort)
	if s.Gpu == "" {
		row("GPU", "none")
	} else {
		row("GPU", "%s (%s)", s.Gpu, s.Class)
	}
	row("encoder", "%s", s.Encoder)
	row("OpenCL", "%s", s.Opencl)
	row("encoder", "%s", s.Encoder)
	row("start", "%s", map[bool]string{true: "warm (" + s.Warmth + ")", false: "cold"}[s.Warm])
	for _, d := range s.Degraded {
		row("degraded", "%s", d)
	}
	return table.Flush()
}

// userOf is whose session it is, for a table.
func userOf(s *easelv1.Session) string {
	if s.User == "" && s.Warm {
		return "(warm: " + s.Warmth + ")"
	}
	return s.User
}

func stopSessions(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("session stop", false)
	all := c.Bool("all", false, "end every session of the node")
	reason := c.String("reason", "the operator ended it", "shown to the artist")
	wait := c.Bool("wait", true, "wait until the sessions are gone")
	ids, err := c.arguments(args, 0, 1000, "sessions' ids")
	if err != nil {
		return c.help(err, stderr)
	}
	if *all == (len(ids) > 0) {
		return wrongUse("session stop: want ids, or --all")
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	client := node(cfg.adminSocket())
	if *all {
		// Else new warm sessions would take the place of those that end.
		if _, err := client.SetPool(ctx, connect.NewRequest(&easelv1.SetPoolRequest{Hold: true})); err != nil && connect.CodeOf(err) != connect.CodeUnimplemented {
			return explain("hold the node's warm sessions", err)
		}
		resp, err := client.List(ctx, connect.NewRequest(&easelv1.ListRequest{Warm: true}))
		if err != nil {
			return explain("list the sessions", err)
		}
		for _, s := range resp.Msg.Sessions {
			ids = append(ids, s.Id)
		}
	}
	for _, id := range ids {
		if _, err := client.Stop(ctx, connect.NewRequest(&easelv1.StopRequest{Id: id, Reason: *reason})); err != nil {
			return explain("stop session "+id, err)
		}
	}
	if *wait {
		if err := awaitGone(ctx, client, *all, ids); err != nil {
			return err
		}
	}
	for _, id := range ids {
		fmt.Fprintln(stdout, id)
	}
	return nil
}

// awaitGone returns when the sessions hold nothing any more; with all, no other one either.
func awaitGone(ctx context.Context, client easelv1connect.NodeServiceClient, all bool, ids []string) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		holding, err := holding(ctx, client, all, ids)
		if err != nil || len(holding) == 0 {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("stop sessions: after %s these still hold something: %s; noded's log says why", stopTimeout, strings.Join(holding, ", "))
		}
	}
}

func holding(ctx context.Context, client easelv1connect.NodeServiceClient, all bool, ids []string) ([]string, error) {
	var left []string
	if all {
		resp, err := client.Status(ctx, connect.NewRequest(&easelv1.StatusRequest{}))
		if err != nil {
			return nil, explain("ask the node for its status", err)
		}
		if resp.Msg.Used > 0 {
			left = append(left, fmt.Sprintf("%d sessions", resp.Msg.Used))
		}
		for _, p := range resp.Msg.Pool {
			if n := p.Warm + p.Starting; n > 0 {
				left = append(left, fmt.Sprintf("%d warm sessions (%s)", n, p.Pool.GetKind()))
			}
		}
		return left, nil
	}
	for _, id := range ids {
		resp, err := client.Get(ctx, connect.NewRequest(&easelv1.GetRequest{Id: id}))
		if connect.CodeOf(err) == connect.CodeNotFound {
			continue
		}
		if err != nil {
			return nil, explain("inspect session "+id, err)
		}
		if s := resp.Msg.Session.State; s != easelv1.State_STATE_STOPPED && s != easelv1.State_STATE_FAILED {
			left = append(left, id)
		}
	}
	return left, nil
}
