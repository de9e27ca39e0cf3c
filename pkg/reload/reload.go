// Package reload takes up a changed configuration file in a running daemon: what can change does, for the rest it says
// that a restart is needed, and a file with a fault changes nothing.
package reload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"easel/pkg/problem"
)

// Fields says for every field of a configuration, by its YAML path, whether a running daemon takes up a change.
type Fields map[string]bool

// Kinds of fields.
const (
	Live    = true
	Restart = false
)

// Report is what a reload found changed.
type Report struct {
	Applied []string `json:"applied"` // in force now
	Restart []string `json:"restart"` // as they were, until the daemon is restarted
}

func (r Report) String() string {
	text := "nothing changed"
	if len(r.Applied) > 0 {
		text = fmt.Sprintf("in force now: %s", list(r.Applied))
	}
	if len(r.Restart) > 0 {
		if len(r.Applied) == 0 {
			text = "nothing that can change did"
		}
		text += fmt.Sprintf("; these need a restart: %s", list(r.Restart))
	}
	return text
}

func list(fields []string) string {
	out := ""
	for i, f := range fields {
		if i > 0 {
			out += ", "
		}
		out += f
	}
	return out
}

// Reloader reloads one daemon's configuration. Its methods are safe for concurrent use.
type Reloader[C any] struct {
	fields Fields
	load   func() (C, error)
	apply  func(C) error
	log    *slog.Logger

	mu      sync.Mutex
	started C // what the daemon was started with
	current C // what was read last
}

// New returns the Reloader of a daemon that was started with a configuration. load reads it anew and checks it; apply
// brings the live fields into force, all of them or, with an error, none.
func New[C any](started C, fields Fields, load func() (C, error), apply func(C) error, log *slog.Logger) *Reloader[C] {
	return &Reloader[C]{fields: fields, load: load, apply: apply, log: log, started: started, current: started}
}

// Reload reads the configuration anew and takes up what it can.
func (r *Reloader[C]) Reload() (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	report, err := r.reload()
	if err != nil {
		r.log.Error("the configuration was not reloaded: all stays as it is", "error", err)
		return Report{}, fmt.Errorf("reload the configuration: %w; all stays as it is", err)
	}
	r.log.Info("the configuration was reloaded", "applied", report.Applied, "restart_needed", report.Restart)
	return report, nil
}

func (r *Reloader[C]) reload() (Report, error) {
	next, err := r.load()
	if err != nil {
		return Report{}, err
	}
	report := Report{Applied: []string{}, Restart: []string{}}
	for _, path := range Changed(r.current, next) {
		if r.fields[path] {
			report.Applied = append(report.Applied, path)
		}
	}
	for _, path := range Changed(r.started, next) {
		if !r.fields[path] {
			report.Restart = append(report.Restart, path)
		}
	}
	if err := r.apply(next); err != nil {
		return Report{}, err
	}
	r.current = next
	return report, nil
}

// OnSignal reloads at each signal until ctx ends. Faults are in the log alone: nobody waits for an answer.
func (r *Reloader[C]) OnSignal(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
			_, _ = r.Reload() // it has logged
		case <-ctx.Done():
			return
		}
	}
}

// Path is where Handler answers, and Ask asks.
const Path = "/reload"

// Handler reloads at a POST and answers with the report. Put it where the operator alone may ask.
func (r *Reloader[C]) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			problem.Write(w, http.StatusMethodNotAllowed, "", "use POST here")
			return
		}
		report, err := r.Reload()
		if err != nil {
			problem.Write(w, http.StatusUnprocessableEntity, "Not reloaded", err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(report) // the operator may be gone: the log has it too
	})
}

const mostAnswer = 1 << 20 // bytes

// askTimeout is how long a daemon may take to reload.
const askTimeout = 30 * time.Second

// Ask has the daemon that client reaches reload.
func Ask(ctx context.Context, client *http.Client) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon"+Path, nil)
	if err != nil {
		return Report{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // the address is made up: the client knows the socket
			err = u.Err
		}
		return Report{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Report{}, errors.New(problem.Read(resp).Detail)
	}
	var report Report
	if err := json.NewDecoder(io.LimitReader(resp.Body, mostAnswer)).Decode(&report); err != nil {
		return Report{}, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return report, nil
}
