package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/identity"
	"easel/pkg/problem"
)

const (
	cookieKeySize = 32
	cookieNonce   = 12
	cookieVersion = "v1"
	maxAuthBody   = 4096 // bytes
)

// cookies makes and checks the cookie that lets a browser into one session. It names no user and holds no
// secret of the coordinator's; it is good as long as the session, whose id is never given twice.
type cookies struct {
	key    []byte
	secure bool
}

func (c cookies) mac(id, nonce string) []byte {
	m := hmac.New(sha256.New, c.key)
	_, _ = io.WriteString(m, "easel-cookie-v1\x00"+id+"\x00"+nonce) // a hash never fails
	return m.Sum(nil)
}

func (c cookies) make(id string) *http.Cookie {
	var raw [cookieNonce]byte
	_, _ = rand.Read(raw[:]) // never fails, by its contract
	nonce := base64.RawURLEncoding.EncodeToString(raw[:])
	return &http.Cookie{
		Name: "easel_" + id, Value: cookieVersion + "." + nonce + "." + base64.RawURLEncoding.EncodeToString(c.mac(id, nonce)),
		Path: "/s/" + id, HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteStrictMode,
	}
}

// valid takes constant time in what the cookie says.
func (c cookies) valid(id, value string) bool {
	version, rest, _ := strings.Cut(value, ".")
	nonce, sum, ok := strings.Cut(rest, ".")
	if !ok || version != cookieVersion || len(nonce) != base64.RawURLEncoding.EncodedLen(cookieNonce) {
		return false
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	return err == nil && hmac.Equal(got, c.mac(id, nonce))
}

// maxRequests is how many requests of one session may be under way: far more than a few tabs make.
const maxRequests = 32

// bounded keeps one session's browsers from taking every connection of the node. Guests share places of their own.
func (g *Gateway) bounded(id string, who contract.Viewer, next http.HandlerFunc) http.HandlerFunc {
	if who.Guest() {
		id += "/guests"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		leave, ok := g.asked.enter(id)
		if !ok {
			problem.Write(w, http.StatusTooManyRequests, "", "the session has too many requests under way: close other tabs that show it")
			return
		}
		defer leave()
		next(w, r)
	}
}

// refuse says that a sign-in is needed, and where.
func (g *Gateway) refuse(w http.ResponseWriter, id, detail string) {
	linkPortal(w, g.portalFor(id))
	problem.Write(w, http.StatusUnauthorized, "Not signed in", detail)
}

// auth trades a coordinator's token for the session's cookie.
func (g *Gateway) auth(w http.ResponseWriter, r *http.Request) {
	if !g.sign.allow(r.RemoteAddr, time.Now()) {
		w.Header().Set("Retry-After", "10")
		problem.Write(w, http.StatusTooManyRequests, "Too many sign-ins", "wait ten seconds and open the session from the portal again")
		return
	}
	body, err := readSignIn(w, r)
	if err != nil {
		problem.Write(w, http.StatusBadRequest, "Malformed sign-in", err.Error())
		return
	}
	id := r.PathValue("id")
	if body.Share != nil {
		g.welcome(w, r, id, *body.Share, body.Name)
		return
	}
	claims, err := g.Verifier.Verify(*body.Token, identity.SessionAudience(id), time.Now())
	if err != nil {
		g.Log.Info("a sign-in was refused", "session", id, "from", r.RemoteAddr, "error", err)
		g.refuse(w, id, fmt.Sprintf("%v: open the session from the portal again", err))
		return
	}
	s, ok := g.sessionOf(w, id)
	if !ok {
		return
	}
	if s.State.Ended() {
		g.gone(w, s)
		return
	}
	switch err := g.Memory.Use(claims.ID, claims.Expires.Add(identity.Leeway), time.Now()); {
	case errors.Is(err, ErrUsed):
		g.Log.Warn("a used token was sent again", "session", id, "from", r.RemoteAddr)
		g.refuse(w, id, "the link was opened before: open the session from the portal again")
		return
	case err != nil:
		g.Log.Error("cannot remember a token", "error", err)
		problem.Write(w, http.StatusInternalServerError, "", "the node cannot sign you in; its log says why")
		return
	}
	g.Log.Info("signed in", "session", id, "user", claims.Subject, "from", r.RemoteAddr)
	http.SetCookie(w, g.cookies.make(id))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// welcome trades a link's secret for a guest's cookie.
func (g *Gateway) welcome(w http.ResponseWriter, r *http.Request, id, secret, name string) {
	link, err := g.Memory.shareBySecret(id, secret, time.Now())
	if err != nil || g.guests.Load() == 0 {
		g.Log.Info("a guest was refused", "session", id, "from", r.RemoteAddr, "error", err)
		problem.Write(w, http.StatusUnauthorized, "Not shared any more", "this link to a session is not good, or no longer: ask the session's owner for another")
		return
	}
	s, ok := g.usable(w, id)
	if !ok {
		return
	}
	if name = displayName(name); name == "" {
		name = "Guest"
	}
	g.audit("used", link, "user", s.User, "guest", name, "from", r.RemoteAddr)
	http.SetCookie(w, g.cookies.makeGuest(id, link.ID, name))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// signIn is what a browser has to show: a coordinator's token, or a link's secret and the guest's own name.
type signIn struct {
	Token *string `json:"token"`
	Share *string `json:"share"`
	Name  string  `json:"name"`
}

func readSignIn(w http.ResponseWriter, r *http.Request) (signIn, error) {
	var body signIn
	err := readJSON(w, r, maxAuthBody, &body)
	if err == nil && (body.Token == nil) == (body.Share == nil) {
		err = errors.New("it has to show one thing")
	}
	if err != nil {
		return body, fmt.Errorf(`%w: want {"token":"…"} or {"share":"…","name":"…"}`, err)
	}
	return body, nil
}
