// Package failpoint names places in a program where a test may kill it, fail it or hold it, so that every
// recorded step of a session's life can be interrupted and its recovery proven with the real binary.
//
// The points of a program form one Set, made from one list of names. A point that is hit without being on
// the list panics, so a new step cannot dodge the test that walks the list. Points do nothing unless
// armed, which only a test or the environment at process start does.
package failpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Environment is the variable that arms points at process start: a comma-separated list of terms of the
// form name=action, where action is one of
//
//	kill        the process kills itself with SIGKILL
//	error       the step fails; error(text) with that text
//	delay(ms)   the step is held so many milliseconds
//	pause       the step is held until its context ends
//
// and N*action acts only at the first N hits.
const Environment = "EASEL_FAILPOINTS"

// ErrInjected is in the chain of every error that an armed point returns.
var ErrInjected = errors.New("failpoint")

// Set is the points of one program. A nil *Set has no points and its Hit does nothing.
type Set struct {
	names []string
	kill  func()

	mu    sync.Mutex
	armed map[string]*action
}

type action struct {
	verb  string // kill, error, delay or pause
	text  string
	delay time.Duration
	left  int // hits left to act on; negative: all of them
}

// New returns a set of points, none armed. It panics on a name given twice: that is a bug in the list.
func New(names []string) *Set {
	sorted := slices.Sorted(slices.Values(names))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			panic("failpoint: " + sorted[i] + " is listed twice")
		}
	}
	return &Set{names: slices.Clone(names), kill: killSelf, armed: map[string]*action{}}
}

// Names lists the points in the order they were given.
func (s *Set) Names() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.names)
}

// OnKill replaces what kill does; for tests that run the program within themselves.
func (s *Set) OnKill(kill func()) { s.kill = kill }

// Arm sets the actions of spec (see Environment), on top of those set before. The action "off" disarms.
func (s *Set) Arm(spec string) error {
	terms := map[string]*action{}
	for term := range strings.SplitSeq(spec, ",") {
		term = strings.TrimSpace(term)
		if term == "" {
			continue
		}
		name, text, ok := strings.Cut(term, "=")
		if !ok {
			return fmt.Errorf("failpoint %q: want name=action", term)
		}
		if !slices.Contains(s.names, name) {
			return fmt.Errorf("failpoint %q: no point has this name", name)
		}
		a, err := parseAction(text)
		if err != nil {
			return fmt.Errorf("failpoint %s: %w", name, err)
		}
		terms[name] = a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, a := range terms {
		if a == nil {
			delete(s.armed, name)
			continue
		}
		s.armed[name] = a
	}
	return nil
}

// Hit marks the place named name. It returns nil unless the point is armed to fail, or ctx ends while it
// holds.
func (s *Set) Hit(ctx context.Context, name string) error {
	if s == nil {
		return nil
	}
	if !slices.Contains(s.names, name) {
		panic("failpoint: " + name + " is hit but not listed")
	}
	a := s.take(name)
	if a == nil {
		return nil
	}
	switch a.verb {
	case "kill":
		s.kill()
		return nil
	case "error":
		return fmt.Errorf("%w %s: %s", ErrInjected, name, a.text)
	case "pause":
		<-ctx.Done()
		return fmt.Errorf("%w %s: %w", ErrInjected, name, context.Cause(ctx))
	}
	timer := time.NewTimer(a.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w %s: %w", ErrInjected, name, context.Cause(ctx))
	}
}

// take returns the action to do at this hit, or nil.
func (s *Set) take(name string) *action {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.armed[name]
	if a == nil || a.left == 0 {
		return nil
	}
	if a.left > 0 {
		a.left--
	}
	return a
}

func parseAction(text string) (*action, error) {
	a := &action{left: -1}
	if count, rest, ok := strings.Cut(text, "*"); ok {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("count %q: want a number from 1", count)
		}
		a.left, text = n, rest
	}
	verb, argument, has := strings.Cut(text, "(")
	if has {
		var closed bool
		if argument, closed = strings.CutSuffix(argument, ")"); !closed {
			return nil, fmt.Errorf("action %q: the bracket is not closed", text)
		}
	}
	a.verb = verb
	switch {
	case verb == "off" && !has:
		return nil, nil
	case (verb == "kill" || verb == "pause") && !has:
	case verb == "error":
		a.text = argument
		if !has {
			a.text = "injected"
		}
	case verb == "delay" && has:
		ms, err := strconv.Atoi(argument)
		if err != nil || ms < 0 || ms > 600_000 {
			return nil, fmt.Errorf("delay %q: want milliseconds, 0 to 600000", argument)
		}
		a.delay = time.Duration(ms) * time.Millisecond
	default:
		return nil, fmt.Errorf("action %q: use kill, error, error(text), delay(ms), pause or off", text)
	}
	return a, nil
}

// killSelf ends the process as a power cut would; no deferred call runs.
func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way: nothing after the point may run
}
