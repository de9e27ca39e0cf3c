package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// firefoxPrefs keep a fresh profile quiet, and let WebRTC use loopback by its address.
const firefoxPrefs = `
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("media.autoplay.default", 0);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
`

// Firefox is a Firefox with one tab, driven by WebDriver BiDi (W3C).
type Firefox struct {
	cmd    *exec.Cmd
	env    []string
	dir    string
	ws     *websocket.Conn
	tab    string
	nextID int
}

const firefoxStart = 60 * time.Second

// firefoxOnDesk undoes what WebDriver prefers: that Firefox takes itself to have the keyboard always. Else it never tells GTK's input method of its focus.
const firefoxOnDesk = `
user_pref("remote.prefs.recommended", false);
user_pref("focusmanager.testmode", false);
`

// StartFirefox starts Debian's Firefox with an empty profile and the probe in every page, with no window, and env besides in its environment.
func StartFirefox(ctx context.Context, env ...string) (*Firefox, error) {
	return startFirefox(ctx, firefoxPrefs, append(slices.Clone(env), "MOZ_HEADLESS=1", "MOZ_HEADLESS_WIDTH=1280", "MOZ_HEADLESS_HEIGHT=800"))
}

// StartFirefoxOn starts it with a window on an X server, given by the environment of its clients: without one there is no clipboard but for texts, and
// nothing to drag from.
func StartFirefoxOn(ctx context.Context, env []string) (*Firefox, error) {
	return startFirefox(ctx, firefoxPrefs+firefoxOnDesk, append(slices.Clone(env), "MOZ_ENABLE_WAYLAND=0", "GDK_BACKEND=x11"))
}

func startFirefox(ctx context.Context, prefs string, env []string) (_ *Firefox, err error) {
	ctx, cancel := context.WithTimeout(ctx, firefoxStart)
	defer cancel()
	dir, err := os.MkdirTemp("", "easel-firefox-")
	if err != nil {
		return nil, err
	}
	f := &Firefox{dir: dir, env: env}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(prefs), 0o600); err != nil {
		return nil, err
	}
	address, err := f.launch(ctx)
	if err != nil {
		return nil, fmt.Errorf("start Firefox: %w", err)
	}
	if f.ws, _, err = websocket.Dial(ctx, address+"/session", nil); err != nil {
		return nil, fmt.Errorf("connect to Firefox at %s: %w", address, err)
	}
	f.ws.SetReadLimit(64 << 20)
	if err := f.call(ctx, "session.new", map[string]any{"capabilities": map[string]any{}}, nil); err != nil {
		return nil, err
	}
	var tree struct {
		Contexts []struct{ Context string }
	}
	if err := f.call(ctx, "browsingContext.getTree", map[string]any{}, &tree); err != nil {
		return nil, err
	}
	if len(tree.Contexts) == 0 {
		return nil, errors.New("Firefox has no tab")
	}
	f.tab = tree.Contexts[0].Context
	return f, f.call(ctx, "script.addPreloadScript", map[string]any{"functionDeclaration": "() => {" + probe + "}"}, nil)
}

// launch starts the process and returns the address that it says it listens on.
func (f *Firefox) launch(ctx context.Context) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	f.cmd = exec.Command("firefox-esr", "--no-remote", "--profile", f.dir, "--remote-debugging-port=0", "about:blank")
	f.cmd.Env = append(append(os.Environ(), f.env...), "HOME="+f.dir, "TMPDIR="+f.dir)
	f.cmd.Stderr, f.cmd.Stdout = w, w
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = f.cmd.Start()
	_ = w.Close()
	if err != nil {
		f.cmd = nil
		_ = r.Close()
		return "", fmt.Errorf("%w; install the package firefox-esr", err)
	}
	found := make(chan string, 1)
	go func() { // ends when the process and its children have ended: their output is then closed
		defer r.Close()
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if _, addr, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); ok {
				select {
				case found <- strings.TrimSpace(addr):
				default:
				}
			}
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	select {
	case a := <-found:
		return a, nil
	case <-ctx.Done():
		return "", fmt.Errorf("it did not offer WebDriver BiDi in %s", firefoxStart)
	}
}

