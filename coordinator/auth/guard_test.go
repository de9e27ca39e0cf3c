package auth

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func guard(t *testing.T, public string) (*Guard, string, string) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, "")
	u := must[*url.URL](t)(url.Parse(public))
	g := &Guard{Store: s, Public: u}
	rec := httptest.NewRecorder()
	if err := g.SignIn(t.Context(), rec, "ada"); err != nil {
		t.Fatal(err)
	}
	token, _, err := s.NewToken(t.Context(), "ada", "")
	if err != nil {
		t.Fatal(err)
	}
	return g, rec.Header().Get("Set-Cookie"), token
}

func TestCookieAttributes(t *testing.T) {
	_, plain, _ := guard(t, "http://127.0.0.1:8080")
	for _, want := range []string{"easel=", "Path=/", "HttpOnly", "SameSite=Lax"} {
		if !strings.Contains(plain, want) {
			t.Errorf("cookie %q lacks %s", plain, want)
		}
	}
	if _, tls, _ := guard(t, "https://easel.example.org"); !strings.HasPrefix(tls, "__Host-easel=") || !strings.Contains(tls, "Secure") {
		t.Errorf("under TLS the cookie is %q", tls)
	}
}

func TestIdentify(t *testing.T) {
	g, setCookie, token := guard(t, "http://easel.test:8080")
	cookie, _, _ := strings.Cut(setCookie, ";")
	tests := []struct {
		name    string
		method  string
		headers map[string]string
		want    error
	}{
		{"nobody", "GET", nil, ErrAnonymous},
		{"cookie", "GET", map[string]string{"Cookie": cookie}, nil},
		{"cookie, changing, own page", "POST", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}, nil},
		{"cookie, changing, own origin", "DELETE", map[string]string{"Cookie": cookie, "Origin": "http://easel.test:8080"}, nil},
		{"cookie, changing, another port", "POST", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "same-site", "Origin": "http://easel.test:8080"}, ErrCrossSite},
		{"cookie, changing, another origin", "POST", map[string]string{"Cookie": cookie, "Origin": "http://easel.test:8443"}, ErrCrossSite},
		{"cookie, changing, opaque origin", "POST", map[string]string{"Cookie": cookie, "Origin": "null"}, ErrCrossSite},
		{"cookie, changing, no headers", "POST", map[string]string{"Cookie": cookie}, ErrCrossSite},
		{"token", "POST", map[string]string{"Authorization": "Bearer " + token}, nil},
		{"token, lower case scheme", "POST", map[string]string{"Authorization": "bearer " + token}, nil},
		{"wrong token", "GET", map[string]string{"Authorization": "Bearer " + token + "x"}, ErrBadToken},
		{"wrong token beside a good cookie", "GET", map[string]string{"Authorization": "Bearer x", "Cookie": cookie}, ErrBadToken},
		{"basic", "GET", map[string]string{"Authorization": "Basic YTpi"}, ErrBadToken},
		{"empty bearer", "GET", map[string]string{"Authorization": "Bearer "}, ErrBadToken},
		{"token in the cookie", "GET", map[string]string{"Cookie": "easel=" + token}, ErrBadToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "http://easel.test:8080/api/v1/sessions", nil)
			for k, v := range tt.headers {
				r.Header.Set(k, v)
			}
			who, err := g.Identify(r)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if (err == nil) != (who.Name == "ada") {
				t.Errorf("got %+v with error %v", who, err)
			}
		})
	}
}

func TestClientAddress(t *testing.T) {
	for name, tt := range map[string]struct {
		public, remote string
		tls            bool
		forwarded      []string
		want           string
	}{
		"direct":                        {"http://127.0.0.1:8080", "192.0.2.1:5", false, nil, "192.0.2.1"},
		"direct, header is a lie":       {"https://e.test", "192.0.2.1:5", true, []string{"203.0.113.9"}, "192.0.2.1"},
		"no proxy, header is a lie":     {"http://127.0.0.1:8080", "127.0.0.1:5", false, []string{"203.0.113.9"}, "127.0.0.1"},
		"own TLS, header is a lie":      {"https://e.test", "127.0.0.1:5", true, []string{"203.0.113.9"}, "127.0.0.1"},
		"proxy":                         {"https://e.test", "127.0.0.1:5", false, []string{"203.0.113.9"}, "203.0.113.9"},
		"proxy, client wrote before it": {"https://e.test", "127.0.0.1:5", false, []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		"proxy, two headers":            {"https://e.test", "[::1]:5", false, []string{"198.51.100.1", "2001:db8::1"}, "2001:db8::1"},
		"proxy, nonsense":               {"https://e.test", "127.0.0.1:5", false, []string{"evil"}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &Guard{Public: must[*url.URL](t)(url.Parse(tt.public))}
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.Header["X-Forwarded-For"] = tt.remote, tt.forwarded
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if got := g.ClientAddress(r); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSignOutEndsTheSignIn(t *testing.T) {
	g, setCookie, _ := guard(t, "http://easel.test")
	cookie, _, _ := strings.Cut(setCookie, ";")
	r := httptest.NewRequest(http.MethodGet, "http://easel.test/", nil)
	r.Header.Set("Cookie", cookie)
	who := must[Who](t)(g.Identify(r))
	if err := g.SignOut(t.Context(), httptest.NewRecorder(), who); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Identify(r); !errors.Is(err, ErrBadToken) {
		t.Errorf("after signing out: %v", err)
	}
}
