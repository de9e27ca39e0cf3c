package devstack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// AwaitNode returns when the coordinator has heard of the node and would place a session on it.
func (s *Stack) AwaitNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startDeadline, fmt.Errorf("the coordinator has not heard of the node within %s", startDeadline))
	defer cancel()
	for _, url := range []string{s.NodeURL() + "/readyz", s.CoordinatorURL() + "/readyz"} {
		if err := awaitOK(ctx, url); err != nil {
			return err
		}
	}
	return nil
}

// awaitOK asks url until it answers 200. HTTP has no event for becoming ready, so this asks again, 25 ms apart.
func awaitOK(ctx context.Context, url string) error {
	for {
		answer, err := get(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; its last answer: %w: %s", url, context.Cause(ctx), err, answer)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	return string(body), err
}
