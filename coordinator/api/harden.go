package api

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// Harden puts around a handler what every answer of the coordinator needs: a check of the Host header
// (against DNS rebinding), a bound on bodies, security headers, and an access log without queries, which
// may hold one-time codes.
func Harden(next http.Handler, public *url.URL, listen string, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if caught := recover(); caught != nil {
				log.Error("request crashed", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(caught), "stack", string(debug.Stack()))
				if sw.wrote {
					panic(http.ErrAbortHandler) // the answer was cut short, and the client must see that
				}
				WriteError(sw, r, log, fmt.Errorf("panic: %v", caught))
			}
			log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", sw.status, "ms", time.Since(began).Milliseconds())
		}()
		setSecurityHeaders(sw.Header(), public)
		if !knownHost(r, public, listen) {
			WriteError(sw, r, log, &statusError{http.StatusMisdirectedRequest, fmt.Sprintf("%.100q is not this coordinator's address; open %s", r.Host, public)})
			return
		}
		r.Body = http.MaxBytesReader(sw, r.Body, maxBody)
		next.ServeHTTP(sw, r)
	})
}

func setSecurityHeaders(h http.Header, public *url.URL) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// same-origin, not no-referrer: with that one, browsers hide the origin of the portal's own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	if public.Scheme == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// knownHost accepts the public address, the address that the daemon listens on, and names of this host
// when it listens on loopback. Probes, which reveal nothing, may use any.
func knownHost(r *http.Request, public *url.URL, listen string) bool {
	switch r.URL.Path {
	case "/healthz", "/readyz", "/metrics":
		return true
	}
	if strings.EqualFold(r.Host, public.Host) || r.Host == listen {
		return true
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	listenHost, listenPort, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(listenHost)
	return ip != nil && ip.IsLoopback() && port == listenPort && (host == "localhost" || host == "127.0.0.1" || host == "::1")
}
