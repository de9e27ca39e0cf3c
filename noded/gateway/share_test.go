package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/noded/session"
	"easel/noded/stream/contract"
)

// sharing is a node on which sessions may be shared, and what its streamer heard of links that are gone.
type sharing struct {
	*node
	memory *Memory

	mu      sync.Mutex
	refuses bool
	revoked []string
	viewers []string // who the streamer was told asks
}

func newSharing(t *testing.T) *sharing {
	t.Helper()
	s := &sharing{memory: memory(t)}
	s.node = newNode(t, func(o *Options) { o.Guests, o.Memory, o.Files = 3, s.memory, Files{In: true, Out: true, Most: 1 << 20} })
	s.gate.sign = newLimiter(1000, 1000)
	s.streamer(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path != "/revoked" {
			s.viewers = append(s.viewers, r.Header.Get(contract.ViewerHeader))
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if s.refuses {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		gone, err := contract.ReadRevoked(bytes.NewReader(body))
		if err != nil {
			t.Errorf("the streamer got %q: %v", body, err)
		}
		s.revoked = append(s.revoked, gone.Shares...)
		w.WriteHeader(http.StatusNoContent)
	})
	return s
}

func (s *sharing) heard(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.revoked {
		if one == id {
			return true
		}
	}
	return false
}

// share makes a link, and returns it with its secret.
func (s *sharing) share(role string, expires int) (made shareDocument, secret string) {
	s.t.Helper()
	resp := s.ask("POST", "/s/"+living+"/shares", fmt.Sprintf(`{"role":%q,"name":"for Bo","expires":%d}`, role, expires), s.in)
	want(s.t, resp, 201)
	if err := json.Unmarshal([]byte(text(s.t, resp)), &made); err != nil {
		s.t.Fatal(err)
	}
	u, err := url.Parse(made.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	secret, ok := strings.CutPrefix(u.Fragment, "share=")
	if !ok || u.Path != "/s/"+living || u.RawQuery != "" || u.Host != "node.example:8443" {
		s.t.Fatalf("the link is %q", made.URL)
	}
	return made, secret
}

// guest lets somebody in by a link, and returns what their requests carry.
func (s *sharing) guest(secret, name string) func(*http.Request) {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"share": secret, "name": name})
	if err != nil {
		s.t.Fatal(err)
	}
	resp := s.auth(living, string(body))
	want(s.t, resp, 204)
	c := resp.Cookies()[0]
	if c.Name != "easel_guest_"+living || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/s/"+living {
		s.t.Errorf("cookie %+v", c)
	}
	return func(r *http.Request) { r.AddCookie(c) }
}

