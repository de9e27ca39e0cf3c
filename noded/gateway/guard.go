package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"easel/noded/session"
	"easel/pkg/problem"
)

// apiCSP is for everything but the viewer page: whatever it is, it runs nothing.
const apiCSP = "default-src 'none'; frame-ancestors 'none'; sandbox"

// guard sets the headers that every answer carries, and refuses what was sent to another host's name or
// from another site's page.
func (g *Gateway) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", apiCSP)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Embedder-Policy", "require-corp")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !g.ourHost(r.Host) {
			problem.Write(w, http.StatusMisdirectedRequest, "", "this node does not go by that name: open "+g.PublicURL+", or set public_url")
			return
		}
		if changes(r) && !g.sameSite(r) {
			problem.Write(w, http.StatusForbidden, "Foreign page", "the request came from another site's page")
			return
		}
		if id, ok := sessionID(r.URL.Path); ok && !session.ValidID(id) {
			problem.Write(w, http.StatusNotFound, "No such session", "the address names no session")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sessionID is the part of the path that should be a session's id.
func sessionID(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/s/")
	id, _, _ := strings.Cut(rest, "/")
	return id, ok
}

// ourHost refuses names that are not this node's, so that a foreign page whose name was rebound to our
// address gets nowhere. An address needs no check: no other site's name is one.
func (g *Gateway) ourHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name == "localhost" || name == strings.ToLower(g.public.Hostname())
}

// changes tells whether a request may change something, or opens a WebSocket, which no browser guards.
func changes(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.Header.Get("Upgrade") != ""
	}
	return true
}

// sameSite tells whether a request came from this node's own page, or from no page at all. Browsers always
// say where from: Origin on what changes something, Sec-Fetch-Site on everything.
func (g *Gateway) sameSite(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return r.Header.Get("Upgrade") == ""
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, g.public.Host)
}

// onlyLoopback keeps a route from the network.
func onlyLoopback(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if addr, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !addr.Addr().Unmap().IsLoopback() {
			problem.Write(w, http.StatusForbidden, "", "this is for the node's own host: ask from there")
			return
		}
		next(w, r)
	}
}

// limiter bounds how often each address may try. Its memory is bounded: when too many addresses try, the
// rest share one allowance.
type limiter struct {
	each  rate.Limit
	burst int

	mu     sync.Mutex
	who    map[netip.Prefix]*visitor
	crowd  *rate.Limiter
	sweeps time.Time
}

type visitor struct {
	allowance *rate.Limiter
	seen      time.Time
}

const (
	maxVisitors  = 4096
	forgetAfter  = 10 * time.Minute
	signRate     = rate.Limit(1) // tries a second, after the first signBurst
	signBurst    = 30
	ipv4Bits     = 32
	ipv6SiteBits = 64 // one customer has at least so much
)

func newLimiter(each rate.Limit, burst int) *limiter {
	return &limiter{each: each, burst: burst, who: map[netip.Prefix]*visitor{}, crowd: rate.NewLimiter(each*10, burst*10)}
}

func (l *limiter) allow(remote string, now time.Time) bool {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return l.crowd.AllowN(now, 1)
	}
	ip, bits := addr.Addr().Unmap(), ipv4Bits
	if ip.Is6() {
		bits = ipv6SiteBits
	}
	key, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return l.crowd.AllowN(now, 1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.who[key]
	if v == nil {
		if len(l.who) >= maxVisitors {
			l.forget(now)
		}
		if len(l.who) >= maxVisitors {
			return l.crowd.AllowN(now, 1)
		}
		v = &visitor{allowance: rate.NewLimiter(l.each, l.burst)}
		l.who[key] = v
	}
	v.seen = now
	return v.allowance.AllowN(now, 1)
}

// forget drops visitors of long ago, at most once a minute.
func (l *limiter) forget(now time.Time) {
	if now.Sub(l.sweeps) < time.Minute {
		return
	}
	l.sweeps = now
	for key, v := range l.who {
		if now.Sub(v.seen) > forgetAfter {
			delete(l.who, key)
		}
	}
}

// gate bounds how many of something a session has open at once.
type gate struct {
	most int
	mu   sync.Mutex
	open map[string]int
}

func newGate(most int) *gate { return &gate{most: most, open: map[string]int{}} }

// enter returns false when the session has as many as it may; else leave must be called.
func (g *gate) enter(id string) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[id] >= g.most {
		return nil, false
	}
	g.open[id]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.open[id]--; g.open[id] == 0 {
			delete(g.open, id)
		}
	}, true
}
