package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"connectrpc.com/connect"
	"go.etcd.io/bbolt"

	"easel/noded/gpu"
	"easel/noded/gpu/partition"
	"easel/noded/session"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/failpoint"
)

// holders is the node's sessions, as the keeper of the cards' layout sees them.
type holders struct{ *session.Manager }

// Held is who holds what.
func (h holders) Held() ([]partition.Held, error) {
	held, err := h.Holdings()
	if err != nil {
		return nil, err
	}
	all := make([]partition.Held, len(held))
	for i, one := range held {
		all[i] = partition.Held(one)
	}
	return all, nil
}

// Holders is the same by the slices' IDs.
func (h holders) Holders() map[string]gpu.Holder {
	held, _ := h.Holdings() // a status without it is better than none
	all := map[string]gpu.Holder{}
	for _, one := range held {
		all[one.Slice.ID] = gpu.Holder{Session: one.Session, User: one.User}
	}
	return all
}

// recoverPatience bounds what is ended of an interrupted division before the daemon serves.
const recoverPatience = time.Minute

// newLayout opens the layout of the cards, and ends what an earlier daemon left half done. What cannot be ended keeps its card closed, not
// the daemon from serving.
func newLayout(ctx context.Context, log *slog.Logger, db *bbolt.DB, cards *gpu.Host, points *failpoint.Set) (*partition.Keeper, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	keeper, err := partition.New(partition.Options{DB: db, Cards: cards, Boot: boot, Points: points, Log: log})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, recoverPatience)
	defer cancel()
	if err := keeper.Recover(ctx); err != nil {
		log.Error("an interrupted division of the cards did not end as it was meant to", "error", err)
	}
	return keeper, nil
}

// compareLayout says in the log when the layout file asks for something else than is in force: nothing is changed that nobody asked
// for, but it is not passed over either.
func compareLayout(ctx context.Context, path string, keeper *partition.Keeper, sessions partition.Sessions, log *slog.Logger) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var p partition.Plan
	if err == nil {
		var spec partition.Spec
		if spec, err = partition.Parse(text, path); err == nil {
			p, err = keeper.Plan(ctx, spec, sessions)
		}
	}
	switch {
	case err != nil:
		log.Warn("the layout of the cards is not compared with its file", "file", path, "error", err)
	case p.Refusal() != "":
		log.Warn("the layout file cannot be applied", "file", path, "why", p.Refusal())
	case p.Changes():
		log.Warn("the layout file says otherwise than what is in force; \"noded gpu plan\" shows what applying it would change", "file", path)
	}
}

// layoutName stands for the file in what the daemon says of it: it has the text alone.
const layoutName = "the layout file"

// GPUPlan says what applying a file would change.
func (s *gpuService) GPUPlan(ctx context.Context, req *connect.Request[easelv1.GPUPlanRequest]) (*connect.Response[easelv1.GPUPlanResponse], error) {
	spec, err := partition.Parse([]byte(req.Msg.File), layoutName)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	p, err := s.keeper.Plan(ctx, spec, s.sessions)
	if err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write the plan: %w", err)
	}
	return connect.NewResponse(&easelv1.GPUPlanResponse{Json: text}), nil
}

// GPUApply applies a file, and tells of it as long as the caller listens.
func (s *gpuService) GPUApply(ctx context.Context, req *connect.Request[easelv1.GPUApplyRequest], out *connect.ServerStream[easelv1.GPUApplyResponse]) error {
	spec, err := partition.Parse([]byte(req.Msg.File), layoutName)
	if err != nil {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	if most := int64(partition.MaxDrain / time.Second); req.Msg.DrainSeconds < 0 || req.Msg.DrainSeconds > most {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("drain_seconds: %d: want 0 to %d", req.Msg.DrainSeconds, most))
	}
	job, err := s.keeper.Apply(spec, time.Duration(req.Msg.DrainSeconds)*time.Second, s.sessions)
	if err != nil {
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return job.Follow(ctx, func(e partition.Event) error {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write an event: %w", err)
		}
		return out.Send(&easelv1.GPUApplyResponse{Json: text})
	})
}