func (s *sharing) list() (all sharesDocument) {
	s.t.Helper()
	resp := s.ask("GET", "/s/"+living+"/shares", "", s.in)
	want(s.t, resp, 200)
	if err := json.Unmarshal([]byte(text(s.t, resp)), &all); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// TestEveryRouteForEveryRole is the whole table: what is not in it is a route that nobody has thought of.
func TestEveryRouteForEveryRole(t *testing.T) {
	s := newSharing(t)
	_, viewSecret := s.share(contract.RoleView, 0)
	_, partSecret := s.share(contract.RoleTakePart, 0)
	as := map[string]func(*http.Request){
		"nobody": func(*http.Request) {}, contract.RoleOwner: s.in,
		contract.RoleView: s.guest(viewSecret, "Vi"), contract.RoleTakePart: s.guest(partSecret, "Pa"),
	}
	all := map[string]bool{contract.RoleOwner: true, contract.RoleTakePart: true, contract.RoleView: true}
	owner := map[string]bool{contract.RoleOwner: true}
	open := map[string]bool{"nobody": true, contract.RoleOwner: true, contract.RoleTakePart: true, contract.RoleView: true}
	routes := map[string]map[string]bool{
		"GET /s/{id}": open, "POST /s/{id}/auth": open,
		"GET /s/{id}/status": all, "GET /s/{id}/ice": all, "GET /s/{id}/streamer": all, "POST /s/{id}/whep": all, "DELETE /s/{id}/whep/{peer}": all, "POST /s/{id}/whep/{peer}": all, "GET /s/{id}/stats": all,
		"POST /s/{id}/screen": owner, "GET /s/{id}/vnc": owner, "DELETE /s/{id}": owner,
		"GET /s/{id}/shares": owner, "POST /s/{id}/shares": owner, "DELETE /s/{id}/shares/{share}": owner,
	}
	table := newTable(s.gate)
	s.gate.lay(table)
	for path, methods := range table.paths {
		for method := range methods {
			route := method + " " + path
			roles := routes[route]
			if roles == nil && strings.HasPrefix(path, "/s/{id}/files") {
				roles = owner // the home is the owner's
			}
			if roles == nil {
				if strings.HasPrefix(path, "/s/") {
					t.Errorf("%s: nobody has said who may", route)
				}
				continue
			}
			for role, who := range as {
				rec := httptest.NewRecorder()
				at := strings.NewReplacer("{id}", living, "{peer}", "p1", "{share}", strings.Repeat("a", 16), "{upload}", "u1", "{$}", "").Replace(path)
				r := httptest.NewRequest(method, "http://localhost"+at, strings.NewReader("{}"))
				r.Header.Set("Content-Type", "application/json")
				who(r)
				s.gate.ServeHTTP(rec, r)
				refused := rec.Code == http.StatusUnauthorized || rec.Code == http.StatusForbidden
				if refused == roles[role] {
					t.Errorf("%s by %s: %d %s", route, role, rec.Code, rec.Body)
				}
			}
		}
	}
	if len(s.stopped) != 1 { // by the owner's DELETE alone
		t.Errorf("ended: %v", s.stopped)
	}
}

func TestStreamerIsToldWhoAsks(t *testing.T) {
	s := newSharing(t)
	made, secret := s.share(contract.RoleTakePart, 0)
	guest := s.guest(secret, "  Żółć \u0007 ")
	for _, who := range []func(*http.Request){s.in, guest} {
		forged := header(contract.ViewerHeader, `{"id":"owner","role":"owner","name":"forged"}`)
		want(t, s.ask("POST", "/s/"+living+"/whep", "offer", who, sdp, forged), 204)
	}
	owner, err := contract.ReadViewer(s.viewers[0])
	if err != nil || owner != (contract.Viewer{ID: contract.OwnerID, Role: contract.RoleOwner, Name: "ann"}) {
		t.Errorf("the owner is %+v, %v", owner, err)
	}
	v, err := contract.ReadViewer(s.viewers[1])
	if err != nil || v.Role != contract.RoleTakePart || v.Share() != made.ID || v.Name != "Żółć" {
		t.Errorf("the guest is %+v, %v, want one of %s", v, err, made.ID)
	}
	var status struct {
		You     contract.Viewer
		Owner   string
		Portal  string
		Sharing bool
	}
	for who, wants := range map[string]bool{"owner": true, "guest": false} {
		by := map[string]func(*http.Request){"owner": s.in, "guest": guest}[who]
		if err := json.Unmarshal([]byte(text(t, s.ask("GET", "/s/"+living+"/status", "", by))), &status); err != nil {
			t.Fatal(err)
		}
		if status.Sharing != wants || (status.Portal != "") != wants || status.Owner != "ann" || status.You.Guest() == wants {
			t.Errorf("%s: status %+v", who, status)
		}
	}
}

func TestLinksLife(t *testing.T) {
	s := newSharing(t)
	made, secret := s.share(contract.RoleView, 0)
	resp := s.ask("GET", "/s/"+living+"/shares", "", s.in)
	if body := text(t, resp); strings.Contains(body, secret) || strings.Contains(body, "hash") {
		t.Errorf("the list tells secrets: %s", body)
	}
	all, err := s.memory.shares(living)
	if err != nil || len(all) != 1 || bytes.Contains(all[0].Hash, []byte(secret)) {
		t.Fatalf("%+v, %v", all, err)
	}
	guest := s.guest(secret, "Vi")
	again := s.guest(secret, "Vi") // a link is for many
	want(t, s.ask("GET", "/s/"+living+"/status", "", guest), 200)
	want(t, s.ask("DELETE", "/s/"+living+"/shares/"+made.ID, "", s.in), 204)
	if !s.heard(made.ID) {
		t.Error("the streamer was not told")
	}
	for _, who := range []func(*http.Request){guest, again} {
		want(t, s.ask("POST", "/s/"+living+"/whep", "offer", who, sdp), 401)
	}
	want(t, s.auth(living, `{"share":"`+secret+`"}`), 401)
	want(t, s.ask("DELETE", "/s/"+living+"/shares/"+made.ID, "", s.in), 404)
	if all, _ := s.memory.shares(""); len(all) != 0 {
		t.Errorf("remembered for ever: %+v", all)
	}
}

func TestLinksAreBoundedAndWellFormed(t *testing.T) {
	s := newSharing(t)
	for _, body := range []string{
		`{}`, `{"role":"owner"}`, `{"role":"view","name":"\u202e"}`, `{"role":"view","expires":-1}`, `{"role":"view","expires":1e300}`, `{"role":"view","x":1}`,
		`{"role":"view"}{}`, `[]`, `{"role":"view","name":"` + strings.Repeat("n", contract.MaxName+1) + `"}`, `{"role":"view","name":"` + strings.Repeat("n", maxShareBody) + `"}`,
	} {
		want(t, s.ask("POST", "/s/"+living+"/shares", body, s.in), 400)
	}
	for range maxShares {
		s.share(contract.RoleView, 60)
	}
	want(t, s.ask("POST", "/s/"+living+"/shares", `{"role":"view"}`, s.in), 409)
	if all := s.list(); len(all.Shares) != maxShares || all.Most != maxShares || all.Guests != 3 {
		t.Errorf("%+v", all)
	}
	want(t, s.ask("DELETE", "/s/"+living+"/shares/..%2f..%2fx", "", s.in), 404)
	for _, secret := range []string{"", "x", strings.Repeat("A", 43), "../" + strings.Repeat("A", 40), "\\u0000"} {
		want(t, s.auth(living, `{"share":"`+secret+`"}`), 401)
	}
	want(t, s.auth(living, `{"share":"a","token":"b"}`), 400)
	s.gate.SetGuests(0)
	want(t, s.ask("POST", "/s/"+living+"/shares", `{"role":"view"}`, s.in), 403)
}

func TestSharingTurnedOffShutsGuestsOut(t *testing.T) {
	s := newSharing(t)
	_, secret := s.share(contract.RoleView, 0)
	guest := s.guest(secret, "")
	s.gate.SetGuests(0)
	want(t, s.ask("GET", "/s/"+living+"/status", "", guest), 401)
	want(t, s.auth(living, `{"share":"`+secret+`"}`), 401)
	s.gate.SetGuests(3)
	want(t, s.ask("GET", "/s/"+living+"/status", "", guest), 200)
}

// TestGuestCookieOpensItsOwnSessionAlone: a guest's cookie cannot be altered, moved to another session, or taken for the owner's.
func TestGuestCookieOpensItsOwnSessionAlone(t *testing.T) {
	s := newSharing(t)
	made, _ := s.share(contract.RoleView, 0)
	part, _ := s.share(contract.RoleTakePart, 0)
	good := s.gate.cookies.makeGuest(living, made.ID, "Vi").Value
	parts := strings.Split(good, ".")
	other := cookies{key: make([]byte, cookieKeySize)}.makeGuest(living, made.ID, "Vi").Value
	for name, c := range map[string]http.Cookie{
		"another link":      {Name: "easel_guest_" + living, Value: strings.Join([]string{parts[0], part.ID, parts[2], parts[3], parts[4]}, ".")},
		"another name":      {Name: "easel_guest_" + living, Value: strings.Join([]string{parts[0], parts[1], parts[2], "QW5u", parts[4]}, ".")},
		"another node's":    {Name: "easel_guest_" + living, Value: other},
		"another session's": {Name: "easel_guest_" + living, Value: s.gate.cookies.makeGuest(ended, made.ID, "Vi").Value},
		"as the owner's":    {Name: "easel_" + living, Value: good},
		"cut short":         {Name: "easel_guest_" + living, Value: good[:len(good)-2]},
	} {
		resp := s.ask("GET", "/s/"+living+"/status", "", func(r *http.Request) { r.AddCookie(&c) })
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}

// TestRevocationOutlivesADaemonThatWasKilled: a streamer that does not answer is told by the next daemon.
func TestRevocationOutlivesADaemonThatWasKilled(t *testing.T) {
	s := newSharing(t)
	made, secret := s.share(contract.RoleView, 0)
	guest := s.guest(secret, "Vi")
	s.mu.Lock()
	s.refuses = true
	s.mu.Unlock()
	want(t, s.ask("DELETE", "/s/"+living+"/shares/"+made.ID, "", s.in), 204)
	want(t, s.ask("GET", "/s/"+living+"/status", "", guest), 401) // noded lets nobody in at once
	if s.heard(made.ID) {
		t.Fatal("the streamer took it")
	}
	next := newNode(t, func(o *Options) { o.Guests, o.Memory = 3, s.memory })
	next.all = s.all
	if again := next.gate.cutGuests(t.Context()); again != cutAgain {
		t.Errorf("looks again after %v", again)
	}
	s.mu.Lock()
	s.refuses = false
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan error, 1)
	go func() { kept <- next.gate.KeepShares(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); !s.heard(made.ID); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the streamer was never told")
		}
	}
	cancel()
	if err := <-kept; err != nil {
		t.Error(err)
	}
}

