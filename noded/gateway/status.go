package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"easel/noded/session"
	"easel/noded/stream/contract"
	"easel/pkg/problem"
)

// statusWait bounds a long poll for a change.
const statusWait = 20 * time.Second

// statusDocument is what a viewer learns of its session.
type statusDocument struct {
	ID       string        `json:"id"`
	State    session.State `json:"state"`
	Reason   string        `json:"reason"`
	GIMP     gimpDocument  `json:"gimp"`
	Portal   string        `json:"portal"`
	Expires  *time.Time    `json:"expires"`
	Degraded []string      `json:"degraded"`
	// Relay is the relay's generation: a viewer that came through another's must come again.
	Relay string `json:"relay"`
	// Files is which way files may cross.
	Files filesDocument `json:"files"`
	// You is who asks. Owner is what the session's owner is called, Sharing whether the owner may make links for guests.
	You     contract.Viewer `json:"you"`
	Owner   string          `json:"owner"`
	Sharing bool            `json:"sharing"`
	// Notice is what the artist is told now; null when nothing.
	Notice *noticeDocument `json:"notice"`
}

// noticeDocument counts LeftMS from the answer, as the viewer's clock may be wrong.
type noticeDocument struct {
	Text   string    `json:"text"`
	Until  time.Time `json:"until,omitzero"`
	LeftMS int64     `json:"left_ms"`
}

type gimpDocument struct {
	State    string `json:"state"`
	Restarts int    `json:"restarts"`
	WindowMS int64  `json:"window_ms"`
}

func (g *Gateway) status(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	s, ok := g.sessionOf(w, id)
	if !ok {
		return
	}
	if wait := r.URL.Query().Get("wait"); wait != "" {
		state, ok := stateOf(wait)
		if !ok {
			problem.Write(w, http.StatusBadRequest, "", "wait must name the state that you know, such as \"starting\"")
			return
		}
		wait := statusWait
		if relay := r.URL.Query().Get("relay"); relay != "" && relay != g.relayGeneration() {
			wait = 0 // the viewer's way is gone: that is news
		}
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		var err error
		if s, err = g.Sessions.Await(ctx, id, state); err != nil {
			problem.Write(w, http.StatusNotFound, "No such session", "the session was forgotten")
			return
		}
	}
	gimp := s.GIMP()
	document := statusDocument{
		ID: s.ID, State: s.State, Reason: s.Reason, Portal: g.portalFor(s.ID), Degraded: s.Health.Degraded, Relay: g.relayGeneration(), Files: g.filesOf(r).document(),
		GIMP: gimpDocument{State: gimp.State, Restarts: gimp.Restarts, WindowMS: s.WindowMS},
	}
	document.You, document.Owner = named(whoOf(r), s), displayName(s.User)
	document.Sharing = !document.You.Guest() && g.guests.Load() > 0
	switch {
	case document.You.Guest(): // the portal has nothing for them
		document.Portal = ""
	case s.State.Ended():
		document.Portal = g.portal()
	}
	if !s.Expires.IsZero() {
		document.Expires = &s.Expires
	}
	if n := s.Notice; n.Text != "" {
		document.Notice = &noticeDocument{Text: n.Text, Until: n.Until, LeftMS: n.Left(time.Now()).Milliseconds()}
	}
	if document.Degraded == nil {
		document.Degraded = []string{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(document) // the viewer may be gone
}

// end is the artist's wish to end the session.
func (g *Gateway) end(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if _, ok := g.sessionOf(w, id); !ok {
		return
	}
	if _, err := g.Sessions.Stop(r.Context(), id, "the artist ended it"); err != nil {
		g.Log.Error("cannot end a session", "session", id, "error", err)
		problem.Write(w, http.StatusInternalServerError, "", "the node cannot end the session now: try again")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// gone says that the session has ended, and why.
func (g *Gateway) gone(w http.ResponseWriter, s session.Session) {
	detail := "the session has ended"
	if s.Reason != "" {
		detail += ": " + s.Reason
	}
	linkPortal(w, g.portal())
	problem.Write(w, http.StatusGone, "Session ended", detail)
}

// portalFor is where a browser gets a fresh way into a session; "" when the node knows no portal.
func (g *Gateway) portalFor(id string) string {
	if g.portal() == "" {
		return ""
	}
	return strings.TrimSuffix(g.portal(), "/") + "/sessions/" + id + "/open"
}

func linkPortal(w http.ResponseWriter, url string) {
	if url != "" {
		w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"portal\"", url))
	}
}
