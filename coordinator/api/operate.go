package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"easel/coordinator/auth"
	"easel/coordinator/events"
	easelv1 "easel/pkg/api/easel/v1"
)

// Bounds of what an operator may ask for.
const (
	defaultDrain = 30 * time.Minute
	maxDrain     = 30 * 24 * time.Hour
	maxReason    = 300 // bytes
	maxEvents    = 200 // in one answer
)

// DutyRequest is what a node is to do for new sessions, beside the duty itself.
type DutyRequest struct {
	Reason          string `json:"reason"`
	DeadlineSeconds *int64 `json:"deadline_seconds"` // of a drain: sessions end after so long; 30 minutes when left out
}

// DutyAnswer tells what was set.
type DutyAnswer struct {
	Node     string     `json:"node"`
	Duty     string     `json:"duty"`
	Deadline *time.Time `json:"deadline,omitempty"`
	Sessions int        `json:"sessions"` // that the node has now
}

// duty answers the routes that set a node's duty.
func (a *API) duty(duty easelv1.Duty) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := a.administrator(r)
		if err != nil {
			return err
		}
		var req DutyRequest
		if err := readJSON(r, &req, true); err != nil {
			return err
		}
		answer, err := a.SetDuty(r.Context(), who, r.PathValue("name"), duty, req)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, answer)
	}
}

// SetDuty tells a node what to do for new sessions, and notes who wanted it.
func (a *API) SetDuty(ctx context.Context, who auth.Who, node string, duty easelv1.Duty, req DutyRequest) (DutyAnswer, error) {
	if len(req.Reason) > maxReason {
		return DutyAnswer{}, &statusError{http.StatusUnprocessableEntity, fmt.Sprintf("the reason has at most %d bytes", maxReason)}
	}
	order := &easelv1.DrainRequest{Duty: duty, Reason: req.Reason}
	answer := DutyAnswer{Node: node, Duty: dutyName(duty)}
	if duty == easelv1.Duty_DUTY_DRAINING {
		within := defaultDrain
		if s := req.DeadlineSeconds; s != nil {
			if *s < 0 || *s > int64(maxDrain/time.Second) {
				return DutyAnswer{}, &statusError{http.StatusUnprocessableEntity, fmt.Sprintf("deadline_seconds: want 0 to %d", maxDrain/time.Second)}
			}
			within = time.Duration(*s) * time.Second
		}
		deadline := time.Now().Add(within).UTC().Truncate(time.Second)
		order.Deadline, answer.Deadline = timestamppb.New(deadline), &deadline
	} else if req.DeadlineSeconds != nil {
		return DutyAnswer{}, &statusError{http.StatusUnprocessableEntity, "deadline_seconds is for a drain"}
	}
	var err error
	if answer.Sessions, err = a.Nodes.SetDuty(ctx, node, order); err != nil {
		return DutyAnswer{}, err
	}
	a.Log.Info("a node's duty was set", "node", node, "duty", answer.Duty, "by", who.Name, "reason", req.Reason)
	a.Events.Add(events.Operator, node, fmt.Sprintf("%s by %s%s", map[easelv1.Duty]string{
		easelv1.Duty_DUTY_SERVING: "set to serve", easelv1.Duty_DUTY_CORDONED: "cordoned", easelv1.Duty_DUTY_DRAINING: "drained",
	}[duty], who.Name, because(req.Reason)), false)
	return answer, nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func (a *API) listEvents(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.administrator(r); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string][]events.Event{"events": a.RecentEvents(maxEvents)})
}

// RecentEvents is what this coordinator saw of late, the newest first.
func (a *API) RecentEvents(n int) []events.Event {
	if recent := a.Events.Recent(n); recent != nil {
		return recent
	}
	return []events.Event{}
}

// administrator is identify for what only administrators may do.
func (a *API) administrator(r *http.Request) (auth.Who, error) {
	who, err := a.identify(r)
	if err == nil && !who.Admin() {
		err = errAdminOnly
	}
	return who, err
}

type operatorKey struct{}

// operator is who commands by the daemon's own socket.
var operator = auth.Who{Account: auth.Account{Name: "the operator", Role: auth.RoleAdmin}}

// Operator answers the routes of nodes, events and everybody's sessions to whoever may open the daemon's own socket: it
// asks nobody who they are.
func (a *API) Operator() http.Handler {
	mux := http.NewServeMux()
	a.register(mux, func(r route) bool {
		return strings.HasPrefix(r.path, "/api/v1/nodes") || strings.HasPrefix(r.path, "/api/v1/events") ||
			strings.HasPrefix(r.path, "/api/v1/sessions") && r.method != http.MethodPost
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), operatorKey{}, true)))
	})
}

// identify returns who asks; every handler that needs somebody begins with it.
func (a *API) identify(r *http.Request) (auth.Who, error) {
	if r.Context().Value(operatorKey{}) != nil {
		return operator, nil
	}
	return a.Guard.Identify(r)
}
