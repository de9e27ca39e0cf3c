package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"easel/coordinator/api"
)

// mendLimit is how long an artist's page would try again.
const mendLimit = 20 * time.Second

// through asks the coordinators one after the other, as a load balancer does, until one answers or the time is over. A refusal that
// has its reason in the request (4xx) is an answer.
func (c *Cluster) through(ctx context.Context, limit time.Duration, ask func(context.Context, *Coordinator) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for i := 0; ; i++ {
		one, done := context.WithTimeout(ctx, 5*time.Second)
		err := ask(one, c.Coordinators[i%len(c.Coordinators)])
		done()
		if status := statusOf(err); err == nil || status >= 400 && status < 500 && status != http.StatusTooManyRequests {
			return err
		}
		last = errors.Join(err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("no coordinator answered within %s: %w", limit, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Any coordinator answers for any session, whoever made it.
func TestAnyCoordinatorAnswers(t *testing.T) {
	c := get(t)
	n, s, err := c.Session(t.Context(), c.Coordinators[1], user(t), "a")
	must(t, err)
	for _, k := range c.Coordinators {
		told, err := c.Get(t.Context(), k, user(t), s.GetId())
		must(t, err)
		if told.Node != n.name || told.State != "ready" {
			t.Errorf("%s says of it: %+v", k.name, told)
		}
		again, err := c.Create(t.Context(), k, user(t), "a")
		must(t, err)
		if again.ID != s.GetId() {
			t.Errorf("asked for the same key, %s gives %s, not %s", k.name, again.ID, s.GetId())
		}
	}
	must(t, c.End(t.Context(), c.Coordinators[2], user(t), s.GetId()))
}

// One user who asks twice at once, through all coordinators, gets one session.
func TestAskingAtOnceGivesOneSession(t *testing.T) {
	c := get(t)
	for round := range 4 {
		key := fmt.Sprint(round)
		ids := make([]string, len(c.Coordinators))
		var wg sync.WaitGroup
		for i := range c.Coordinators {
			wg.Go(func() {
				err := c.through(t.Context(), mendLimit, func(ctx context.Context, _ *Coordinator) error {
					s, err := c.Create(ctx, c.Coordinators[i], user(t), key)
					ids[i] = s.ID
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 1 {
			t.Errorf("three coordinators, asked at once, gave %v", ids)
		}
		must(t, c.CheckTwins(t.Context()))
	}
}

// More artists than there is room for, all at once through all coordinators: every place is given, none twice, and who gets none is
// told so in words.
func TestHerd(t *testing.T) {
	c := get(t)
	const artists = 3*members*maxSessions/2 + 2
	for i := range artists {
		_, err := c.token(t.Context(), fmt.Sprintf("herd%d", i)) // not what is tested, and slow
		must(t, err)
	}
	made := make([]api.Session, artists)
	errs := make([]error, artists)
	var wg sync.WaitGroup
	for i := range artists {
		wg.Go(func() {
			made[i], errs[i] = c.Create(t.Context(), c.Coordinators[i%len(c.Coordinators)], fmt.Sprintf("herd%d", i), "h")
		})
	}
	wg.Wait()
	got := 0
	for i, err := range errs {
		if err == nil {
			got++
			continue
		}
		if statusOf(err) != http.StatusServiceUnavailable {
			t.Errorf("herd%d: %v", i, err)
		}
	}
	if got != members*maxSessions {
		t.Errorf("%d of %d artists have a session; there is room for %d", got, artists, members*maxSessions)
	}
	for _, s := range made {
		if s.ID != "" {
			_, err := c.Node(s.Node).Await(t.Context(), s.ID, 90*time.Second, settled)
			must(t, err)
		}
	}
	must(t, c.CheckTwins(t.Context()))
}

// kill -9 of any coordinator touches no session, and what artists ask meanwhile is answered when they ask again.
func TestCoordinatorKilled(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	for i, k := range c.Coordinators {
		t.Run(k.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			var asking sync.WaitGroup
			for j := range 3 {
				asking.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						if err := c.visit(t.Context(), fmt.Sprintf("k%d-%d-%d", i, j, n)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			select {
			case <-time.After(700 * time.Millisecond): // requests are under way
			case <-t.Context().Done():
			}
			must(t, k.Kill())
			must(t, v.Streams(t.Context(), 5*time.Second))
			stop()
			asking.Wait()
			must(t, k.Start(t.Context()))
			must(t, c.AwaitView(t.Context(), members))
			must(t, c.CheckTwins(t.Context()))
			untouched(t, n, s)
		})
	}
}

// visit is an artist's visit by way of any coordinator: a session made, seen and ended, each asked again until it is answered.
func (c *Cluster) visit(ctx context.Context, key string) error {
	const user = "visitor"
	var s api.Session
	if err := c.through(ctx, mendLimit, func(ctx context.Context, k *Coordinator) (err error) {
		s, err = c.Create(ctx, k, user, key)
		return err
	}); err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	if err := c.through(ctx, mendLimit, func(ctx context.Context, k *Coordinator) error {
		told, err := c.Get(ctx, k, user, s.ID)
		if err == nil && told.ID != s.ID {
			err = fmt.Errorf("asked for %s, told of %s", s.ID, told.ID)
		}
		return err
	}); err != nil {
		return fmt.Errorf("look at the session: %w", err)
	}
	if err := c.through(ctx, mendLimit, func(ctx context.Context, k *Coordinator) error { return c.End(ctx, k, user, s.ID) }); err != nil {
		return fmt.Errorf("end the session: %w", err)
	}
	return nil
}

// A coordinator that is cut off from the other two refuses what it cannot promise, and says so; the other two go on. Afterwards all say
// the same.
func TestCoordinatorsParted(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	for _, k := range c.Coordinators {
		t.Run(k.name, func(t *testing.T) {
			var rest []*Coordinator
			for _, other := range c.Coordinators {
				if other != k {
					rest = append(rest, other)
				}
			}
			must(t, k.at.filter(t.Context(), rules{cut: []string{rest[0].at.ip, rest[1].at.ip}}))
			must(t, eventually(t.Context(), mendLimit, "the two make a session", func() error {
				_, err := c.Create(t.Context(), rest[0], user(t), "with-"+k.name)
				return err
			}))
			alone, err := c.Create(t.Context(), k, user(t), "alone-"+k.name)
			if err == nil {
				t.Errorf("%s, cut off from the others, made the session %s", k.name, alone.ID)
			} else if statusOf(err) != http.StatusServiceUnavailable {
				t.Errorf("%s, cut off from the others, refuses without words: %v", k.name, err)
			} else {
				t.Logf("%s says: %v", k.name, err)
			}
			must(t, k.at.filter(t.Context(), rules{}))
			must(t, eventually(t.Context(), mendLimit, k.name+" makes a session again", func() error {
				_, err := c.Create(t.Context(), k, user(t), "with-"+k.name)
				return err
			}))
			must(t, c.CheckTwins(t.Context()))
			must(t, v.Streams(t.Context(), 5*time.Second))
			untouched(t, n, s)
			must(t, c.endOthers(t.Context(), s.GetId()))
		})
	}
}
