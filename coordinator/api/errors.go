package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	"easel/coordinator/auth"
	"easel/coordinator/directory"
	"easel/coordinator/placement"
	"easel/coordinator/state"
	"easel/pkg/problem"
)

// statusError is an error with its HTTP status; its text is for the client.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// BadRequest is the error of a request that is malformed; text is for the client.
func BadRequest(text string) error { return &statusError{http.StatusBadRequest, text} }

var errAdminOnly = &statusError{http.StatusForbidden, "only an administrator may do this"}

// Explain turns an error into what a client may know of it, and after how many seconds it may help to try
// again (0 when it will not). Errors that say nothing to a client are 500, to be logged.
func Explain(err error) (p problem.Problem, retryAfter int) {
	var status *statusError
	var limited *auth.RateLimited
	var none *placement.NoRoom
	p.Detail = err.Error()
	switch {
	case errors.As(err, &status):
		p.Status = status.status
	case errors.Is(err, auth.ErrAnonymous):
		p.Status, p.Detail = http.StatusUnauthorized, "sign in, or send an API token as a bearer token"
	case errors.Is(err, auth.ErrBadToken), errors.Is(err, auth.ErrWrong), errors.Is(err, auth.ErrLink):
		p.Status = http.StatusUnauthorized
	case errors.Is(err, auth.ErrCrossSite):
		p.Status, p.Detail = http.StatusForbidden, "the request does not come from the coordinator's own pages; programs use an API token instead of the cookie"
	case errors.As(err, &limited):
		p.Status, retryAfter = http.StatusTooManyRequests, limited.Seconds()
	case errors.Is(err, auth.ErrBusy):
		p.Status, p.Detail, retryAfter = http.StatusServiceUnavailable, auth.ErrBusy.Error(), 5
	case errors.Is(err, auth.ErrInvalid):
		p.Status = http.StatusUnprocessableEntity
	case errors.Is(err, auth.ErrNoAccount), errors.Is(err, auth.ErrNoToken), errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrNoNode):
		p.Status = http.StatusNotFound
	case errors.Is(err, auth.ErrExists), errors.Is(err, auth.ErrLastAdmin):
		p.Status = http.StatusConflict
	case errors.Is(err, placement.ErrInvalid):
		p.Status = http.StatusUnprocessableEntity
	case errors.As(err, &none):
		p.Status, p.Title, retryAfter = http.StatusServiceUnavailable, "No room", 10
		if len(none.Reasons) == 0 {
			retryAfter = 2 // a node that restarts is back soon
		}
	case errors.Is(err, state.ErrUnavailable):
		p.Status, retryAfter = http.StatusServiceUnavailable, 2
	case errors.Is(err, directory.ErrUnreachable), errors.Is(err, directory.ErrMoved):
		p.Status, retryAfter = http.StatusServiceUnavailable, 2
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p.Status, p.Detail, retryAfter = http.StatusGatewayTimeout, "the nodes did not answer in time; try again", 2
	default:
		return explainNode(err)
	}
	return p, retryAfter
}

// explainNode is Explain for what a node answered.
func explainNode(err error) (p problem.Problem, retryAfter int) {
	var node *connect.Error
	if !errors.As(err, &node) {
		return problem.Problem{Status: http.StatusInternalServerError, Detail: "the coordinator failed; its log says why"}, 0
	}
	p.Detail = node.Message()
	switch node.Code() {
	case connect.CodeNotFound:
		p.Status = http.StatusNotFound
	case connect.CodeInvalidArgument:
		p.Status = http.StatusUnprocessableEntity
	case connect.CodeFailedPrecondition, connect.CodeAborted, connect.CodeAlreadyExists:
		p.Status = http.StatusConflict
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted, connect.CodeCanceled:
		p.Status, p.Detail, retryAfter = http.StatusServiceUnavailable, "the session's node does not answer; try again", 2
	default:
		p.Status, p.Detail = http.StatusBadGateway, "the session's node failed; its log and the coordinator's say why"
	}
	return p, retryAfter
}

// WriteError answers with the problem document of an error.
func WriteError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	p, retryAfter := Explain(err)
	switch {
	case p.Status == http.StatusInternalServerError || p.Status == http.StatusBadGateway:
		log.Error("request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "error", err)
	case p.Status > http.StatusBadGateway && retryAfter > 0: // not the probes, which ask again and again
		log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "error", err)
	}
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="easel"`)
	}
	problem.WriteProblem(w, p)
}
