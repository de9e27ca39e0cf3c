// Package admin is the operator's commands on a coordinator's accounts and on the cluster's members. They reach the running daemon
// through its unix socket, or work on the database themselves when no daemon has it open.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"easel/coordinator/auth"
	"easel/coordinator/authority"
	"easel/coordinator/state"
	"easel/coordinator/warmth"
	"easel/pkg/identity"
	"easel/pkg/problem"
	"easel/pkg/safesocket"
)

// Operations of a Request.
const (
	AddAccount    = "account.add"
	SetPassword   = "account.password"
	RemoveAccount = "account.remove"
	ListAccounts  = "account.list"
	CreateToken   = "token.create"
	ListTokens    = "token.list"
	RevokeToken   = "token.revoke"
	CreateLink    = "link.create"
	CreateJoin    = "join.create"
	ListMembers   = "member.list"
	RemoveMember  = "member.remove"
	RotateGossip  = "gossip.rotate"
	ListPools     = "pool.list"
	SetPool       = "pool.set"
	ClearPool     = "pool.clear"
)

// lockPatience is how long a command waits for another one to let go of the database.
const lockPatience = 2 * time.Second

// maxMessage bounds a request and an answer, in bytes.
const maxMessage = 1 << 20

// Request is one command.
type Request struct {
	Op       string         `json:"op"`
	User     string         `json:"user,omitempty"`
	Role     string         `json:"role,omitempty"` // of an account or a member
	Password string         `json:"password,omitempty"`
	Name     string         `json:"name,omitempty"` // of a token or a member
	ID       string         `json:"id,omitempty"`   // of a token
	Life     time.Duration  `json:"life,omitempty"` // of a join token
	Pool     *warmth.Policy `json:"pool,omitempty"`
}

// LogValue keeps the password out of logs.
func (r Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("op", r.Op), slog.String("user", r.User), slog.String("role", r.Role), slog.String("name", r.Name))
}

// Answer is what a command gave; which fields depends on the operation.
type Answer struct {
	User     string             `json:"user,omitempty"`
	Accounts []auth.Account     `json:"accounts,omitempty"`
	Tokens   []auth.Token       `json:"tokens,omitempty"`
	Members  []authority.Member `json:"members,omitempty"`
	Pools    []warmth.Standing  `json:"pools,omitempty"`
	// Coordinators are those that share the state.
	Coordinators []state.Member `json:"coordinators,omitempty"`
	Secret       string         `json:"secret,omitempty"` // an API token, a join token, or the code of a one-time link
	ID           string         `json:"id,omitempty"`
	Ended        int            `json:"ended,omitempty"` // sessions that were ended with their account
}

// Sessions ends what removed users have running.
type Sessions interface {
	EndAll(ctx context.Context, user string) (int, error)
}

// Parts is what commands work on.
type Parts struct {
	Accounts *auth.Store
	Cluster  *authority.Authority
	Warmth   *warmth.Book
	State    *state.Store
	Sessions Sessions // nil when no daemon runs: then a removed user's sessions live until they expire
}

// Do carries out a command.
func (p Parts) Do(ctx context.Context, req Request) (Answer, error) {
	store := p.Accounts
	switch req.Op {
	case AddAccount:
		_, err := store.AddAccount(ctx, req.User, req.Role, req.Password)
		return Answer{User: req.User}, err
	case SetPassword:
		if req.Password == "" {
			return Answer{}, fmt.Errorf("set the password of %q: %w: it is empty", req.User, auth.ErrInvalid)
		}
		return Answer{User: req.User}, store.SetPassword(ctx, req.User, req.Password, "")
	case RemoveAccount:
		return remove(ctx, store, p.Sessions, req.User)
	case ListAccounts:
		all, err := store.Accounts(ctx)
		return Answer{Accounts: all}, err
	case CreateToken:
		secret, token, err := store.NewToken(ctx, req.User, req.Name)
		return Answer{User: req.User, Secret: secret, ID: token.ID}, err
	case ListTokens:
		all, err := store.Tokens(ctx, req.User)
		return Answer{Tokens: all}, err
	case RevokeToken:
		return Answer{ID: req.ID}, store.RevokeToken(ctx, req.ID)
	case CreateLink:
		return link(ctx, store, req.User)
	case CreateJoin:
		text, err := p.Cluster.NewToken(ctx, req.Role, req.Name, req.Life)
		return Answer{Secret: text}, err
	case ListMembers:
		p.catchUp(ctx)
		all, err := p.Cluster.Members()
		return Answer{Members: all, Coordinators: p.State.Members()}, err
	case RemoveMember:
		return Answer{}, p.removeMember(ctx, req)
	case RotateGossip:
		return Answer{}, p.Cluster.Rotate(ctx)
	case ListPools, SetPool, ClearPool:
		return p.pools(ctx, req)
	}
	return Answer{}, fmt.Errorf("operation %q: %w: this coordinator does not know it; are daemon and command of one version?", req.Op, auth.ErrInvalid)
}

