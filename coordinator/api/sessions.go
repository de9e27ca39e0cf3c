package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"easel/coordinator/auth"
	"easel/coordinator/directory"
	"easel/coordinator/events"
	"easel/coordinator/placement"
	"easel/coordinator/warmth"
	easelv1 "easel/pkg/api/easel/v1"
)

// DefaultKey names the session that one gets without naming any: asking twice gives the same.
const DefaultKey = "default"

// Session is a session as the API tells of it. Host paths and process IDs of the node stay out.
type Session struct {
	ID               string      `json:"id"`
	User             string      `json:"user"`
	Key              string      `json:"key"`
	State            string      `json:"state"`
	Reason           string      `json:"reason,omitempty"`
	Node             string      `json:"node"`
	Image            string      `json:"image,omitempty"`
	Class            string      `json:"class,omitempty"`
	GPU              string      `json:"gpu,omitempty"`     // the slice that it holds
	OpenCL           string      `json:"opencl,omitempty"`  // "on", "off", or why it is off
	Encoder          string      `json:"encoder,omitempty"` // that makes the picture now
	Created          time.Time   `json:"created"`
	Times            []StateTime `json:"times"`
	WindowMS         int64       `json:"window_ms,omitempty"`
	Warm             bool        `json:"warm"`
	Warmth           string      `json:"warmth,omitempty"` // what it began from: cold, desktop or ready
	Viewers          uint32      `json:"viewers"`
	Path             string      `json:"path,omitempty"`
	Expires          *time.Time  `json:"expires,omitempty"`
	Notice           string      `json:"notice,omitempty"` // what its artist is told now
	NoticeUntil      *time.Time  `json:"notice_until,omitempty"`
	Degraded         []string    `json:"degraded"`
	GIMPRestarts     uint32      `json:"gimp_restarts"`
	StreamerRestarts uint32      `json:"streamer_restarts"`
	URL              string      `json:"url,omitempty"` // opens it once, within a minute; only for its user
}

// StateTime is when a session first entered a state.
type StateTime struct {
	State string    `json:"state"`
	At    time.Time `json:"at"`
}

// Live tells whether a session is neither ended nor about to.
func (s Session) Live() bool {
	return s.State != "lost" && s.State != "stopping" && s.State != "stopped" && s.State != "failed"
}

// Describe turns a node's word on a session into the API's.
func Describe(s directory.Session) Session {
	out := Session{
		ID: s.GetId(), User: s.GetUser(), Key: s.GetKey(), State: stateName(s.GetState()), Reason: s.GetReason(),
		Node: s.Node.Name, Image: s.GetImage(), Class: s.GetClass(), Created: s.GetCreated().AsTime(),
		GPU: s.GetGpu(), OpenCL: s.GetOpencl(), Encoder: s.GetEncoder(),
		Times: []StateTime{}, WindowMS: s.GetWindowMs(), Warm: s.GetWarm(), Warmth: s.GetWarmth(), Viewers: s.GetViewers(), Path: s.GetPath(),
		Expires: timeOrNil(s.GetExpires()), Notice: s.GetNotice(), NoticeUntil: timeOrNil(s.GetNoticeUntil()), Degraded: append([]string{}, s.GetDegraded()...),
		GIMPRestarts: s.GetGimpRestarts(), StreamerRestarts: s.GetStreamerRestarts(),
	}
	if s.Lost != "" {
		out.State, out.Reason = "lost", s.Lost
	}
	for _, t := range s.GetTimes() {
		out.Times = append(out.Times, StateTime{State: stateName(t.GetState()), At: t.GetAt().AsTime()})
	}
	return out
}

func stateName(s easelv1.State) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STATE_"))
}

func timeOrNil(t *timestamppb.Timestamp) *time.Time {
	if t == nil || t.AsTime().Unix() <= 0 {
		return nil
	}
	at := t.AsTime()
	return &at
}

// SessionRequest is what somebody asks for who wants a session.
type SessionRequest struct {
	Key   string `json:"key"`
	Image string `json:"image"`
	Class string `json:"class"`
	// Encoder is how the picture of a session with a GPU is to be encoded: "hardware", "any", or "" for what the cluster's configuration says.
	Encoder string             `json:"encoder"`
	Pings   map[string]float64 `json:"pings"` // round trips in ms that the browser measured, by node
}

func (a *API) createSession(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	var req SessionRequest
	if err := readJSON(r, &req, true); err != nil {
		return err
	}
	if req.Key, err = chooseKey(req.Key, r.Header.Values("Idempotency-Key")); err != nil {
		return err
	}
	wanted, err := a.Prepare(r, who, req)
	if err != nil {
		return err
	}
	s, created, err := a.CreateSession(r.Context(), who, wanted)
	if err != nil {
		return err
	}
	out := Describe(s)
	if out.URL, err = a.link(s); err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/sessions/"+out.ID)
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return writeJSON(w, status, out)
}

