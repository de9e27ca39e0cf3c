package authority

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/identity"
)

const (
	maxRequest = 16 << 10         // bytes
	longPoll   = 25 * time.Second // of WatchTrust
	// maxStrangers is how many requests of who shows no certificate are looked at at once; the others wait.
	maxStrangers = 16
)

// service answers members, and those who want to be.
type service struct {
	authority *Authority
	self      *identity.Member
	log       *slog.Logger
}

// Handle puts ClusterService on a server that uses self's JoinTLS. Its handlers wait with their requests' contexts, which must
// end with the server.
func (a *Authority) Handle(mux *http.ServeMux, self *identity.Member, log *slog.Logger) {
	path, handler := easelv1connect.NewClusterServiceHandler(&service{a, self, log}, connect.WithReadMaxBytes(maxRequest))
	members, strangers := self.Only("", handler), fewAtOnce(handler)
	mux.Handle(path, members)
	// What one may ask who shows no certificate, because it has none yet, or none that counts.
	mux.Handle(easelv1connect.ClusterServiceJoinProcedure, strangers)
	mux.Handle(easelv1connect.ClusterServiceRenewProcedure, knownOrNot(members, strangers))
}

// Join implements ClusterService.
func (s *service) Join(ctx context.Context, req *connect.Request[easelv1.JoinRequest]) (*connect.Response[easelv1.JoinResponse], error) {
	q := req.Msg
	cert, err := s.authority.Join(ctx, q.GetToken(), q.GetRole(), q.GetName(), q.GetCsr())
	if err != nil {
		s.log.Warn("a join was refused", "from", req.Peer().Addr, "error", err)
		return nil, connectError(err)
	}
	trust, err := s.authority.Trust()
	if err != nil {
		return nil, connectError(err)
	}
	s.log.Info("a member joined", "role", q.GetRole(), "name", q.GetName(), "from", req.Peer().Addr)
	return connect.NewResponse(&easelv1.JoinResponse{Certificate: cert, Trust: trust}), nil
}

// Renew implements ClusterService.
func (s *service) Renew(ctx context.Context, req *connect.Request[easelv1.RenewRequest]) (*connect.Response[easelv1.RenewResponse], error) {
	peer, ok := identity.PeerFrom(ctx)
	var cert []byte
	var err error
	if ok {
		cert, err = s.authority.Renew(ctx, peer.Role, peer.Name, req.Msg.GetCsr())
	} else {
		peer, cert, err = s.renewExpired(ctx, req.Msg)
	}
	if err != nil {
		s.log.Warn("a certificate was not renewed", "role", peer.Role, "name", peer.Name, "error", err)
		return nil, connectError(err)
	}
	return connect.NewResponse(&easelv1.RenewResponse{Certificate: cert}), nil
}

// renewExpired renews for a member that shows no certificate, but has the key of its last one.
func (s *service) renewExpired(ctx context.Context, req *easelv1.RenewRequest) (identity.Peer, []byte, error) {
	peer, key, err := s.self.Proof(req)
	if err != nil {
		return peer, nil, err
	}
	cert, err := s.authority.renewBy(ctx, peer.Role, peer.Name, key, req.GetCsr())
	return peer, cert, err
}

// fewAtOnce keeps who need not prove anything from taking the coordinators' whole attention.
func fewAtOnce(next http.Handler) http.Handler {
	turns := make(chan struct{}, maxStrangers)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			http.Error(w, "too many hosts ask to join at once; try again", http.StatusServiceUnavailable)
		}
	})
}

// knownOrNot asks members by one handler, and who shows no certificate by another.
func knownOrNot(member, stranger http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) == 0 {
			stranger.ServeHTTP(w, r)
			return
		}
		member.ServeHTTP(w, r)
	})
}

// WatchTrust implements ClusterService. It tells what this coordinator itself has applied, which costs the state no question.
func (s *service) WatchTrust(ctx context.Context, req *connect.Request[easelv1.WatchTrustRequest]) (*connect.Response[easelv1.WatchTrustResponse], error) {
	over := time.NewTimer(longPoll)
	defer over.Stop()
	for {
		changed := s.self.Changed()
		if trust := s.self.Trust(); trust.GetVersion() > req.Msg.GetHave() {
			return connect.NewResponse(&easelv1.WatchTrustResponse{Trust: trust}), nil
		}
		select {
		case <-changed:
		case <-over.C:
			return connect.NewResponse(&easelv1.WatchTrustResponse{Trust: s.self.Trust()}), nil
		case <-ctx.Done():
			return nil, connect.NewError(connect.CodeUnavailable, context.Cause(ctx))
		}
	}
}

// connectError gives an error the code that tells a member whether to ask again.
func connectError(err error) error {
	switch {
	case errors.Is(err, ErrInvalid):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case errors.Is(err, ErrTaken):
		return connect.NewError(connect.CodeAlreadyExists, err)
	case errors.Is(err, ErrToken), errors.Is(err, ErrExpired), errors.Is(err, ErrUsed), errors.Is(err, ErrOtherUse),
		errors.Is(err, identity.ErrRemoved), errors.Is(err, identity.ErrNoCertificate), errors.Is(err, identity.ErrProof), errors.Is(err, identity.ErrForeign):
		return connect.NewError(connect.CodePermissionDenied, err)
	}
	return connect.NewError(connect.CodeUnavailable, err)
}
