package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/artist"
	"easel/integration/browser"
	easelv1 "easel/pkg/api/easel/v1"
)

// A session container is hostile. Whatever it does to its edge, the node goes on answering, the session ends when asked,
// and nothing is left of it.
func TestHostileContainers(t *testing.T) {
	w := get(t)
	for _, c := range []struct {
		mode string
		// fails says that the node must give the session up by itself, with these words as the reason's part.
		fails string
		// check looks at the session while the attack is on.
		check func(t *testing.T, s *easelv1.Session)
	}{
		{mode: "exit", fails: "ended"},
		{mode: "stubborn"},
		{mode: "flood-x"},
		{mode: "lying-x"},
		{mode: "chatter"},
		{mode: "symlinks"},
		{mode: "files", check: func(t *testing.T, s *easelv1.Session) { w.checkLyingFiles(t, s) }},
		{mode: "filler", check: checkFilled},
		{mode: "forks", check: checkForks},
	} {
		t.Run(c.mode, func(t *testing.T) {
			s := w.hostileSession(t, c.mode)
			if c.fails != "" {
				got := w.await(t, s.GetId(), 60*time.Second, easelv1.State_STATE_FAILED)
				if !strings.Contains(got.GetReason(), c.fails) {
					t.Errorf("it failed for %q, which does not say %q", got.GetReason(), c.fails)
				}
				w.gone(t, got)
				return
			}
			// It attacks for a while, and the node answers all the while.
			for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				w.answers(t)
			}
			if c.check != nil {
				c.check(t, w.inspect(t, s.GetId()))
			}
			began := time.Now()
			if _, err := w.node.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: s.GetId()})); err != nil {
				t.Fatal(err)
			}
			got := w.await(t, s.GetId(), 90*time.Second, easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED)
			t.Logf("it ended as %v (%s) in %v", got.GetState(), got.GetReason(), time.Since(began).Round(time.Millisecond))
			w.gone(t, got)
		})
	}
}

// A container that never comes up is given up with a reason that a person can read.
func TestContainerThatNeverStarts(t *testing.T) {
	w := get(t)
	const limit = "5s"
	w.configure(t, "start_timeout: "+startTimeout.String(), "start_timeout: "+limit)
	s := w.hostileSession(t, "silent")
	got := w.await(t, s.GetId(), 60*time.Second, easelv1.State_STATE_FAILED)
	if !strings.Contains(got.GetReason(), limit) && !strings.Contains(got.GetReason(), "start") {
		t.Errorf("the reason is %q", got.GetReason())
	}
	w.gone(t, got)
}

func (w *world) hostileSession(t *testing.T, mode string) *easelv1.Session {
	t.Helper()
	ref := w.hostileImage(t, mode)
	r, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "mallory", Key: key(t), Class: "none", Image: ref}))
	if err != nil {
		t.Fatal(err)
	}
	s := r.Msg.GetSession()
	// Its home is the attack's too, and must not be there for the next one.
	home := filepath.Join(w.dir, "noded", "homes", "mallory.img")
	t.Cleanup(func() {
		_, _ = w.node.Stop(context.WithoutCancel(t.Context()), connect.NewRequest(&easelv1.StopRequest{Id: s.GetId()}))
		if _, err := artist.Await(context.WithoutCancel(t.Context()), w.node, s.GetId(), 30*time.Second, easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED); err != nil {
			t.Error(err)
		}
		_ = os.Remove(home)
	})
	return s
}

// answers checks that the node's open face and its API are quick.
func (w *world) answers(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.stack.NodeURL()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("the node does not answer: %v", err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("the node's health is %s", r.Status)
	}
	if _, err := w.node.List(ctx, connect.NewRequest(&easelv1.ListRequest{})); err != nil {
		t.Fatalf("the node's API does not answer: %v", err)
	}
}

// gone checks that an ended session holds nothing any more.
func (w *world) gone(t *testing.T, s *easelv1.Session) {
	t.Helper()
	eventually(t, 30*time.Second, "nothing is left of session "+s.GetId(), func() error {
		held, err := holdings(s.GetId(), s.GetCgroup())
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(w.stack.RunDir, "noded", "s", s.GetId())); err == nil {
			held["run directory"]++
		}
		if len(held) > 0 {
			return fmt.Errorf("it holds %v", held)
		}
		return nil
	})
}

