package identity

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

const (
	watchTimeout = 45 * time.Second // a coordinator answers within 30
	watchPause   = time.Second      // between two answers without news
	renewTimeout = 20 * time.Second
	retryFirst   = 250 * time.Millisecond
	retryMost    = 10 * time.Second
	renewRetry   = time.Minute
	// provable is when a member begins to renew by its key alone, too: for coordinators whose clock is ahead, before its end.
	provable = time.Hour
)

var errNoCoordinator = errors.New("the cluster's trust names no coordinator's address")

// Follow keeps the member's trust and certificate as its coordinators have them, until ctx ends. heard tells where coordinators are
// said to be beside the addresses in the trust, for the case that all of those have moved; whoever is there has to prove what it
// is. It may be nil.
func (m *Member) Follow(ctx context.Context, log *slog.Logger, heard func() []string) {
	if heard == nil {
		heard = func() []string { return nil }
	}
	var parts sync.WaitGroup
	parts.Go(func() { m.watch(ctx, log, heard) })
	parts.Go(func() {
		m.KeepRenewed(ctx, log, func(ctx context.Context, csr []byte) ([]byte, error) { return m.askRenewal(ctx, csr, heard) })
	})
	parts.Wait()
}

// coordinators are the addresses to ask: those of the trust, then those that were only heard of.
func (m *Member) coordinators(heard func() []string) []string {
	all := slices.Clone(m.Trust().GetCoordinators())
	for _, address := range heard() {
		if CheckAddress(address) == nil && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// watch asks the coordinators in turn, one question each: one that is cut off from the others would keep its member in the dark
// no longer than that.
func (m *Member) watch(ctx context.Context, log *slog.Logger, heard func() []string) {
	client := m.HTTP(RoleCoordinator, "")
	defer client.CloseIdleConnections()
	backoff, quiet := retryFirst, false
	for turn := rand.IntN(MaxAddresses); ctx.Err() == nil; turn++ {
		have, asked := m.Trust(), time.Now()
		err := errNoCoordinator
		if all := m.coordinators(heard); len(all) > 0 {
			c := easelv1connect.NewClusterServiceClient(client, all[turn%len(all)], connect.WithReadMaxBytes(maxMessage))
			var answer *connect.Response[easelv1.WatchTrustResponse]
			if answer, err = withTimeout(ctx, watchTimeout, c.WatchTrust, &easelv1.WatchTrustRequest{Have: have.GetVersion()}); err == nil {
				err = m.SetTrust(answer.Msg.GetTrust())
			}
		}
		if err == nil {
			if quiet {
				log.Info("a coordinator answers this member again")
			}
			backoff, quiet = retryFirst, false
			if m.Trust() == have { // one that answers without news must not be asked without end
				wait(ctx, watchPause-time.Since(asked))
			}
			continue
		}
		if ctx.Err() == nil && backoff >= retryMost/4 && !quiet {
			quiet = true
			log.Warn("no coordinator tells this member of the cluster's trust; trying again. If it was removed, it has to join again", "error", err)
		}
		wait(ctx, backoff/2+rand.N(backoff))
		backoff = min(2*backoff, retryMost)
	}
}

// askRenewal has a coordinator certify the key of a request for this member; see Renew.
func (m *Member) askRenewal(ctx context.Context, csr []byte, heard func() []string) ([]byte, error) {
	cert, err := m.renewAt(ctx, m.HTTP(RoleCoordinator, ""), &easelv1.RenewRequest{Csr: csr}, heard)
	if err == nil || time.Until(m.Expires()) > provable {
		return cert, err
	}
	req, proofErr := m.prove(csr)
	if proofErr != nil {
		return nil, errors.Join(err, proofErr)
	}
	return m.renewAt(ctx, m.withoutCertificate(), req, heard)
}

func (m *Member) renewAt(ctx context.Context, client *http.Client, req *easelv1.RenewRequest, heard func() []string) ([]byte, error) {
	defer client.CloseIdleConnections()
	err := errNoCoordinator
	for _, address := range m.coordinators(heard) {
		c := easelv1connect.NewClusterServiceClient(client, address, connect.WithReadMaxBytes(maxMessage))
		answer, askErr := withTimeout(ctx, renewTimeout, c.Renew, req)
		if askErr == nil {
			return answer.Msg.GetCertificate(), nil
		}
		err = askErr
	}
	return nil, err
}

// KeepRenewed renews the certificate whenever two thirds of its life are over, until ctx ends; issue is as for Renew.
func (m *Member) KeepRenewed(ctx context.Context, log *slog.Logger, issue func(ctx context.Context, csr []byte) ([]byte, error)) {
	for {
		if !wait(ctx, time.Until(m.RenewAt())) {
			return
		}
		err := m.Renew(ctx, issue)
		switch {
		case err == nil:
			log.Info("this member's certificate is renewed", "expires", m.Expires())
			continue
		case ctx.Err() != nil:
			return
		case time.Now().After(m.Expires()):
			log.Error("this member's certificate has expired; trying again to renew it. If it was removed, it has to join again", "error", err)
		default:
			log.Warn("this member's certificate is not renewed yet; trying again", "expires", m.Expires(), "error", err)
		}
		if !wait(ctx, renewRetry/2+rand.N(renewRetry)) {
			return
		}
	}
}

// wait returns false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func withTimeout[Q, A any](ctx context.Context, d time.Duration, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) (*connect.Response[A], error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return call(ctx, connect.NewRequest(q))
}
