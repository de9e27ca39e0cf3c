package auth

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrCrossSite means that another site's page made a browser send a request.
var ErrCrossSite = errors.New("the request comes from another site's page")

// Guard finds out who makes an HTTP request.
type Guard struct {
	Store  *Store
	Public *url.URL // the coordinator's address for browsers
}

// Who is somebody who makes a request.
type Who struct {
	Account
	Cookie string // the cookie's value when a browser is signed in, "" for an API token
}

// Admin tells whether Who may see and do everything.
func (w Who) Admin() bool { return w.Role == RoleAdmin }

// Identify returns who makes a request, by its bearer token or, without an Authorization header, its
// cookie. Requests by cookie that change something must come from the coordinator's own pages.
// It returns ErrAnonymous, ErrBadToken or ErrCrossSite.
func (g *Guard) Identify(r *http.Request) (Who, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return Who{}, ErrBadToken
		}
		account, err := g.Store.Bearer(r.Context(), strings.TrimSpace(token))
		return Who{Account: account}, err
	}
	cookie, err := r.Cookie(g.cookieName())
	if err != nil {
		return Who{}, ErrAnonymous
	}
	account, err := g.Store.Browser(r.Context(), cookie.Value)
	if err != nil {
		return Who{}, err
	}
	if !safe(r.Method) && !g.FromOwnPage(r) {
		return Who{}, ErrCrossSite
	}
	return Who{Account: account, Cookie: cookie.Value}, nil
}

// FromOwnPage tells whether a request was made by a page of this coordinator. Browsers say so in headers
// that pages cannot set (Fetch Metadata, and Origin of RFC 6454); a request without them is not.
func (g *Guard) FromOwnPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	return g.ownOrigin(r)
}

// FromOtherPage tells whether a browser says that a page of somebody else made the request. Programs,
// which send neither header, are not pages.
func (g *Guard) FromOtherPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	return r.Header.Get("Origin") != "" && !g.ownOrigin(r)
}

func (g *Guard) ownOrigin(r *http.Request) bool {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host == "" {
		return false
	}
	return (origin.Scheme == g.Public.Scheme && strings.EqualFold(origin.Host, g.Public.Host)) || strings.EqualFold(origin.Host, r.Host)
}

// SignIn signs a browser in as name and gives it the cookie.
func (g *Guard) SignIn(ctx context.Context, w http.ResponseWriter, name string) error {
	value, expires, err := g.Store.SignInBrowser(ctx, name)
	if err != nil {
		return err
	}
	g.setCookie(w, value, expires)
	return nil
}

// SignOut ends the browser's sign-in and takes its cookie back.
func (g *Guard) SignOut(ctx context.Context, w http.ResponseWriter, who Who) error {
	g.setCookie(w, "", time.Unix(1, 0))
	if who.Cookie == "" {
		return nil
	}
	return g.Store.SignOutBrowser(ctx, who.Cookie)
}

// Lax, not Strict: a link from the viewer, which another origin serves, must find its user signed in.
func (g *Guard) setCookie(w http.ResponseWriter, value string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{
		Name: g.cookieName(), Value: value, Path: "/", Expires: expires,
		HttpOnly: true, Secure: g.secure(), SameSite: http.SameSiteLaxMode,
	})
}

// The __Host- prefix keeps other hosts of the domain from setting the cookie; it needs TLS.
func (g *Guard) cookieName() string {
	if g.secure() {
		return "__Host-easel"
	}
	return "easel"
}

func (g *Guard) secure() bool { return g.Public.Scheme == "https" }

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// ClientAddress is the IP address that a request came from, for rate limits. Behind a proxy on this host
// that ends TLS (the public address is https, the request came plain over loopback) it is the one that the
// proxy added last to X-Forwarded-For; what clients write before it is not believed.
func (g *Guard) ClientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if ip := net.ParseIP(host); !g.secure() || r.TLS != nil || ip == nil || !ip.IsLoopback() {
		return host
	}
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 {
		return host
	}
	last := forwarded[len(forwarded)-1]
	last = strings.TrimSpace(last[strings.LastIndex(last, ",")+1:])
	if net.ParseIP(last) == nil {
		return host
	}
	return last
}
