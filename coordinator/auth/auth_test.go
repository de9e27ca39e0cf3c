package auth

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/coordinator/state"
)

var cheap = Params{Time: 1, Memory: 64, Threads: 1}

const password = "correct horse battery"

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t testing.TB) (*Store, *clock) {
	t.Helper()
	c := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return openAt(t, filepath.Join(t.TempDir(), "coordinator.db"), Options{Params: cheap, Now: c.Now}), c
}

func openAt(t testing.TB, path string, o Options) *Store {
	t.Helper()
	db := must[*state.Store](t)(state.Open(path, 0))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return must[*Store](t)(New(db, o))
}

func add(t testing.TB, s *Store, name, role, password string) {
	t.Helper()
	if _, err := s.AddAccount(context.Background(), name, role, password); err != nil {
		t.Fatal(err)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestCheckPassword(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, password)
	add(t, s, "linkonly", RoleUser, "")
	got, err := s.CheckPassword(t.Context(), " Ada ", password, "192.0.2.1")
	if err != nil || got.Name != "ada" || got.Role != RoleUser {
		t.Fatalf("the right password gave %+v, %v", got, err)
	}
	for name, try := range map[string][2]string{
		"wrong password":      {"ada", "correct horse batterx"},
		"empty password":      {"ada", ""},
		"unknown user":        {"eve", password},
		"no password set":     {"linkonly", ""},
		"odd name":            {"../ada", password},
		"overlong password":   {"ada", strings.Repeat("x", 1<<20)},
		"password and suffix": {"ada", password + "\x00"},
	} {
		if _, err := s.CheckPassword(t.Context(), try[0], try[1], name); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: got %v, want ErrWrong alike for all", name, err)
		}
	}
}

func TestUnknownUsersCostAsMuchAsKnownOnes(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, password)
	for range 2 { // both must wait for a place to hash: that is the costly part
		s.hasher.gate <- struct{}{}
	}
	for _, name := range []string{"ada", "nobody"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := s.CheckPassword(ctx, name, password, "192.0.2.1")
		cancel()
		if !errors.Is(err, ErrBusy) {
			t.Errorf("%s: got %v without hashing", name, err)
		}
	}
}

