package authority

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"easel/pkg/cluster"
	"easel/pkg/identity"
)

const (
	lookEvery     = time.Second           // at least, at how far a rotation is
	lookPause     = 25 * time.Millisecond // between two looks
	sweepEvery    = time.Hour
	registerRetry = 2 * time.Second
	selfIssue     = identity.CertificateLife / 6 // left of a coordinator's certificate when it stops waiting for the others
	updateTimeout = 10 * time.Second
)

// Gossip is what the gossip tells of the members.
type Gossip interface {
	Members() []cluster.Member
	Changed() <-chan struct{}
}

// Run does what the coordinator called self owes the cluster, until ctx ends: it gives its own member the trust of the state,
// renews its certificate, and, on the leading coordinator, rotates gossip keys and forgets what is old.
func (a *Authority) Run(ctx context.Context, self *identity.Member, gossip Gossip, log *slog.Logger) error {
	var parts errgroup.Group
	parts.Go(func() error { a.follow(ctx, self, log); return nil })
	parts.Go(func() error { a.lead(ctx, gossip, log); return nil })
	parts.Go(func() error {
		self.KeepRenewed(ctx, log, func(ctx context.Context, csr []byte) ([]byte, error) { return a.renewOwn(ctx, self, csr) })
		return nil
	})
	return parts.Wait()
}

// renewOwn certifies the coordinator's own key. Coordinators that were all off for longer than certificates live could not agree on
// anything before their certificates count, so one whose own is about to end certifies itself, which it has the key for.
func (a *Authority) renewOwn(ctx context.Context, self *identity.Member, csr []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	cert, err := a.Renew(ctx, self.Role(), self.Name(), csr)
	if err == nil || errors.Is(err, identity.ErrRemoved) || time.Until(self.Expires()) > selfIssue {
		return cert, err
	}
	ca, caErr := a.ca()
	if caErr != nil {
		return nil, errors.Join(err, caErr)
	}
	return ca.Issue(csr, self.Role(), self.Name(), a.now())
}

// follow gives the coordinator's own member every new trust.
func (a *Authority) follow(ctx context.Context, self *identity.Member, log *slog.Logger) {
	for ctx.Err() == nil {
		changed := a.store.Changed()
		if err := a.Tell(self); err != nil {
			log.Error("this coordinator cannot apply the cluster's trust", "error", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Tell gives a member the trust of the state, if it is newer than its own.
func (a *Authority) Tell(self *identity.Member) error {
	version, err := a.version()
	if err != nil || version <= self.Trust().GetVersion() {
		return err
	}
	trust, err := a.Trust()
	if err != nil {
		return err
	}
	return self.SetTrust(trust)
}

// lead does what one coordinator does for all.
func (a *Authority) lead(ctx context.Context, gossip Gossip, log *slog.Logger) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	swept := time.Time{}
	for {
		news := a.store.Changed()
		var members <-chan struct{} // of interest during a rotation alone
		if a.store.Leader() {
			if a.rotating() {
				members = gossip.Changed()
			}
			a.leadOnce(ctx, gossip, log)
			if a.now().Sub(swept) > sweepEvery {
				swept = a.now()
				a.once(ctx, log, "old tokens and removals stay in the state", a.Sweep)
			}
		}
		select {
		case <-news:
		case <-members:
		case <-look.C:
		case <-ctx.Done():
			return
		}
		select { // however much is going on
		case <-time.After(lookPause):
		case <-ctx.Done():
			return
		}
	}
}

func (a *Authority) leadOnce(ctx context.Context, gossip Gossip, log *slog.Logger) {
	a.once(ctx, log, "the gossip key is not rotated yet", func(ctx context.Context) error {
		moved, err := a.advance(ctx, gossip.Members)
		if moved {
			log.Info("the rotation of the gossip key went a step on")
		}
		return err
	})
}

func (a *Authority) once(ctx context.Context, log *slog.Logger, failed string, do func(context.Context) error) {
	bounded, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	if err := do(bounded); err != nil && ctx.Err() == nil {
		log.Warn(failed, "error", err)
	}
}

// KeepRegistered registers a coordinator, again and again until that succeeds, because the others may not be there yet. It fails
// when the coordinator was removed.
func (a *Authority) KeepRegistered(ctx context.Context, name, url string, tokenKey []byte, log *slog.Logger) error {
	for {
		bounded, cancel := context.WithTimeout(ctx, updateTimeout)
		err := a.Register(bounded, name, url, tokenKey)
		cancel()
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, identity.ErrRemoved) {
			return err
		}
		log.Warn("nodes may refuse this coordinator's sign-ins until it is registered", "error", err)
		select {
		case <-time.After(registerRetry):
		case <-ctx.Done():
			return nil
		}
	}
}
