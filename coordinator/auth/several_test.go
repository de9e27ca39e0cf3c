package auth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"easel/coordinator/state"
	"easel/coordinator/state/statetest"
)

// several is the accounts on three coordinators that share one state.
func several(t testing.TB) ([]*statetest.Coordinator, []*Store) {
	t.Helper()
	all := statetest.Start(t, 3)
	var stores []*Store
	for _, c := range all {
		stores = append(stores, must[*Store](t)(New(c.Store, Options{Params: cheap})))
	}
	return all, stores
}

func TestSignInSurvivesASwitchOfCoordinator(t *testing.T) {
	_, stores := several(t)
	add(t, stores[0], "ada", RoleUser, password)
	for i, at := range stores {
		// Every round the next request goes to another coordinator, at once.
		next := stores[(i+1)%3]
		if _, err := next.CheckPassword(t.Context(), "ada", password, "192.0.2.1"); err != nil {
			t.Fatalf("the password elsewhere: %v", err)
		}
		value, _, err := at.SignInBrowser(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := next.Browser(t.Context(), value); err != nil {
			t.Errorf("the cookie elsewhere: %v", err)
		}
		token, info, err := at.NewToken(t.Context(), "ada", "ci")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := next.Bearer(t.Context(), token); err != nil {
			t.Errorf("the API token elsewhere: %v", err)
		}
		if err := next.RevokeToken(t.Context(), info.ID); err != nil {
			t.Errorf("revoke it elsewhere: %v", err)
		}
	}
	if _, err := stores[2].AddAccount(t.Context(), "ada", RoleUser, ""); !errors.Is(err, ErrExists) {
		t.Errorf("the same account elsewhere: %v", err)
	}
}

func TestLinkWorksOnceThroughAllCoordinators(t *testing.T) {
	_, stores := several(t)
	for range 5 {
		code, _, err := stores[0].FirstLink(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var worked atomic.Int64
		var wg sync.WaitGroup
		for _, s := range stores {
			for range 3 {
				wg.Go(func() {
					switch _, err := s.UseLink(t.Context(), code); {
					case err == nil:
						worked.Add(1)
					case !errors.Is(err, ErrLink):
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if got := worked.Load(); got != 1 {
			t.Errorf("the link worked %d times", got)
		}
	}
	if all := must[[]Account](t)(stores[1].Accounts(t.Context())); len(all) != 1 {
		t.Errorf("first links made %d accounts", len(all))
	}
}

// Whoever invents cookies gets every request refused, and the leader is asked far less often than that.
func TestInventedCookiesDoNotStormTheLeader(t *testing.T) {
	all, stores := several(t)
	follower := 0
	for all[follower].Leader() {
		follower++
	}
	begun := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				if _, err := stores[follower].Browser(t.Context(), must[string](t)(newSecret())); !errors.Is(err, ErrBadToken) {
					t.Errorf("an invented cookie: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if asked := all[follower].Barriers(); asked > 100+uint64(500*time.Since(begun).Seconds()) {
		t.Errorf("1000 invented cookies asked the leader %d times in %v", asked, time.Since(begun))
	}
}

func TestWithoutAMajoritySignedInPeopleStaySignedIn(t *testing.T) {
	all, stores := several(t)
	add(t, stores[0], "ada", RoleUser, password)
	value, _, err := stores[0].SignInBrowser(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stores[2].Browser(t.Context(), value); err != nil {
		t.Fatal(err)
	}
	all[0].End()
	all[1].End()
	if a, err := stores[2].Browser(t.Context(), value); err != nil || a.Name != "ada" {
		t.Errorf("the cookie: %+v, %v", a, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, _, err := stores[2].SignInBrowser(ctx, "ada"); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("a sign-in: %v", err)
	}
	if _, err := stores[2].Browser(ctx, "unknown"); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("a cookie that may be known elsewhere: %v", err)
	}
}
