package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/problem"
)

const (
	maxShareBody = 1 << 10 // bytes
	// maxShareLife bounds a link's life that is not the session's.
	maxShareLife = 30 * 24 * time.Hour
)

var sharePattern = regexp.MustCompile(`^[a-z0-9]{16}$`)

// shareDocument is a link as its session's owner sees it. URL, with the secret, is told once.
type shareDocument struct {
	ID      string     `json:"id"`
	Role    string     `json:"role"`
	Name    string     `json:"name"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"` // null: with the session
	URL     string     `json:"url,omitempty"`
}

func (s *share) document() shareDocument {
	d := shareDocument{ID: s.ID, Role: s.Role, Name: s.Name, Created: s.Created}
	if !s.Expires.IsZero() {
		d.Expires = &s.Expires
	}
	return d
}

// sharesDocument is what GET answers.
type sharesDocument struct {
	Shares []shareDocument `json:"shares"`
	Most   int             `json:"most"`
	Guests int             `json:"guests"` // that may watch at once
}

func (g *Gateway) addShares(t *table) {
	t.add("GET", "/s/{id}/shares", quick, g.signedIn(g.listShares))
	t.add("POST", "/s/{id}/shares", quick, g.signedIn(g.createShare))
	t.add("DELETE", "/s/{id}/shares/{share}", quick, g.signedIn(g.deleteShare))
}

// SetGuests changes how many guests a session may have; 0: sessions are not shared.
func (g *Gateway) SetGuests(most int) {
	g.guests.Store(int64(most))
	poke(g.sharesChanged)
}

func (g *Gateway) listShares(w http.ResponseWriter, r *http.Request) {
	s, ok := g.usable(w, r.PathValue("id"))
	if !ok {
		return
	}
	all, err := g.Memory.shares(s.ID)
	if err != nil {
		g.forgetful(w, err)
		return
	}
	document := sharesDocument{Shares: []shareDocument{}, Most: maxShares, Guests: int(g.guests.Load())}
	for i := range all {
		if all[i].live(time.Now()) {
			document.Shares = append(document.Shares, all[i].document())
		}
	}
	reply(w, http.StatusOK, document)
}

func (g *Gateway) createShare(w http.ResponseWriter, r *http.Request) {
	if !g.sign.allow(r.RemoteAddr, time.Now()) {
		w.Header().Set("Retry-After", "10")
		problem.Write(w, http.StatusTooManyRequests, "Too many links", "wait ten seconds and make the link again")
		return
	}
	if g.guests.Load() == 0 {
		problem.Write(w, http.StatusForbidden, "Not shared", "sessions of this node are not shared: its operator has turned that off (sessions.guests)")
		return
	}
	made, err := readShare(w, r, time.Now())
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "Malformed link", err.Error())
		return
	}
	s, ok := g.usable(w, r.PathValue("id"))
	if !ok {
		return
	}
	secret, hash := newSecret()
	made.ID, made.Session, made.Hash = shortID(), s.ID, hash
	switch err := g.Memory.addShare(made); {
	case errors.Is(err, errManyShares):
		problem.Write(w, http.StatusConflict, "Too many links", fmt.Sprintf("a session has at most %d links: revoke one first", maxShares))
		return
	case err != nil:
		g.forgetful(w, err)
		return
	}
	poke(g.sharesChanged) // it may be the next to expire
	g.audit("made", made, "user", s.User, "expires", made.Expires, "from", r.RemoteAddr)
	document := made.document()
	document.URL = g.public.JoinPath("s", s.ID).String() + "#share=" + secret
	reply(w, http.StatusCreated, document)
}

// deleteShare revokes a link: nobody is let in by it from now on, and who was is cut.
func (g *Gateway) deleteShare(w http.ResponseWriter, r *http.Request) {
	s, ok := g.usable(w, r.PathValue("id"))
	if !ok {
		return
	}
	id := r.PathValue("share")
	if !sharePattern.MatchString(id) {
		problem.Write(w, http.StatusNotFound, "No such link", "the address names no link")
		return
	}
	gone, err := g.Memory.revokeShare(s.ID, id)
	switch {
	case errors.Is(err, errNoShare):
		problem.Write(w, http.StatusNotFound, "No such link", "the session has no such link: it was revoked, or has expired")
		return
	case err != nil:
		g.forgetful(w, err)
		return
	}
	g.audit("revoked", gone, "user", s.User, "from", r.RemoteAddr)
	if !g.cut(r.Context(), s, []share{gone}) {
		poke(g.sharesChanged) // it is told as soon as it answers
	}
	w.WriteHeader(http.StatusNoContent)
}

// audit writes down what became of a link.
func (g *Gateway) audit(what string, s share, more ...any) {
	g.shared.WithLabelValues(what, s.Role).Inc()
	g.Log.Info("a link to a session was "+what, append([]any{"session", s.Session, "share", s.ID, "role", s.Role, "name", s.Name}, more...)...)
}

func (g *Gateway) forgetful(w http.ResponseWriter, err error) {
	g.Log.Error("cannot remember links to sessions", "error", err)
	problem.Write(w, http.StatusInternalServerError, "", "the node cannot remember links now; its log says why")
}

// readShare reads {"role","name","expires"}: expires in so many seconds, or with the session.
func readShare(w http.ResponseWriter, r *http.Request, now time.Time) (share, error) {
	var body struct {
		Role    string  `json:"role"`
		Name    string  `json:"name"`
		Expires float64 `json:"expires"`
	}
	if err := readJSON(w, r, maxShareBody, &body); err != nil {
		return share{}, fmt.Errorf(`%w: want {"role":"view|take-part","name","expires"}`, err)
	}
	if body.Role != contract.RoleView && body.Role != contract.RoleTakePart {
		return share{}, errors.New("role must be view or take-part")
	}
	if !contract.ValidName(body.Name) {
		return share{}, fmt.Errorf("name must be printable, of at most %d bytes", contract.MaxName)
	}
	s := share{Role: body.Role, Name: body.Name, Created: now.UTC().Truncate(time.Second)}
	if body.Expires != 0 {
		if !(body.Expires >= 1 && body.Expires <= maxShareLife.Seconds()) { // NaN is neither
			return share{}, fmt.Errorf("expires must be 1 to %.0f seconds, or 0: with the session", maxShareLife.Seconds())
		}
		s.Expires = s.Created.Add(time.Duration(body.Expires) * time.Second)
	}
	return s, nil
}

// readJSON reads one JSON document strictly.
func readJSON(w http.ResponseWriter, r *http.Request, most int64, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errors.New("the body is not of type application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New("the body is not what it should be")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON document")
	}
	return nil
}

func reply(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(document) // the viewer may be gone
}
