package cluster

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// memberlistLogger takes memberlist's lines, "[LEVEL] memberlist: text", into structured logging.
func memberlistLogger(to *slog.Logger) *log.Logger {
	return log.New(lineWriter{to}, "", 0)
}

type lineWriter struct{ log *slog.Logger }

func (w lineWriter) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelInfo
	for prefix, l := range map[string]slog.Level{
		"[DEBUG] ": slog.LevelDebug, "[INFO] ": slog.LevelInfo, "[WARN] ": slog.LevelWarn, "[ERR] ": slog.LevelError,
	} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			text, level = rest, l
			break
		}
	}
	w.log.Log(context.Background(), level, strings.TrimPrefix(text, "memberlist: "), "from", "memberlist")
	return len(line), nil
}
