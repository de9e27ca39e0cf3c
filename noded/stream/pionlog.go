package stream

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pionLogs makes pion's loggers from ours. What pion calls an error is often a peer's doing, so it arrives as debug.
type pionLogs struct{ log *slog.Logger }

func (p pionLogs) NewLogger(scope string) logging.LeveledLogger {
	return pionLog{p.log.With("pion", scope)}
}

type pionLog struct{ log *slog.Logger }

func (p pionLog) say(format string, args ...any) {
	if p.log.Enabled(context.Background(), slog.LevelDebug) {
		p.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (p pionLog) Trace(string)                      {}
func (p pionLog) Tracef(string, ...any)             {}
func (p pionLog) Debug(string)                      {}
func (p pionLog) Debugf(string, ...any)             {}
func (p pionLog) Info(msg string)                   { p.say("%s", msg) }
func (p pionLog) Infof(format string, args ...any)  { p.say(format, args...) }
func (p pionLog) Warn(msg string)                   { p.say("%s", msg) }
func (p pionLog) Warnf(format string, args ...any)  { p.say(format, args...) }
func (p pionLog) Error(msg string)                  { p.say("%s", msg) }
func (p pionLog) Errorf(format string, args ...any) { p.say(format, args...) }