// layoutText reads the file that a command names, or else that of the configuration, and finds its faults before the daemon is asked.
func layoutText(cfg Config, args []string) (string, error) {
	path := cfg.GPU.Layout
	if len(args) > 0 {
		path = args[0]
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the layout of the cards: %w", err)
	}
	if _, err := partition.Parse(text, path); err != nil {
		return "", err
	}
	return string(text), nil
}

// gpuPlan is "noded gpu plan": what applying a file would change.
func gpuPlan(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("gpu plan", false)
	asJSON := c.Bool("json", false, "print JSON")
	rest, err := c.arguments(args, 0, 1, "one file at most")
	if err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	file, err := layoutText(cfg, rest)
	if err != nil {
		return err
	}
	return showPlan(ctx, cfg, file, *asJSON, stdout)
}

// planTimeout is longer than that of other questions: cards are asked.
const planTimeout = time.Minute

func showPlan(ctx context.Context, cfg Config, file string, asJSON bool, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	resp, err := gpuClient(cfg.adminSocket()).GPUPlan(ctx, connect.NewRequest(&easelv1.GPUPlanRequest{File: file}))
	if err != nil {
		return explain("plan the layout of the cards", err)
	}
	var p partition.Plan
	if err := json.Unmarshal(resp.Msg.Json, &p); err != nil {
		return fmt.Errorf("read the node's plan: %w; is the daemon of this version?", err)
	}
	if asJSON {
		err = indented(stdout, p)
	} else {
		err = p.Write(stdout)
	}
	if why := p.Refusal(); err == nil && why != "" {
		err = fmt.Errorf("this layout cannot be applied: %s", why)
	}
	return err
}

// gpuApply is "noded gpu apply": it has the daemon divide the cards, and tells of it.
func gpuApply(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("gpu apply", false)
	drain := c.Duration("drain", 5*time.Minute, "sessions in the way end after this `time`; 0s ends them at once")
	dry := c.Bool("dry-run", false, "only show what would change, as \"noded gpu plan\" does")
	asJSON := c.Bool("json", false, "print JSON, a line for each event")
	rest, err := c.arguments(args, 0, 1, "one file at most")
	if err != nil {
		return c.help(err, stderr)
	}
	if *drain < 0 || *drain > partition.MaxDrain || *drain%time.Second != 0 {
		return wrongUse("gpu apply --drain %s: want whole seconds, up to %s", *drain, partition.MaxDrain)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	file, err := layoutText(cfg, rest)
	if err != nil {
		return err
	}
	if *dry {
		return showPlan(ctx, cfg, file, *asJSON, stdout)
	}
	req := &easelv1.GPUApplyRequest{File: file, DrainSeconds: int64(*drain / time.Second)}
	stream, err := gpuClient(cfg.adminSocket()).GPUApply(ctx, connect.NewRequest(req))
	if err != nil {
		return explain("divide the cards", err)
	}
	defer stream.Close()
	return followApply(ctx, stream, *asJSON, stdout)
}

// followApply prints what happens. Who stops it stops the telling alone.
func followApply(ctx context.Context, stream *connect.ServerStreamForClient[easelv1.GPUApplyResponse], asJSON bool, stdout io.Writer) error {
	for stream.Receive() {
		text := stream.Msg().Json
		var e partition.Event
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("read what the node tells: %w; is the daemon of this version?", err)
		}
		var err error
		if asJSON {
			_, err = fmt.Fprintf(stdout, "%s\n", text)
		} else {
			err = e.Write(stdout)
		}
		switch {
		case err != nil:
			return err
		case e.Error != "":
			return fmt.Errorf("divide the cards: %s", e.Error)
		case e.Done:
			return nil
		}
	}
	if ctx.Err() != nil {
		return errors.New("divide the cards: it goes on without this command; \"noded gpu status\" shows how far it is")
	}
	if err := stream.Err(); err != nil {
		return explain("divide the cards", err)
	}
	return errors.New("divide the cards: the daemon ended before it was done; its next start finishes or undoes it, and \"noded gpu status\" shows which")
}
