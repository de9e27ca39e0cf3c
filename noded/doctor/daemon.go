package doctor

import (
	"context"
	"strings"
)

// checkDaemon passes on what the daemon that runs has to say of itself.
func checkDaemon(ctx context.Context, h Host, o Options) Result {
	if o.Daemon == nil || !h.NodedAnswers(o.AdminSocket) {
		return ok("noded does not run")
	}
	notes, err := o.Daemon(ctx)
	switch {
	case err != nil:
		return Result{Status: Warn, Found: "noded runs and does not say how it is: " + err.Error(), Means: "sessions that run go on; new ones may not start", Mend: "its log: journalctl -u easel-noded"}
	case len(notes) > 0:
		return Result{Status: Warn, Found: "noded runs; " + strings.Join(notes, "; "), Means: "sessions that run go on; the node takes fewer new ones, or none", Mend: "see `noded status`, and the log: journalctl -u easel-noded"}
	}
	return ok("noded runs and takes sessions")
}
