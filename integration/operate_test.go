package integration

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

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
