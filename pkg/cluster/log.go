package cluster

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// refusalsEvery spaces what is logged of refused packets: whoever reaches the port can send as many as they like.
const refusalsEvery = 10 * time.Second

// refusals tells by how memberlist's line begins or what it holds that gossip was refused, and why. memberlist says it
// nowhere else.
var refusals = []struct{ text, reason string }{
	{"unacceptable label", refusedLabel},
	{"Decrypt packet failed", refusedKey},
	{"no installed keys could decrypt the message", refusedKey},
	{"remote state is not encrypted", refusedKey},
}

// memberlistLogger takes memberlist's lines, "[LEVEL] memberlist: text", into structured logging, and counts refusals.
func memberlistLogger(to *slog.Logger, count *counters) *log.Logger {
	return log.New(&lineWriter{log: to, count: count}, "", 0)
}

type lineWriter struct {
	log   *slog.Logger
	count *counters

	mu     sync.Mutex
	logged map[string]time.Time // when a refusal was logged last, by its reason
}

func (w *lineWriter) Write(line []byte) (int, error) {
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
	text = strings.TrimPrefix(text, "memberlist: ")
	for _, r := range refusals {
		if strings.Contains(text, r.text) {
			w.count.refused.WithLabelValues(r.reason).Inc()
			if !w.due(r.reason) {
				return len(line), nil
			}
			level = slog.LevelWarn
			break
		}
	}
	w.log.Log(context.Background(), level, text, "from", "memberlist")
	return len(line), nil
}

func (w *lineWriter) due(reason string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.logged[reason]; ok && time.Since(last) < refusalsEvery {
		return false
	}
	if w.logged == nil {
		w.logged = map[string]time.Time{}
	}
	w.logged[reason] = time.Now()
	return true
}