// pools changes the policies of warm sessions as the command says, and returns all of them.
func (p Parts) pools(ctx context.Context, req Request) (Answer, error) {
	if req.Pool == nil && req.Op != ListPools {
		return Answer{}, fmt.Errorf("operation %q: %w: it names no policy", req.Op, warmth.ErrInvalid)
	}
	switch req.Op {
	case SetPool:
		if err := p.Warmth.SetPolicy(ctx, *req.Pool); err != nil {
			return Answer{}, err
		}
	case ClearPool:
		was, err := p.Warmth.ClearPolicy(ctx, req.Pool.Image, req.Pool.Class)
		if err != nil {
			return Answer{}, err
		}
		if !was {
			return Answer{}, errors.New("there is no policy for that image and class; \"coordinator pool list\" shows what there is")
		}
	}
	all, err := p.Warmth.Standings(time.Now())
	return Answer{Pools: all}, err
}

// catchUp has what is listed be as of now, if the coordinators can agree; else it is as this one knows it.
func (p Parts) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_ = p.State.Barrier(ctx)
}

// removeMember takes a coordinator out of the state too. Repeated, it ends what failed half-way.
func (p Parts) removeMember(ctx context.Context, req Request) error {
	err := p.Cluster.Remove(ctx, req.Role, req.Name)
	if req.Role != identity.RoleCoordinator || (err != nil && !errors.Is(err, authority.ErrNoMember)) {
		return err
	}
	if left := p.State.Remove(ctx, req.Name); left != nil {
		return fmt.Errorf("coordinator %q is removed from the cluster, but counts among those that share the state: %w; repeat the command", req.Name, left)
	}
	return err
}

func link(ctx context.Context, store *auth.Store, user string) (Answer, error) {
	if user != "" {
		code, err := store.NewLink(ctx, user)
		return Answer{User: user, Secret: code}, err
	}
	code, account, err := store.FirstLink(ctx)
	return Answer{User: account.Name, Secret: code}, err
}

func remove(ctx context.Context, store *auth.Store, sessions Sessions, user string) (Answer, error) {
	if err := store.RemoveAccount(ctx, user); err != nil || sessions == nil {
		return Answer{User: user}, err
	}
	ended, err := sessions.EndAll(ctx, user)
	if err != nil {
		return Answer{}, fmt.Errorf("account %q is removed, but not all its sessions could be ended: %w", user, err)
	}
	return Answer{User: user, Ended: ended}, nil
}

// Handler serves commands. Whoever can connect may do everything: put it on a socket that only root, or
// the daemon's own user, can open.
func Handler(parts Parts, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /do", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
		defer cancel()
		var req Request
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			problem.Write(w, http.StatusBadRequest, "", "the command cannot be read: "+err.Error())
			return
		}
		answer, err := parts.Do(ctx, req)
		log.Info("operator's command", "command", req, "failed", err != nil)
		if err != nil {
			problem.Write(w, http.StatusUnprocessableEntity, "Command failed", err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the command may be gone: nothing is left to tell it
	})
	return mux
}

// Listen makes the socket, mode 0600, in place of one that a dead daemon left.
func Listen(path string) (*net.UnixListener, error) {
	l, err := safesocket.Listen("unix", path, 0o600, os.Getuid(), os.Getgid())
	if err != nil {
		return nil, fmt.Errorf("listen for operators' commands: %w", err)
	}
	return l, nil
}

// ErrNotRunning means that no daemon answers on the socket.
var ErrNotRunning = errors.New("the coordinator does not run")

// Ask sends a command to the daemon at the socket. It returns ErrNotRunning when there is none.
func Ask(ctx context.Context, socket string, req Request) (Answer, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return Answer{}, fmt.Errorf("reach the coordinator: %w; run this as root or as the coordinator's user", err)
		}
		return Answer{}, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	body, err := json.Marshal(req)
	if err != nil {
		return Answer{}, errors.Join(err, conn.Close())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://coordinator/do", bytes.NewReader(body))
	if err != nil {
		return Answer{}, errors.Join(err, conn.Close())
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return Answer{}, fmt.Errorf("ask the coordinator at %s: %w", socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Answer{}, errors.New(problem.Read(resp).Detail)
	}
	var answer Answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxMessage)).Decode(&answer); err != nil {
		return Answer{}, fmt.Errorf("read the coordinator's answer: %w", err)
	}
	return answer, nil
}

// Run carries a command out by the daemon at socket, or without one on the database itself.
func Run(ctx context.Context, socket, database string, req Request) (Answer, error) {
	answer, err := Ask(ctx, socket, req)
	if !errors.Is(err, ErrNotRunning) {
		return answer, err
	}
	db, err := state.Open(database, lockPatience)
	if errors.Is(err, state.ErrLocked) {
		return Answer{}, fmt.Errorf("%w, yet nothing answers on %s; wait for the coordinator to start, or restart it", err, socket)
	}
	if err != nil {
		return Answer{}, err
	}
	store, err := auth.New(db, auth.Options{})
	if err == nil {
		answer, err = Parts{Accounts: store, Cluster: authority.New(db), Warmth: warmth.NewBook(db), State: db}.Do(ctx, req)
	}
	return answer, errors.Join(err, db.Close())
}