// CreateSession finds or makes a session that Prepare returned, counted and logged.
func (a *API) CreateSession(ctx context.Context, who auth.Who, req placement.Request) (directory.Session, bool, error) {
	s, created, err := a.Placer.Place(ctx, req)
	a.metrics.placed(created, err)
	if err != nil {
		a.Log.Warn("no session made", "user", who.Name, "error", err)
		a.Events.Add(events.Session, who.Name, "got no session: "+err.Error(), true)
		return directory.Session{}, false, err
	}
	if created {
		a.Log.Info("session made", "user", who.Name, "session", s.GetId(), "node", s.Node.Name, "warmth", s.GetWarmth())
		if a.Arrivals != nil {
			a.Arrivals.Arrived(warmth.Arrival{Image: req.Image, Class: req.Class, Region: s.Node.Place.Region, Warmth: s.GetWarmth()}, time.Now())
		}
	}
	return s, created, nil
}

// chooseKey takes the key from the body or from the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header:
// a quoted string; a bare one is taken too).
func chooseKey(body string, headers []string) (string, error) {
	key := body
	switch {
	case len(headers) > 1:
		return "", &statusError{http.StatusBadRequest, "the Idempotency-Key header is there more than once"}
	case len(headers) == 1:
		header := strings.TrimSpace(headers[0])
		if len(header) >= 2 && header[0] == '"' && header[len(header)-1] == '"' {
			header = header[1 : len(header)-1]
		}
		if body != "" && body != header {
			return "", &statusError{http.StatusBadRequest, "the key in the body and the Idempotency-Key header differ; send one"}
		}
		if header == "" {
			return "", &statusError{http.StatusBadRequest, "the Idempotency-Key header is empty"}
		}
		key = header
	case key == "":
		key = DefaultKey
	}
	if len(key) > 128 || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", &statusError{http.StatusBadRequest, "a key has 1 to 128 printable ASCII characters"}
	}
	return key, nil
}

// SessionList is an answer to a question for sessions.
type SessionList struct {
	Sessions    []Session `json:"sessions"`
	Partial     bool      `json:"partial"`               // nodes did not answer: sessions may be missing
	Unreachable []string  `json:"unreachable,omitempty"` // which
}

func (a *API) listSessions(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	all, err := flag(r.URL.Query(), "all")
	if err != nil {
		return err
	}
	ended, err := flag(r.URL.Query(), "ended")
	if err != nil {
		return err
	}
	list, err := a.ListSessions(r.Context(), who, all, ended)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// ListSessions returns the sessions of who, or everybody's when an administrator asks for all.
func (a *API) ListSessions(ctx context.Context, who auth.Who, all, ended bool) (SessionList, error) {
	user := who.Name
	if all {
		if !who.Admin() {
			return SessionList{}, errAdminOnly
		}
		user = ""
	}
	listing, err := a.Nodes.List(ctx, user, ended)
	if err != nil {
		return SessionList{}, err
	}
	out := SessionList{Sessions: []Session{}, Partial: len(listing.Unreachable) > 0, Unreachable: listing.Unreachable}
	for _, s := range listing.Sessions {
		out.Sessions = append(out.Sessions, Describe(s))
	}
	return out, nil
}

func (a *API) getSession(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	s, err := a.FindSession(r.Context(), who, r.PathValue("id"))
	if err != nil {
		return err
	}
	out := Describe(s)
	if s.GetUser() == who.Name {
		if out.URL, err = a.link(s); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// FindSession returns a session that who may see: another user's does not exist for anybody but an
// administrator.
func (a *API) FindSession(ctx context.Context, who auth.Who, id string) (directory.Session, error) {
	s, err := a.Nodes.Find(ctx, id)
	if err != nil {
		return directory.Session{}, err
	}
	if s.GetUser() != who.Name && !who.Admin() {
		return directory.Session{}, fmt.Errorf("session %q: %w", id, directory.ErrNotFound)
	}
	return s, nil
}

// link is "" for a session that can no longer be opened.
func (a *API) link(s directory.Session) (string, error) {
	if !Describe(s).Live() {
		return "", nil
	}
	return a.Nodes.Link(s)
}

func (a *API) endSession(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	s, err := a.EndSession(r.Context(), who, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, Describe(s))
}

// EndSession asks for the end of a session that who may see. It returns before the session has ended.
func (a *API) EndSession(ctx context.Context, who auth.Who, id string) (directory.Session, error) {
	s, err := a.FindSession(ctx, who, id)
	if err != nil {
		return directory.Session{}, err
	}
	reason := "ended by " + who.Name
	if s.GetUser() != who.Name {
		reason = "ended by the administrator " + who.Name
	}
	s, err = a.Nodes.Stop(ctx, s, reason)
	if err == nil {
		a.Log.Info("session ended", "session", id, "by", who.Name)
	}
	return s, err
}
