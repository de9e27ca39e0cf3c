package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"easel/noded/session"
	"easel/noded/stream/contract"
	"easel/pkg/problem"
)

const guestVersion = "g1"

// everyRole is who may do what anybody may that is let in.
var everyRole = []string{contract.RoleOwner, contract.RoleTakePart, contract.RoleView}

// guestMAC signs a guest's cookie.
func (c cookies) guestMAC(id, share, nonce, name string) []byte {
	m := hmac.New(sha256.New, c.key)
	_, _ = io.WriteString(m, "easel-guest-v1\x00"+id+"\x00"+share+"\x00"+nonce+"\x00"+name) // a hash never fails
	return m.Sum(nil)
}

// makeGuest makes the cookie of somebody who came by a link. It is good as long as the link, which is looked at each time.
func (c cookies) makeGuest(id, share, name string) *http.Cookie {
	nonce, said := shortID(), base64.RawURLEncoding.EncodeToString([]byte(name))
	sum := base64.RawURLEncoding.EncodeToString(c.guestMAC(id, share, nonce, said))
	return &http.Cookie{
		Name: "easel_guest_" + id, Value: strings.Join([]string{guestVersion, share, nonce, said, sum}, "."),
		Path: "/s/" + id, HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteStrictMode,
	}
}

// guest reads a guest's cookie: all but the role, which is the link's to say.
func (c cookies) guest(id, value string) (who contract.Viewer, ok bool) {
	parts := strings.Split(value, ".")
	if len(parts) != 5 || parts[0] != guestVersion {
		return who, false
	}
	share, nonce, said := parts[1], parts[2], parts[3]
	got, err := base64.RawURLEncoding.Strict().DecodeString(parts[4])
	if err != nil || !hmac.Equal(got, c.guestMAC(id, share, nonce, said)) {
		return who, false
	}
	name, err := base64.RawURLEncoding.Strict().DecodeString(said)
	return contract.Viewer{ID: share + "." + nonce, Name: string(name)}, err == nil
}

// visitor tells who asks; ok is false for nobody who is let in. came tells that it is a guest whose link is no longer good.
func (g *Gateway) visitor(r *http.Request) (who contract.Viewer, ok, came bool) {
	id := r.PathValue("id")
	for _, cookie := range r.CookiesNamed("easel_" + id) {
		if g.cookies.valid(id, cookie.Value) {
			return contract.Owner, true, false
		}
	}
	for _, cookie := range r.CookiesNamed("easel_guest_" + id) {
		who, good := g.cookies.guest(id, cookie.Value)
		if !good {
			continue
		}
		came = true
		share, _, _ := strings.Cut(who.ID, ".")
		if s, err := g.Memory.liveShare(id, share, time.Now()); err == nil && g.guests.Load() > 0 {
			who.Role = s.Role
			return who, who.Validate() == nil, false
		}
	}
	return contract.Viewer{}, false, came
}

type whoKey struct{}

// whoOf is who asks, once admits has let them through.
func whoOf(r *http.Request) contract.Viewer {
	who, ok := r.Context().Value(whoKey{}).(contract.Viewer)
	if !ok {
		return contract.Viewer{}
	}
	return who
}

// signedIn lets through the session's owner.
func (g *Gateway) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return g.admits(next, contract.RoleOwner)
}

// letIn lets through the session's owner, and guests.
func (g *Gateway) letIn(next http.HandlerFunc) http.HandlerFunc { return g.admits(next, everyRole...) }

// admits lets through who holds one of the session's cookies and has one of the roles.
func (g *Gateway) admits(next http.HandlerFunc, roles ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		who, ok, came := g.visitor(r)
		switch {
		case came:
			problem.Write(w, http.StatusUnauthorized, "Not shared any more", "the link by which you came to this session is no longer good: ask its owner for another")
			return
		case !ok:
			g.refuse(w, id, "open the session from the portal: this browser is not signed in to it")
			return
		case !slices.Contains(roles, who.Role):
			problem.Write(w, http.StatusForbidden, "The owner's", "only the session's owner may do this")
			return
		}
		g.bounded(id, who, next)(w, r.WithContext(context.WithValue(r.Context(), whoKey{}, who)))
	}
}

// named is who asks, with a name for others: the owner's is the session's user.
func named(who contract.Viewer, s session.Session) contract.Viewer {
	if !who.Guest() {
		who.Name = displayName(s.User)
	}
	return who
}

// displayName makes of a text a name that can be shown.
func displayName(text string) string {
	name := strings.TrimSpace(session.Printable(strings.ToValidUTF8(text, ""), contract.MaxName))
	for len(name) > contract.MaxName {
		name = strings.ToValidUTF8(name[:contract.MaxName], "")
	}
	if !contract.ValidName(name) {
		return ""
	}
	return name
}