func TestExpiredLinksCutTheirGuests(t *testing.T) {
	s := newSharing(t)
	made, secret := s.share(contract.RoleView, 3600)
	later, _ := s.share(contract.RoleView, 7200)
	guest := s.guest(secret, "Vi")
	if again := s.gate.cutGuests(t.Context()); again != cutEvery || s.heard(made.ID) {
		t.Fatalf("before its time: looks again after %v", again)
	}
	all, err := s.memory.shares(living)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all { // an hour passes
		one.Expires = one.Expires.Add(-time.Hour - time.Second)
		if err := s.memory.forgetShares([]share{one}); err != nil {
			t.Fatal(err)
		}
		if err := s.memory.addShare(one); err != nil {
			t.Fatal(err)
		}
	}
	want(t, s.ask("GET", "/s/"+living+"/status", "", guest), 401)
	s.gate.cutGuests(t.Context())
	if !s.heard(made.ID) || s.heard(later.ID) {
		t.Errorf("the streamer heard %v", s.revoked)
	}
	if all := s.list(); len(all.Shares) != 1 || all.Shares[0].ID != later.ID {
		t.Errorf("%+v", all)
	}
}

func TestLinksEndWithTheirSession(t *testing.T) {
	s := newSharing(t)
	_, secret := s.share(contract.RoleView, 0)
	guest := s.guest(secret, "Vi")
	s.become(session.Stopped)
	want(t, s.auth(living, `{"share":"`+secret+`"}`), 410)
	want(t, s.ask("POST", "/s/"+living+"/whep", "offer", guest, sdp), 410)
	want(t, s.ask("POST", "/s/"+living+"/shares", `{"role":"view"}`, s.in), 410)
	s.gate.cutGuests(t.Context())
	if all, err := s.memory.shares(""); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestLinksAreWrittenDownWithoutTheirSecrets(t *testing.T) {
	var log bytes.Buffer
	s := newSharing(t)
	s.gate.Log = slog.New(slog.NewTextHandler(&log, nil))
	made, secret := s.share(contract.RoleTakePart, 0)
	s.guest(secret, "Bo")
	want(t, s.auth(living, `{"share":"wrong"}`), 401)
	want(t, s.ask("DELETE", "/s/"+living+"/shares/"+made.ID, "", s.in), 204)
	for _, what := range []string{"was made", "was used", "was revoked", "a guest was refused"} {
		if !strings.Contains(log.String(), what) {
			t.Errorf("the log does not say that one %s: %s", what, &log)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the log has the secret")
	}
}

// TestGuestsTakeNoPlacesOfTheOwners: guests' requests are bounded apart.
func TestGuestsTakeNoPlacesOfTheOwners(t *testing.T) {
	s := newSharing(t)
	_, secret := s.share(contract.RoleView, 0)
	guest := s.guest(secret, "Vi")
	for range maxRequests {
		leave, ok := s.gate.asked.enter(living + "/guests")
		if !ok {
			t.Fatal("a place too few")
		}
		defer leave()
	}
	want(t, s.ask("GET", "/s/"+living+"/status", "", guest), 429)
	want(t, s.ask("GET", "/s/"+living+"/status", "", s.in), 200)
}

func FuzzGuestCookie(f *testing.F) {
	c := cookies{key: []byte(strings.Repeat("k", cookieKeySize))}
	f.Add(c.makeGuest(living, strings.Repeat("a", 16), "Bo").Value)
	f.Add("g1....")
	f.Fuzz(func(t *testing.T, value string) {
		who, ok := c.guest(living, value)
		if !ok {
			return
		}
		if _, elsewhere := c.guest(ended, value); elsewhere || !strings.HasPrefix(value, guestVersion+".") {
			t.Fatalf("%q lets %+v in too widely", value, who)
		}
	})
}

func FuzzShareBody(f *testing.F) {
	f.Add(`{"role":"view","name":"Bo","expires":60}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		now := time.Now()
		s, err := readShare(httptest.NewRecorder(), r, now)
		if err != nil {
			return
		}
		if !s.live(now) || (!s.Expires.IsZero() && s.Expires.After(now.Add(maxShareLife+time.Second))) || !contract.ValidName(s.Name) {
			t.Fatalf("%q makes %+v", body, s)
		}
	})
}

func FuzzDisplayName(f *testing.F) {
	f.Add("Żółć")
	f.Add("\u202eevil\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if name := displayName(text); !contract.ValidName(name) {
			t.Fatalf("%q is shown as %q", text, name)
		}
	})
}