// checkFilled checks that no place took more than its bound: the disk of the host has room for far more.
func checkFilled(t *testing.T, s *easelv1.Session) {
	run := filepath.Dir(s.GetXSocket())
	var total int64
	err := filepath.WalkDir(filepath.Dir(run), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/home/") {
			return nil // what vanishes meanwhile does not count, and the home has a bound of its own
		}
		var st syscall.Stat_t
		if syscall.Lstat(path, &st) == nil {
			total += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	const most = 64 << 20
	if total > most {
		t.Errorf("the session's run directory holds %d MB of the host's disk; the edge must have a bound", total>>20)
	}
}

// checkLyingFiles asks a file server that lies as a viewer does: no answer passes for one that is true, and none is kept in the node's memory.
func (w *world) checkLyingFiles(t *testing.T, s *easelv1.Session) {
	p, err := w.openAs(t, s.GetId(), "", browser.PageOptions{Width: 800, Height: 600})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Until(30*time.Second, "window.easel?.state === 'starting'"); err != nil {
		t.Fatal(err)
	}
	before := residentMemory(t, w.stack.Noded.PID()) + residentMemory(t, int(s.GetPids().GetStreamer()))
	for js, want := range map[string]string{
		`fetch(location.pathname + "/files/list").then((r) => String(r.status))`:                                                                                                                                       "503",
		`fetch(location.pathname + "/files/content/c2hvcnQ").then((r) => r.text()).then((t) => "took " + t, () => "broken off")`:                                                                                       "broken off",
		`fetch(location.pathname + "/files/content/YQ").then((r) => r.headers.get("Content-Type"))`:                                                                                                                    "application/octet-stream",
		`fetch(location.pathname + "/files/uploads", {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}, signal: AbortSignal.timeout(500)}).then((r) => "took " + r.status, () => "given up")`: "given up",
		// Some megabytes of a file without end, then enough of it.
		`(async () => { const c = new AbortController(); const r = (await fetch(location.pathname + "/files/content/YQ", {signal: c.signal})).body.getReader(); let n = 0; while (n < 3e7) n += (await r.read()).value.length; c.abort(); return "much"; })()`: "much",
	} {
		got, err := browser.Eval[string](p, 60*time.Second, js)
		if err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", js, got, want, err)
		}
		w.answers(t)
	}
	after := residentMemory(t, w.stack.Noded.PID()) + residentMemory(t, int(s.GetPids().GetStreamer()))
	if grown := after - before; grown > 64<<20 {
		t.Errorf("noded and streamer have grown by %d MiB", grown>>20)
	}
}

// residentMemory is what of a process is in memory, in bytes.
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// checkForks checks that the bomb ran into its limit.
func checkForks(t *testing.T, s *easelv1.Session) {
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		dir := root + s.GetCgroup() + "/box"
		limit, err := os.ReadFile(dir + "/pids.max")
		if err != nil {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(limit)))
		if err != nil {
			t.Fatalf("the container's process limit is %q", limit)
		}
		now, err := os.ReadFile(dir + "/pids.current")
		if err != nil {
			t.Fatal(err)
		}
		if k, err := strconv.Atoi(strings.TrimSpace(string(now))); err != nil || k > n || k < n/2 {
			t.Errorf("the container has %s processes, its limit is %d (%v)", strings.TrimSpace(string(now)), n, err)
		}
		return
	}
	t.Errorf("no pids cgroup for %s", s.GetCgroup())
}

// A bad archive is refused with a sentence, and noded lives on.
func TestBadImageArchives(t *testing.T) {
	w := get(t)
	good := ociArchive(t, "easel.local/bad:archive", layerTar(t, map[string][]byte{"mode": []byte("silent")}))
	for name, b := range map[string][]byte{
		"empty":       {},
		"not a tar":   []byte(strings.Repeat("no tar at all ", 100)),
		"cut short":   good[:len(good)/2],
		"wrong bytes": []byte(strings.Replace(string(good), "silent", "SILENT", 1)),
		"no index":    layerTar(t, map[string][]byte{"a": []byte("b")}),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.tar")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := w.stack.NodedCLI(t.Context(), "image", "import", path, "easel.local/bad:archive")
			if err == nil {
				t.Fatal("it was imported")
			}
			if text := err.Error(); !strings.Contains(text, path) || !strings.Contains(text, "exit status 1") || strings.Contains(text, "panic") {
				t.Errorf("the error is %v; want exit 1 and the file's name", err)
			}
		})
	}
}