func TestHashingIsBounded(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, password)
	if got := cap(s.hasher.gate); got != 2 {
		t.Errorf("%d hashes of 64 MiB may run at once, want 2", got)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.CheckPassword(t.Context(), "ada", password, "192.0.2.1"); err != nil {
				var limited *RateLimited
				if !errors.As(err, &limited) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestFailuresAreRateLimited(t *testing.T) {
	s, clock := open(t)
	add(t, s, "ada", RoleUser, password)
	for i := range perPair.burst {
		if _, err := s.CheckPassword(t.Context(), "ada", "wrong password", "192.0.2.1"); !errors.Is(err, ErrWrong) {
			t.Fatalf("failure %d: %v", i, err)
		}
	}
	var limited *RateLimited
	if _, err := s.CheckPassword(t.Context(), "ada", password, "192.0.2.1"); !errors.As(err, &limited) {
		t.Fatalf("after %d failures even the right password must wait, got %v", perPair.burst, err)
	}
	if limited.Seconds() < 1 || limited.Seconds() > int(perPair.every/time.Second) {
		t.Errorf("Retry-After %d is not within one refill", limited.Seconds())
	}
	if _, err := s.CheckPassword(t.Context(), "ada", password, "192.0.2.2"); err != nil {
		t.Errorf("the owner at another address is locked out: %v", err)
	}
	clock.advance(limited.After)
	if _, err := s.CheckPassword(t.Context(), "ada", password, "192.0.2.1"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

func TestGuessingFromManyAddressesIsLimitedPerAccount(t *testing.T) {
	s, _ := open(t)
	var limited *RateLimited
	for i := range perAccount.burst + 1 {
		_, err := s.CheckPassword(t.Context(), "ada", "wrong password", "10.0.0."+string(rune('a'+i)))
		if got := errors.As(err, &limited); got != (i == perAccount.burst) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
}

func TestTryingManyAccountsIsLimitedPerAddress(t *testing.T) {
	s, _ := open(t)
	var limited *RateLimited
	for i := range perAddress.burst + 1 {
		// one host's IPv6 addresses count as one
		_, err := s.CheckPassword(t.Context(), "user"+string(rune('a'+i%26))+string(rune('a'+i/26)), "wrong password", "2001:db8::"+string(rune('a'+i%6)))
		if got := errors.As(err, &limited); got != (i == perAddress.burst) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
}

func TestSuccessesAreNotLimited(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, password)
	for range 3 * perPair.burst {
		if _, err := s.CheckPassword(t.Context(), "ada", password, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l, now := newLimiter(), time.Unix(0, 0)
	for i := range 2 * maxBuckets {
		_ = l.attempt("user"+string(rune(0x4e00+i)), "192.0.2.1"+string(rune(0x4e00+i)), now)
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d buckets, the limit is %d", len(l.buckets), maxBuckets)
	}
}

func TestPasswordRules(t *testing.T) {
	s, _ := open(t)
	for name, bad := range map[string]string{
		"short": "ninechars", "huge": strings.Repeat("x", maxPassword+1), "not text": strings.Repeat("\xff", 12),
	} {
		if _, err := s.AddAccount(t.Context(), "ada", RoleUser, bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s password: %v", name, err)
		}
	}
	add(t, s, "ada", RoleUser, "паролик-界界")
}

func TestAccountNames(t *testing.T) {
	s, _ := open(t)
	for _, bad := range []string{"", "Ada", "a b", ".ada", "-ada", "a/b", strings.Repeat("a", 65), "ada\n"} {
		if _, err := s.AddAccount(t.Context(), bad, RoleUser, ""); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := s.AddAccount(t.Context(), "ada", "root", ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("role root: %v", err)
	}
	add(t, s, "ada", RoleUser, "")
	if _, err := s.AddAccount(t.Context(), "ada", RoleAdmin, ""); !errors.Is(err, ErrExists) {
		t.Errorf("the same name again: %v", err)
	}
}

func TestWeakerHashIsReplacedAtSignIn(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, password)
	s = must[*Store](t)(New(s.db, Options{Params: Params{Time: 2, Memory: 128, Threads: 1}}))
	for range 2 {
		if _, err := s.CheckPassword(t.Context(), "ada", password, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	rec := must[accountRecord](t)(s.accountRecord("ada"))
	if !strings.Contains(rec.Hash, "m=128,t=2,p=1") {
		t.Errorf("the hash is still %.40s…", rec.Hash)
	}
}

func TestHashStringIsThePHCFormat(t *testing.T) {
	h := must[*hasher](t)(newHasher(Recommended, 1))
	got := must[string](t)(h.hash(t.Context(), password))
	if !strings.HasPrefix(got, "$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Errorf("got %s", got)
	}
	ok, stale, err := h.matches(t.Context(), got, password)
	if !ok || stale || err != nil {
		t.Errorf("its own hash: ok %v, stale %v, %v", ok, stale, err)
	}
}

func TestBrowserSignIn(t *testing.T) {
	s, clock := open(t)
	add(t, s, "ada", RoleAdmin, "")
	value, expires, err := s.SignInBrowser(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	if got := must[Account](t)(s.Browser(t.Context(), value)); got.Name != "ada" || got.Role != RoleAdmin {
		t.Errorf("the cookie stands for %+v", got)
	}
	clock.advance(expires.Sub(clock.Now()))
	if _, err := s.Browser(t.Context(), value); !errors.Is(err, ErrBadToken) {
		t.Errorf("an expired cookie: %v", err)
	}
	value, _, _ = s.SignInBrowser(t.Context(), "ada")
	if err := s.SignOutBrowser(t.Context(), value); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{value, "", "x", strings.Repeat("x", 10000)} {
		if _, err := s.Browser(t.Context(), bad); !errors.Is(err, ErrBadToken) {
			t.Errorf("cookie %.20q: %v", bad, err)
		}
	}
	if _, _, err := s.SignInBrowser(t.Context(), "nobody"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("sign in nobody: %v", err)
	}
}

func TestPasswordChangeSignsOthersOut(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, password)
	add(t, s, "bob", RoleUser, password)
	mine, _, _ := s.SignInBrowser(t.Context(), "ada")
	other, _, _ := s.SignInBrowser(t.Context(), "ada")
	bobs, _, _ := s.SignInBrowser(t.Context(), "bob")
	link := must[string](t)(s.NewLink(t.Context(), "ada"))
	if err := s.SetPassword(t.Context(), "ada", "another password", mine); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]error{mine: nil, bobs: nil, other: ErrBadToken} {
		if _, err := s.Browser(t.Context(), value); !errors.Is(err, want) {
			t.Errorf("a cookie gives %v, want %v", err, want)
		}
	}
	if _, err := s.UseLink(t.Context(), link); !errors.Is(err, ErrLink) {
		t.Errorf("a link from before the change: %v", err)
	}
	if err := s.SetPassword(t.Context(), "nobody", password, ""); !errors.Is(err, ErrNoAccount) {
		t.Errorf("nobody's password: %v", err)
	}
}

func TestRemovedAccountIsOutAtOnce(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, password)
	cookie, _, _ := s.SignInBrowser(t.Context(), "ada")
	token, _, err := s.NewToken(t.Context(), "ada", "laptop")
	if err != nil {
		t.Fatal(err)
	}
	link := must[string](t)(s.NewLink(t.Context(), "ada"))
	if err := s.RemoveAccount(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	add(t, s, "ada", RoleAdmin, "") // somebody else with the same name must not inherit
	if _, err := s.Browser(t.Context(), cookie); !errors.Is(err, ErrBadToken) {
		t.Errorf("cookie: %v", err)
	}
	if _, err := s.Bearer(t.Context(), token); !errors.Is(err, ErrBadToken) {
		t.Errorf("token: %v", err)
	}
	if _, err := s.UseLink(t.Context(), link); !errors.Is(err, ErrLink) {
		t.Errorf("link: %v", err)
	}
	if err := s.RemoveAccount(t.Context(), "ada"); !errors.Is(err, ErrLastAdmin) {
		t.Errorf("the last administrator: %v", err)
	}
	if err := s.RemoveAccount(t.Context(), "nobody"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("nobody: %v", err)
	}
}

func TestTokens(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, "")
	token, info, err := s.NewToken(t.Context(), "ada", "laptop")
	if err != nil {
		t.Fatal(err)
	}
	if got := must[Account](t)(s.Bearer(t.Context(), token)); got.Name != "ada" {
		t.Errorf("the token stands for %+v", got)
	}
	if _, err := s.Browser(t.Context(), token); !errors.Is(err, ErrBadToken) {
		t.Errorf("an API token works as a cookie: %v", err)
	}
	list := must[[]Token](t)(s.Tokens(t.Context(), "ada"))
	if len(list) != 1 || list[0] != info {
		t.Errorf("listed %+v, want %+v", list, info)
	}
	if err := s.RevokeToken(t.Context(), info.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bearer(t.Context(), token); !errors.Is(err, ErrBadToken) {
		t.Errorf("a revoked token: %v", err)
	}
	if err := s.RevokeToken(t.Context(), info.ID); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoked twice: %v", err)
	}
	if _, _, err := s.NewToken(t.Context(), "nobody", ""); !errors.Is(err, ErrNoAccount) {
		t.Errorf("nobody's token: %v", err)
	}
}

func TestLinksWorkOnce(t *testing.T) {
	s, clock := open(t)
	code, admin, err := s.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if admin.Name != FirstAdmin || admin.Role != RoleAdmin {
		t.Errorf("the first link is for %+v", admin)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	worked := 0
	for range 8 {
		wg.Go(func() {
			if a, err := s.UseLink(t.Context(), code); err == nil && a.Name == FirstAdmin {
				mu.Lock()
				worked++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if worked != 1 {
		t.Errorf("the link worked %d times", worked)
	}
	late := must[string](t)(s.NewLink(t.Context(), FirstAdmin))
	clock.advance(LinkLifetime)
	for _, bad := range []string{late, "", "x", strings.Repeat("x", 10000)} {
		if _, err := s.UseLink(t.Context(), bad); !errors.Is(err, ErrLink) {
			t.Errorf("code %.20q: %v", bad, err)
		}
	}
	if _, again, err := s.FirstLink(t.Context()); err != nil || again.Name != FirstAdmin {
		t.Errorf("a second FirstLink: %+v, %v", again, err)
	}
	if all := must[[]Account](t)(s.Accounts(t.Context())); len(all) != 1 {
		t.Errorf("two first links made %d accounts", len(all))
	}
}

func TestFirstLinkNeedsAnAdministrator(t *testing.T) {
	s, _ := open(t)
	add(t, s, "ada", RoleUser, "")
	if _, _, err := s.FirstLink(t.Context()); err == nil || !strings.Contains(err.Error(), "coordinator user add") {
		t.Errorf("got %v, want what to do", err)
	}
	add(t, s, "zoe", RoleAdmin, "")
	if _, a, err := s.FirstLink(t.Context()); err != nil || a.Name != "zoe" {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestSweepRemovesOnlyWhatExpired(t *testing.T) {
	s, clock := open(t)
	add(t, s, "ada", RoleUser, "")
	_, _, _ = s.SignInBrowser(t.Context(), "ada")
	_ = must[string](t)(s.NewLink(t.Context(), "ada"))
	token, _, _ := s.NewToken(t.Context(), "ada", "")
	clock.advance(BrowserLifetime - time.Minute)
	fresh, _, _ := s.SignInBrowser(t.Context(), "ada")
	clock.advance(time.Minute)
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := map[string]int{}
	_ = s.db.View(func(tx state.Tx) error {
		for _, b := range []string{bucketBrowsers, bucketLinks, bucketTokens} {
			_ = tx.Each(b, func(string, []byte) error { left[b]++; return nil })
		}
		return nil
	})
	if left["browsers"] != 1 || left["links"] != 0 || left["tokens"] != 1 {
		t.Errorf("left %v", left)
	}
	if _, err := s.Browser(t.Context(), fresh); err != nil {
		t.Error(err)
	}
	if _, err := s.Bearer(t.Context(), token); err != nil {
		t.Error(err)
	}
}

func TestFileHoldsNoSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coordinator.db")
	s := openAt(t, path, Options{Params: cheap})
	add(t, s, "ada", RoleUser, password)
	cookie, _, _ := s.SignInBrowser(t.Context(), "ada")
	token, _, _ := s.NewToken(t.Context(), "ada", "")
	link := must[string](t)(s.NewLink(t.Context(), "ada"))
	raw := string(must[[]byte](t)(os.ReadFile(path)))
	for name, secret := range map[string]string{"password": password, "cookie": cookie, "token": token, "link": link} {
		if strings.Contains(raw, secret) {
			t.Errorf("the file holds the %s itself", name)
		}
	}
	if info, _ := os.Stat(path); info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

// The database of the first format, made by the code of its time, must open with nothing lost.
func TestDatabaseOfTheFirstFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coordinator.db")
	if err := os.WriteFile(path, must[[]byte](t)(os.ReadFile("testdata/coordinator-v1.db")), 0o600); err != nil {
		t.Fatal(err)
	}
	written := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := openAt(t, path, Options{Params: cheap, Now: func() time.Time { return written.Add(time.Minute) }})
	want := []Account{
		{Name: "ada", Role: RoleUser, Created: written, HasPassword: true},
		{Name: "linkonly", Role: RoleUser, Created: written},
		{Name: "root", Role: RoleAdmin, Created: written, HasPassword: true},
	}
	if got := must[[]Account](t)(s.Accounts(t.Context())); !slices.Equal(got, want) {
		t.Errorf("accounts %+v, want %+v", got, want)
	}
	for _, name := range []string{"ada", "root"} {
		if _, err := s.CheckPassword(t.Context(), name, password, "192.0.2.1"); err != nil {
			t.Errorf("the password of %s: %v", name, err)
		}
	}
	if a, err := s.Browser(t.Context(), "KMXC0LKQAIbH6i-a5Kvtt3AsnD2LRvC8FfykL9nzgWk"); err != nil || a.Name != "ada" {
		t.Errorf("the cookie: %+v, %v", a, err)
	}
	if a, err := s.Bearer(t.Context(), "easel_dLE5MYD1QVuj0lDEkZubiWj-9UBQClpn-YqCUQ3g4jU"); err != nil || a.Name != "ada" {
		t.Errorf("the API token: %+v, %v", a, err)
	}
	if list := must[[]Token](t)(s.Tokens(t.Context(), "ada")); len(list) != 1 || list[0].ID != "i2zqq5wvs7" || list[0].Name != "laptop" {
		t.Errorf("API tokens %+v", list)
	}
	if a, err := s.UseLink(t.Context(), "wh08clubyH8ToIEE0vvQMRN06g-3hA1Q4emIj6tkeJA"); err != nil || a.Name != "linkonly" {
		t.Errorf("the link: %+v, %v", a, err)
	}
}

func FuzzDecodeHash(f *testing.F) {
	f.Add(encodeHash(cheap, make([]byte, 16), make([]byte, 32)))
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, salt, sum, err := decodeHash(s)
		if err == nil && (p.Memory > maxMemory || p.Time > 64 || p.Threads == 0 || len(salt) == 0 || len(sum) == 0) {
			t.Errorf("accepted %+v from %q", p, s)
		}
	})
}
