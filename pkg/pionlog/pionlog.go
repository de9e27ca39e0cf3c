// Package pionlog gives pion's libraries our logger. What pion calls an error is often a peer's doing, so it
// arrives as debug.
package pionlog

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// Factory makes pion's loggers from ours.
type Factory struct{ Log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (f Factory) NewLogger(scope string) logging.LeveledLogger {
	return Logger{f.Log.With("pion", scope)}
}

// Logger is one of pion's loggers.
type Logger struct{ Log *slog.Logger }

func (l Logger) say(format string, args ...any) {
	if l.Log.Enabled(context.Background(), slog.LevelDebug) {
		l.Log.Debug(fmt.Sprintf(format, args...))
	}
}

// Trace and the others implement logging.LeveledLogger; what pion traces is never wanted.
func (l Logger) Trace(string)                      {}
func (l Logger) Tracef(string, ...any)             {}
func (l Logger) Debug(string)                      {}
func (l Logger) Debugf(string, ...any)             {}
func (l Logger) Info(msg string)                   { l.say("%s", msg) }
func (l Logger) Infof(format string, args ...any)  { l.say(format, args...) }
func (l Logger) Warn(msg string)                   { l.say("%s", msg) }
func (l Logger) Warnf(format string, args ...any)  { l.say(format, args...) }
func (l Logger) Error(msg string)                  { l.say("%s", msg) }
func (l Logger) Errorf(format string, args ...any) { l.say(format, args...) }
