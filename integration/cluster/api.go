package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"easel/coordinator/api"
)

// requestLimit bounds one request to a member's browser address.
const requestLimit = 30 * time.Second

// http is a client at the artist's place. It keeps no connection: members die under it.
func (c *Cluster) http() *http.Client {
	return &http.Client{Timeout: requestLimit, Transport: &http.Transport{
		DialContext: c.artist.dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: c.trust.pool},
	}}
}

// refused is an answer that is no success.
type refused struct {
	status int
	text   string
}

func (r *refused) Error() string { return fmt.Sprintf("status %d: %s", r.status, r.text) }

// statusOf is the HTTP status that an error is about, 0 when nobody answered.
func statusOf(err error) int {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.status
	}
	return 0
}

// call sends a request to a coordinator as a user and decodes the answer into out, if that is not nil.
func (c *Cluster) call(ctx context.Context, k *Coordinator, user, method, path string, body, out any) error {
	token, err := c.token(ctx, user)
	if err != nil {
		return err
	}
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, k.url()+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http().Do(req)
	if err != nil {
		return fmt.Errorf("%s %s at %s: %w", method, path, k.name, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return fmt.Errorf("%s %s at %s: %w", method, path, k.name, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s at %s: %w", method, path, k.name, &refused{resp.StatusCode, strings.TrimSpace(string(answer))})
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// Create asks a coordinator for a session.
func (c *Cluster) Create(ctx context.Context, k *Coordinator, user, key string) (s api.Session, err error) {
	return s, c.call(ctx, k, user, http.MethodPost, "/api/v1/sessions", map[string]string{"key": key}, &s)
}

// Get asks a coordinator for a session; its URL opens it.
func (c *Cluster) Get(ctx context.Context, k *Coordinator, user, id string) (s api.Session, err error) {
	return s, c.call(ctx, k, user, http.MethodGet, "/api/v1/sessions/"+id, nil, &s)
}

// End asks a coordinator to end a session.
func (c *Cluster) End(ctx context.Context, k *Coordinator, user, id string) error {
	return c.call(ctx, k, user, http.MethodDelete, "/api/v1/sessions/"+id, nil, nil)
}

// View is what a coordinator says of the nodes.
func (c *Cluster) View(ctx context.Context, k *Coordinator) ([]api.Node, error) {
	var list struct {
		Nodes []api.Node `json:"nodes"`
	}
	err := c.call(ctx, k, operator, http.MethodGet, "/api/v1/nodes", nil, &list)
	return list.Nodes, err
}

// operator is an administrator's account.
const operator = "operator"

// token is a bearer token of a user, good at every coordinator; the account is made for it.
func (c *Cluster) token(ctx context.Context, user string) (string, error) {
	c.tokens.Lock()
	defer c.tokens.Unlock()
	if t, ok := c.tokenOf[user]; ok {
		return t, nil
	}
	role := "user"
	if user == operator {
		role = "admin"
	}
	var errs []error
	for _, k := range c.Coordinators {
		if k.PID() == 0 {
			continue
		}
		_, addErr := c.cli(ctx, k, "user", "add", user, "--role", role, "--no-password")
		out, err := c.cli(ctx, k, "token", "create", "--user", user)
		if err == nil {
			t := strings.TrimSpace(out)
			c.tokenOf[user] = t
			return t, nil
		}
		errs = append(errs, addErr, err)
	}
	return "", fmt.Errorf("make an account and its token: %w", errors.Join(errs...))
}

// cli runs an operator's command on a coordinator's machine.
func (c *Cluster) cli(ctx context.Context, k *Coordinator, args ...string) (string, error) {
	return run(ctx, k.at, k.Path, append(args, "--config", k.file())...)
}

// run runs a program at a place and returns what it prints.
func run(ctx context.Context, at *place, program string, args ...string) (string, error) {
	return runWith(ctx, at, "", program, args...)
}

// runWith is run with something on standard input.
func runWith(ctx context.Context, at *place, stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, 5*time.Second
	if err := at.inside(cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s at %s: %w: %s", program, strings.Join(args, " "), at.name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
