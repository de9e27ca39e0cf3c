package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// shimGrace is how long a shim whose task is gone may take to end by itself.
const shimGrace = time.Second

// endOrphan ends a shim that containerd knows no task of. Whoever asks for a task and dies meanwhile leaves one: containerd gives the
// request up and forgets the shim, which goes on, has a container by then and so ends no more by itself.
func (r *Runtime) endOrphan(ctx context.Context, id string) error {
	given := time.Now().Add(shimGrace)
	bundles := map[string]bool{}
	for {
		shims := r.shimsOf(id)
		if len(shims) == 0 {
			return r.removeOrphaned(bundles)
		}
		for _, pid := range shims {
			if time.Now().Before(given) {
				continue
			}
			// A shim works in its bundle.
			if bundle, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
				bundles[bundle] = true
			}
			r.log.Warn("ending a shim that containerd has forgotten", "session", id, "pid", pid)
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the shim %v of session %s does not end: %w", shims, id, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// shimsOf are the processes of containerd's shim for a container of ours.
func (r *Runtime) shimsOf(id string) []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim-") && hasFlag(args, "-id", id) && hasFlag(args, "-namespace", r.namespace) && hasFlag(args, "-address", r.address) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func hasFlag(args []string, flag, value string) bool {
	at := slices.Index(args, flag)
	return at >= 0 && at+1 < len(args) && args[at+1] == value
}

// removeOrphaned takes away the bundles of killed shims, which containerd does not know.
func (r *Runtime) removeOrphaned(bundles map[string]bool) error {
	for bundle := range bundles {
		if filepath.Base(filepath.Dir(bundle)) != r.namespace || !strings.Contains(bundle, bundlesOf) {
			continue
		}
		if err := removeBundle(bundle); err != nil {
			return err
		}
	}
	return nil
}
