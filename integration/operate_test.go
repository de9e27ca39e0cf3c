package integration

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
)

// A drain is told to the artist on the page, and taken back; the node takes nobody meanwhile.
func TestDrainIsTold(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1280, Height: 720})
	const notice = "document.querySelector('#notice')"
	order := func(args ...string) {
		t.Helper()
		if out, err := w.stack.NodedCLI(t.Context(), args...); err != nil {
			t.Fatalf("noded %v: %v: %s", args, err, out)
		}
	}
	order("drain", "--deadline", "1h", "--reason", "a new kernel")
	t.Cleanup(func() { _, _ = w.stack.NodedCLI(context.Background(), "uncordon") })
	if err := p.Until(30*time.Second, notice+".hidden === false && "+notice+".textContent.includes('a new kernel')"); err != nil {
		t.Error(err)
	}
	if out, err := w.stack.NodedCLI(t.Context(), "session", "create", "--user", "zoe"); err == nil || !strings.Contains(err.Error()+out, "drained") {
		t.Errorf("a draining node made a session: %s, %v", out, err)
	}
	order("uncordon")
	if err := p.Until(30*time.Second, notice+".hidden === true"); err != nil {
		t.Error(err)
	}
}

// reload has noded take up another configuration.
func (w *world) reload(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(w.stack.NodedConfigPath(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := w.stack.NodedCLI(ctx, "reload"); err != nil {
		t.Fatalf("reload: %v: %s", err, out)
	}
}

// configure has noded run with a word of its configuration changed until the test ends.
func (w *world) configure(t *testing.T, from, to string) {
	t.Helper()
	before, err := os.ReadFile(w.stack.NodedConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(before, []byte(from)) {
		t.Fatalf("the configuration has no %s:\n%s", from, before)
	}
	t.Cleanup(func() { w.reload(context.WithoutCancel(t.Context()), t, string(before)) })
	w.reload(t.Context(), t, strings.Replace(string(before), from, to, 1))
}

// A running noded takes up its configuration, names what needs a restart, and keeps all at a fault.
func TestReload(t *testing.T) {
	w := get(t)
	path := w.stack.NodedConfigPath()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		write(string(before))
		if _, err := w.stack.NodedCLI(context.Background(), "reload"); err != nil {
			t.Errorf("back as it was: %v", err)
		}
	})
	changed := strings.Replace(string(before), "grace: 10m", "grace: 11m", 1)
	if changed == string(before) {
		t.Fatalf("the configuration has no grace of 10m:\n%s", before)
	}
	write(changed)
	if out, err := w.stack.NodedCLI(t.Context(), "reload"); err != nil || !strings.Contains(out, "in force now: sessions.grace") {
		t.Errorf("%q, %v", out, err)
	}
	write(changed + "\nnonsense: 1\n")
	if out, err := w.stack.NodedCLI(t.Context(), "reload"); err == nil || !strings.Contains(err.Error()+out, "nonsense") {
		t.Errorf("a fault: %q, %v", out, err)
	}
}

// What an operator lets cross counts at once for a session that runs, and its page follows: clipboard, files and sound go, and come back.
func TestPolicyReachesRunningSessions(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1280, Height: 720})
	d := deskOf(t, p)
	x := w.x(t, s.ID)
	path := w.stack.NodedConfigPath()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const anchor = "grace: 10m"
	set := func(ctx context.Context, fields ...string) {
		t.Helper()
		at := bytes.Index(before, []byte(anchor))
		if at < 0 {
			t.Fatalf("the configuration has no %s:\n%s", anchor, before)
		}
		indent := string(before[bytes.LastIndexByte(before[:at], '\n'):at])
		w.reload(ctx, t, strings.Replace(string(before), anchor, strings.Join(append([]string{anchor}, fields...), indent), 1))
	}
	t.Cleanup(func() { set(context.Background()) })
	// Which buttons the page has: the clipboard's, the sound's, the download's and the upload's.
	shows := func(want string) {
		t.Helper()
		const js = `["clipboard", "hear", "files", "files-upload"].map((id) => document.getElementById(id).hidden ? "-" : id).join(" ") + " " + document.getElementById("files-label").textContent`
		eventually(t, 60*time.Second, "the page shows "+want, func() error {
			got, err := browser.Eval[string](p, 15*time.Second, js)
			if err == nil && got != want {
				err = fmt.Errorf("it shows %s", got)
			}
			return err
		})
	}
	asks := func(path string) int {
		t.Helper()
		status, err := browser.Eval[int](p, 15*time.Second, fmt.Sprintf(`fetch(location.pathname + "/files/%s").then((r) => r.status)`, path))
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	// What is on the desk is the session's, or not, once a key that pastes has reached it.
	pastes := func(text string) func() error {
		return func() error {
			if err := artist.Control(p, browser.Key{Key: "v", Code: "KeyV", Windows: 86}); err != nil {
				return err
			}
			got, err := x.Clipboard(t.Context())
			if err == nil && got != text {
				err = fmt.Errorf("the session's clipboard has %q", got)
			}
			return err
		}
	}
	const all = "clipboard hear files files-upload Download"
	shows(all)
	d.do(t, `text("first")`)
	eventually(t, 30*time.Second, "the desk's text is the session's", pastes("first"))

	set(t.Context(), "clipboard: off", "files: off", "audio: off")
	shows("- - - - Upload")
	for _, at := range []string{"list", "saved"} {
		if status := asks(at); status != http.StatusForbidden {
			t.Errorf("files are off, and files/%s is answered by %d", at, status)
		}
	}
	d.do(t, `text("second")`)
	eventually(t, 30*time.Second, "what came from the desk is gone", func() error {
		if err := pastes("")(); err != nil && strings.Contains(err.Error(), "second") {
			t.Fatalf("the clipboard is off: %v", err)
		}
		if got, err := x.Clipboard(t.Context()); err == nil && got != "" {
			return fmt.Errorf("the session has %q still", got)
		}
		return nil
	})

	set(t.Context(), "clipboard: in", "files: in")
	shows("clipboard hear files files-upload Upload")
	d.do(t, `text("third")`)
	eventually(t, 30*time.Second, "the desk's text is the session's again", pastes("third"))
	if status := asks("list"); status != http.StatusForbidden {
		t.Errorf("files only come in, and the list is answered by %d", status)
	}

	set(t.Context())
	shows(all)
	if status := asks("list"); status != http.StatusOK {
		t.Errorf("files cross both ways again, and the list is answered by %d", status)
	}
}
