package reload

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

type port int

func (p *port) UnmarshalText([]byte) error { return nil }

type config struct {
	Name  string   `yaml:"name"`
	Join  []string `yaml:"join"`
	Inner struct {
		Level string        `yaml:"level"`
		Grace time.Duration `yaml:"grace"`
		Port  port          `yaml:"port"`
	} `yaml:"inner"`
}

var fields = Fields{"name": Restart, "join": Restart, "inner.level": Live, "inner.grace": Live, "inner.port": Restart}

// daemon is one that the test configures.
type daemon struct {
	mu      sync.Mutex
	file    config
	fault   error
	refuse  error
	applied []config
	heard   chan struct{}
	*Reloader[config]
}

func newDaemon() *daemon {
	d := &daemon{heard: make(chan struct{}, 10)}
	d.Reloader = New(config{Name: "a"}, fields, d.read, d.take, slog.New(slog.DiscardHandler))
	d.file.Name = "a"
	return d
}

func (d *daemon) read() (config, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file, d.fault
}

func (d *daemon) take(c config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return d.refuse
	}
	d.applied = append(d.applied, c)
	d.heard <- struct{}{}
	return nil
}

func TestReloadTakesUpWhatItCanAndNamesTheRest(t *testing.T) {
	d := newDaemon()
	d.file.Inner.Level, d.file.Inner.Port, d.file.Join = "debug", 7, []string{"x"}
	for range 2 { // what needs a restart is said until there is one; what was taken up is news once
		r, err := d.Reload()
		if err != nil || !slices.Equal(r.Restart, []string{"inner.port", "join"}) {
			t.Fatalf("%+v, %v", r, err)
		}
		if first := len(d.applied) == 1; first != slices.Equal(r.Applied, []string{"inner.level"}) || d.applied[0].Inner.Level != "debug" {
			t.Fatalf("%+v after %d", r, len(d.applied))
		}
	}
	d.file = config{Name: "a"}
	r, err := d.Reload()
	if err != nil || len(r.Restart) != 0 || !slices.Equal(r.Applied, []string{"inner.level"}) {
		t.Fatalf("back as it was: %+v, %v", r, err)
	}
}

func TestFaultChangesNothing(t *testing.T) {
	d := newDaemon()
	d.file.Inner.Level, d.fault = "debug", errors.New("line 3: what is this?")
	if _, err := d.Reload(); err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "stays as it is") || len(d.applied) > 0 {
		t.Fatalf("%v, applied %+v", err, d.applied)
	}
	d.fault, d.refuse = nil, errors.New("no such certificate")
	if _, err := d.Reload(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Fatal(err)
	}
	d.refuse = nil
	if r, err := d.Reload(); err != nil || !slices.Equal(r.Applied, []string{"inner.level"}) {
		t.Fatalf("after the mend: %+v, %v", r, err)
	}
}

func TestOperatorIsAnswered(t *testing.T) {
	d := newDaemon()
	server := httptest.NewServer(d.Handler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}, DisableKeepAlives: true}}
	d.file.Inner.Grace, d.file.Name = time.Minute, "b"
	r, err := Ask(t.Context(), client)
	if err != nil || r.String() != "in force now: inner.grace; these need a restart: name" {
		t.Fatalf("%q, %v", r, err)
	}
	d.fault = errors.New("no YAML")
	if _, err := Ask(t.Context(), client); err == nil || !strings.Contains(err.Error(), "no YAML") {
		t.Fatal(err)
	}
	resp, err := http.Get(server.URL + Path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", resp.StatusCode)
	}
}

func TestSignalReloads(t *testing.T) {
	d := newDaemon()
	ctx, cancel := context.WithCancel(t.Context())
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	go func() { defer close(done); d.OnSignal(ctx, signals) }()
	signals <- syscall.SIGHUP
	select {
	case <-d.heard:
	case <-time.After(10 * time.Second):
		t.Error("nothing was reloaded")
	}
	cancel()
	<-done
}

func TestTableMustNameEveryFieldAndNoOther(t *testing.T) {
	if err := Check[config](fields); err != nil {
		t.Fatal(err)
	}
	err := Check[config](Fields{"name": Live, "join": Live, "inner.level": Live, "inner.grace": Live, "outer": Live})
	if err == nil || !strings.Contains(err.Error(), "inner.port is not in the table") || !strings.Contains(err.Error(), "outer is no field") {
		t.Fatal(err)
	}
}
