// Package telemetry sets up what a daemon tells of itself: structured logs and a Prometheus registry.
// It exists so that both daemons log alike and so that a secret, by its type, cannot reach a log.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Logger returns a logger that writes to w. level is debug, info, warn or error; format is text or json.
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	log, _, err := AdjustableLogger(w, level, format)
	return log, err
}

// AdjustableLogger is Logger, with what changes its level while it is used.
func AdjustableLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	threshold := new(slog.LevelVar)
	if err := SetLevel(threshold, level); err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: threshold}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), threshold, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), threshold, nil
	}
	return nil, nil, fmt.Errorf("log format %q: use text or json", format)
}

// SetLevel sets a threshold to debug, info, warn or error.
func SetLevel(threshold *slog.LevelVar, level string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil || strings.ContainsAny(level, "+-") {
		return fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	threshold.Set(l)
	return nil
}

// redacted stands for a secret wherever one would be printed.
const redacted = "[redacted]"

// Secret is a text that never shows: logs, fmt verbs and JSON print a placeholder. Reveal gives it out,
// and a search for its callers shows every use.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// LogValue keeps the secret out of slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format keeps the secret out of every fmt verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the secret out of JSON, YAML and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
