package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/devstack"
	easelv1 "easel/pkg/api/easel/v1"
)

// Start is how long sessions took that began in one way.
type Start struct {
	Warmth  string    // cold, desktop or ready
	Reserve Quantiles // the click until the coordinator's answer
	Picture Quantiles // the click until the browser shows GIMP
}

// measureStarts measures n sessions of each kind, each by an artist who has never been here: the homes are made the same way for all. The kinds
// take turns, so that what else the machine does meets all of them.
func measureStarts(ctx context.Context, log *slog.Logger, stack *devstack.Stack, b *browser.Chromium, n int) ([]Start, error) {
	reserve, picture := map[string][]time.Duration{}, map[string][]time.Duration{}
	for i := range n {
		for _, kind := range []string{"ready", "cold", "desktop"} {
			log.Info("measuring", "what", "a start", "from", kind, "round", i+1)
			if err := keepWarm(ctx, stack, kind); err != nil {
				return nil, err
			}
			a, err := artist.SignInNew(ctx, stack, b, fmt.Sprintf("bench-%s-%d", kind, i))
			if err != nil {
				return nil, err
			}
			answered, shown, err := oneStart(ctx, stack, a, kind)
			a.Close()
			if err != nil {
				return nil, fmt.Errorf("start a session that begins %s: %w", kind, err)
			}
			reserve[kind], picture[kind] = append(reserve[kind], answered), append(picture[kind], shown)
		}
	}
	if err := keepWarm(ctx, stack, "cold"); err != nil {
		return nil, err
	}
	var all []Start
	for _, kind := range []string{"cold", "desktop", "ready"} {
		all = append(all, Start{kind, quantiles(reserve[kind]), quantiles(picture[kind])})
	}
	return all, nil
}

// keepWarm has the node keep one warm session of a kind, none when that is cold, and waits until it is so.
func keepWarm(ctx context.Context, stack *devstack.Stack, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	node := artist.Node(stack)
	req := &easelv1.SetPoolRequest{}
	if kind != "cold" {
		req.Pools = []*easelv1.Pool{{Kind: kind, Want: 1}}
	}
	if _, err := node.SetPool(ctx, connect.NewRequest(req)); err != nil {
		return err
	}
	for {
		status, err := node.Status(ctx, connect.NewRequest(&easelv1.StatusRequest{}))
		if err != nil {
			return err
		}
		there := uint32(0)
		settled := status.Msg.GetUsed() == 0
		for _, p := range status.Msg.GetPool() {
			there += p.GetWarm() + p.GetStarting()
			settled = settled && p.GetStarting() == 0 && p.GetWarm() == p.GetPool().GetWant()
		}
		if settled && int(there) == len(req.Pools) {
			return sleep(ctx, time.Second) // what began it has settled too
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("the node has no warm session of kind %s: %w", kind, err)
		}
	}
}

// oneStart is an artist who wants to paint, and ends it when GIMP is there.
func oneStart(ctx context.Context, stack *devstack.Stack, a *artist.Artist, kind string) (answered, shown time.Duration, err error) {
	begin := time.Now()
	created, err := a.Create("bench")
	if err != nil {
		return 0, 0, err
	}
	answered = time.Since(begin)
	page, err := a.View(created.ID, "scale=1&chrome=0&size=1920x1080", browser.PageOptions{Width: screenWidth, Height: screenHeight})
	if err != nil {
		return 0, 0, err
	}
	defer page.Close()
	if err := artist.AwaitPicture(page, 60*time.Second); err != nil {
		return 0, 0, err
	}
	node := artist.Node(stack)
	s, err := artist.Await(ctx, node, created.ID, 60*time.Second, easelv1.State_STATE_READY, easelv1.State_STATE_CONNECTED)
	if err != nil {
		return 0, 0, err
	}
	shown = time.Since(begin)
	if s.GetWarmth() != kind {
		return 0, 0, fmt.Errorf("it began %s", s.GetWarmth())
	}
	if err := a.End(created.ID); err != nil {
		return 0, 0, err
	}
	_, err = artist.Await(ctx, node, created.ID, 30*time.Second, easelv1.State_STATE_STOPPED)
	return answered, shown, err
}

// reportStarts prints a row for each way to begin.
func reportStarts(w io.Writer, results []*Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	any := false
	for _, r := range results {
		for _, s := range r.Warmth {
			if !any {
				fmt.Fprintln(tw, "A session begins, p50/p95 ms\tclick → answer\tclick → first picture of GIMP")
				any = true
			}
			fmt.Fprintf(tw, "%s: %s\t%s\t%s\n", r.Name, s.Warmth, s.Reserve, s.Picture)
		}
	}
	if any {
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}
