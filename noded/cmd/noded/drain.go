package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// drain is "noded drain": no new sessions, and those that there are end at the deadline.
func drain(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("drain", false)
	deadline := c.Duration("deadline", 30*time.Minute, "sessions end after this `time`; 0s ends them at once")
	reason := c.String("reason", "", "shown to artists")
	wait := c.Bool("wait", false, "wait until the node holds no session")
	untilBoot := c.Bool("until-boot", false, "the next start of the host ends the drain")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	if *deadline < 0 {
		return wrongUse("drain --deadline %s: want a time from now, such as 30m", *deadline)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	client, end := node(cfg.adminSocket()), time.Now().Add(*deadline)
	req := &easelv1.DrainRequest{Duty: easelv1.Duty_DUTY_DRAINING, Deadline: timestamppb.New(end), Reason: *reason, UntilBoot: *untilBoot}
	sessions, err := setDuty(ctx, client, req)
	if err != nil {
		return explain("drain the node", err)
	}
	fmt.Fprintf(stdout, "The node takes no new sessions; %s end by %s.\n", count(sessions), end.Local().Format(time.TimeOnly))
	if !*wait {
		return nil
	}
	if err := awaitEmpty(ctx, client, *deadline+stopTimeout); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "The node is empty.")
	return nil
}

// cordon is "noded cordon" and, serving again, "noded uncordon".
func cordon(ctx context.Context, name string, args []string, stdout, stderr io.Writer) error {
	c := newCommand(name, false)
	var reason *string
	req := &easelv1.DrainRequest{Duty: easelv1.Duty_DUTY_SERVING}
	if name == "cordon" {
		req.Duty = easelv1.Duty_DUTY_CORDONED
		reason = c.String("reason", "", "shown to operators")
	}
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	if reason != nil {
		req.Reason = *reason
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	sessions, err := setDuty(ctx, node(cfg.adminSocket()), req)
	if err != nil {
		return explain(name+" the node", err)
	}
	if req.Duty == easelv1.Duty_DUTY_SERVING {
		fmt.Fprintln(stdout, "The node takes sessions.")
		return nil
	}
	fmt.Fprintf(stdout, "The node takes no new sessions; %s go on.\n", count(sessions))
	return nil
}

func count(sessions uint32) string {
	if sessions == 1 {
		return "its 1 session"
	}
	return fmt.Sprintf("its %d sessions", sessions)
}

func setDuty(ctx context.Context, client easelv1connect.NodeServiceClient, req *easelv1.DrainRequest) (sessions uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := client.Drain(ctx, connect.NewRequest(req))
	if err != nil {
		return 0, err
	}
	return resp.Msg.Sessions, nil
}

// awaitEmpty returns when the node holds nothing of any session, or when somebody ended the drain.
func awaitEmpty(ctx context.Context, client easelv1connect.NodeServiceClient, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		resp, err := client.Status(ctx, connect.NewRequest(&easelv1.StatusRequest{}))
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("drain the node: after %s it still holds sessions; noded's log says why", patience)
		case err != nil:
			return explain("ask the node for its status", err)
		case resp.Msg.Duty != easelv1.Duty_DUTY_DRAINING:
			return fmt.Errorf("drain the node: somebody ended the drain; it holds %d sessions", resp.Msg.Used)
		case resp.Msg.Used == 0:
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}