// Close ends the browser.
func (f *Firefox) Close() error {
	if f.ws != nil {
		_ = f.ws.Close(websocket.StatusNormalClosure, "")
	}
	if f.cmd != nil {
		_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGTERM)
		done := make(chan struct{})
		go func() { defer close(done); _ = f.cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL)
			<-done
		}
		_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL) // its children, where they have not ended yet
	}
	return removeAll(f.dir)
}

// Go loads a URL and waits for its load event.
func (f *Firefox) Go(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return f.call(ctx, "browsingContext.navigate", map[string]any{"context": f.tab, "url": url, "wait": "complete"}, nil)
}

// Eval runs a JavaScript expression, waits for its promise and decodes its value through JSON.
func (f *Firefox) Eval(ctx context.Context, js string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var r struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	err := f.call(ctx, "script.evaluate", map[string]any{
		"expression": "(async () => JSON.stringify((await (" + js + ")) ?? null))()", "awaitPromise": true,
		"target": map[string]any{"context": f.tab},
	}, &r)
	if err != nil {
		return err
	}
	if r.Type != "success" {
		return fmt.Errorf("in Firefox, %s: %s", short(js), r.ExceptionDetails.Text)
	}
	if err := json.Unmarshal([]byte(r.Result.Value), into); err != nil {
		return fmt.Errorf("in Firefox, %s gave %q: %w", short(js), short(r.Result.Value), err)
	}
	return nil
}

// Until waits until a JavaScript expression is true.
func (f *Firefox) Until(ctx context.Context, limit time.Duration, js string) error {
	end := time.Now().Add(limit)
	for {
		var ok bool
		err := f.Eval(ctx, "!!("+js+")", &ok)
		if err == nil && ok {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("in Firefox, %s did not come true in %s (last: %v)", short(js), limit, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Click presses and releases the left mouse button at a place in CSS pixels.
func (f *Firefox) Click(ctx context.Context, x, y int) error {
	return f.call(ctx, "input.performActions", map[string]any{"context": f.tab, "actions": []any{map[string]any{
		"type": "pointer", "id": "mouse", "parameters": map[string]any{"pointerType": "mouse"},
		"actions": []any{
			map[string]any{"type": "pointerMove", "x": x, "y": y},
			map[string]any{"type": "pointerDown", "button": 0},
			map[string]any{"type": "pointerUp", "button": 0},
		},
	}}}, nil)
}

// Front gives the page the keyboard, within its window.
func (f *Firefox) Front(ctx context.Context) error {
	return f.call(ctx, "browsingContext.activate", map[string]any{"context": f.tab}, nil)
}

// Names of keys that make no character, as WebDriver has them.
const (
	ControlKey = "\ue009"
	ShiftKey   = "\ue008"
	EnterKey   = "\ue007"
)

// Chord presses keys one after the other, and lets them go in the opposite order.
func (f *Firefox) Chord(ctx context.Context, keys ...string) error {
	var actions []any
	for _, k := range keys {
		actions = append(actions, map[string]any{"type": "keyDown", "value": k})
	}
	for _, k := range slices.Backward(keys) {
		actions = append(actions, map[string]any{"type": "keyUp", "value": k})
	}
	return f.call(ctx, "input.performActions", map[string]any{"context": f.tab, "actions": []any{map[string]any{"type": "key", "id": "keyboard", "actions": actions}}}, nil)
}

// call sends one command and waits for its answer; events that come before it are passed over.
func (f *Firefox) call(ctx context.Context, method string, params map[string]any, into any) error {
	f.nextID++
	id := f.nextID
	b, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if err := f.ws.Write(ctx, websocket.MessageText, b); err != nil {
		return fmt.Errorf("%s to Firefox: %w", method, err)
	}
	for {
		_, b, err := f.ws.Read(ctx)
		if err != nil {
			return fmt.Errorf("%s: answer of Firefox: %w", method, err)
		}
		var m struct {
			ID             int
			Type           string
			Error, Message string
			Result         json.RawMessage
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return fmt.Errorf("%s: answer of Firefox: %w", method, err)
		}
		switch {
		case m.ID != id:
			continue
		case m.Type == "error":
			return fmt.Errorf("%s: Firefox says %s: %s", method, m.Error, m.Message)
		case into == nil:
			return nil
		}
		if err := json.Unmarshal(m.Result, into); err != nil {
			return fmt.Errorf("%s: answer of Firefox: %w", method, err)
		}
		return nil
	}
}
