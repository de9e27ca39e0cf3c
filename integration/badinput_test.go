package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"easel/integration/browser"
)

// problem is what every refusal must be: RFC 9457, with words for a person.
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Status int    `json:"status"`
}

func post(t *testing.T, url, contentType, body string) (int, http.Header, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(b)
}

// wantProblem checks that an answer is a refusal that explains itself.
func wantProblem(t *testing.T, status int, h http.Header, body string, statuses ...int) {
	t.Helper()
	ok := false
	for _, s := range statuses {
		ok = ok || s == status
	}
	if !ok {
		t.Errorf("status %d, want one of %v: %s", status, statuses, body)
	}
	var p problem
	if !strings.HasPrefix(h.Get("Content-Type"), "application/problem+json") || json.Unmarshal([]byte(body), &p) != nil || p.Title == "" {
		t.Errorf("the answer is no problem document: %q %s", h.Get("Content-Type"), body)
	}
}

// A token that is not the coordinator's opens nothing, and the refusal is a problem document.
func TestMalformedTokens(t *testing.T) {
	w := get(t)
	s := w.session(t)
	auth := w.stack.NodeURL() + "/s/" + s.ID + "/auth"
	for name, body := range map[string]string{
		"empty":           ``,
		"no token":        `{}`,
		"not JSON":        `token=abc`,
		"unknown field":   `{"token":"a.b","admin":true}`,
		"not a token":     `{"token":"abc"}`,
		"bad signature":   `{"token":"eyJhdWQiOiJzZXNzaW9uOngifQ.AAAA"}`,
		"very long":       `{"token":"` + strings.Repeat("A", 1<<16) + `"}`,
		"null":            `{"token":null}`,
		"nested too deep": `{"token":` + strings.Repeat("[", 5000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			status, h, text := post(t, auth, "application/json", body)
			wantProblem(t, status, h, text, 400, 401, 403, 413, 415, 422, 429)
			if h.Get("Set-Cookie") != "" {
				t.Error("it set a cookie")
			}
		})
	}
	t.Run("used twice", func(t *testing.T) {
		fresh, err := w.artist.Get(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, token, ok := strings.Cut(fresh.URL, "#token=")
		if !ok {
			t.Fatal("the session's URL has no token")
		}
		body := fmt.Sprintf(`{"token":%q}`, token)
		eventually(t, 90*time.Second, "the first use is good", func() error { // after the wrong ones, the rate limit may have to cool
			status, _, text := post(t, auth, "application/json", body)
			if status == http.StatusTooManyRequests {
				time.Sleep(time.Second)
			}
			if status != http.StatusNoContent {
				return fmt.Errorf("status %d %s", status, text)
			}
			return nil
		})
		status, h, text := post(t, auth, "application/json", body)
		wantProblem(t, status, h, text, 401, 403, 429)
	})
	t.Run("no cookie", func(t *testing.T) {
		for _, path := range []string{"/whep", "/screen"} {
			status, h, text := post(t, w.stack.NodeURL()+"/s/"+s.ID+path, "application/sdp", "v=0")
			wantProblem(t, status, h, text, 401, 403)
		}
	})
}

// Whatever a page sends as an offer or over its data channels, the session lives and the next page works.
func TestMalformedSDPAndDataChannelMessages(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	before := w.inspect(t, s.ID)
	for name, sdp := range map[string]string{
		"empty":       "",
		"garbage":     strings.Repeat("\x00\xff", 500),
		"bare":        "v=0\r\n",
		"very long":   "v=0\r\n" + strings.Repeat("a=x\r\n", 100_000),
		"many medias": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 2000),
	} {
		t.Run("SDP "+name, func(t *testing.T) {
			b, err := json.Marshal(sdp)
			if err != nil {
				t.Fatal(err)
			}
			js := fmt.Sprintf("fetch('/s/%s/whep', {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: %s}).then(async (r) => ({status: r.status, type: r.headers.get('Content-Type'), text: await r.text()}))", s.ID, b)
			r, err := browser.Eval[struct {
				Status     int
				Type, Text string
			}](p, 20*time.Second, js)
			if err != nil {
				t.Fatal(err)
			}
			wantProblem(t, r.Status, http.Header{"Content-Type": {r.Type}}, r.Text, 400, 406, 413, 415, 422)
		})
	}
	if err := p.Until(30*time.Second, "window.easel.state === 'connected'"); err != nil {
		t.Errorf("malformed offers disturbed the page that was connected: %v", err)
	}
	t.Run("data channels", func(t *testing.T) {
		if err := p.Do(fmt.Sprintf(hostilePage, s.ID)); err != nil {
			t.Fatal(err)
		}
	})
	again := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	defer again.Close()
	after := w.inspect(t, s.ID)
	if after.GetPids().GetGimp() != before.GetPids().GetGimp() || after.GetPids().GetX() != before.GetPids().GetX() {
		t.Errorf("processes were %v, are %v", before.GetPids(), after.GetPids())
	}
	if after.GetPids().GetStreamer() != before.GetPids().GetStreamer() {
		t.Errorf("the streamer did not survive the messages: %d restarts", after.GetStreamerRestarts())
	}
	x := w.x(t, s.ID)
	eventually(t, 30*time.Second, "no key is down", func() error {
		held, err := x.HeldKeys()
		if err == nil && len(held) > 0 {
			err = fmt.Errorf("held: %v", held)
		}
		return err
	})
}

// hostilePage connects as a viewer does and sends nonsense on every channel: short, long, wrong kinds, wrong counts, and
// text where bytes belong.
const hostilePage = `(async () => {
  const pc = new RTCPeerConnection();
  pc.addTransceiver('video', {direction: 'recvonly'});
  const channels = {
    input: pc.createDataChannel('input', {ordered: true}),
    motion: pc.createDataChannel('motion', {ordered: false, maxRetransmits: 0}),
    control: pc.createDataChannel('control', {ordered: true}),
    unheard: pc.createDataChannel('of-me'),
  };
  const opened = new Promise((r) => { channels.input.onopen = r; });
  await pc.setLocalDescription();
  await new Promise((r) => { pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && r(); setTimeout(r, 2000); });
  const answer = await fetch('/s/%s/whep', {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp});
  if (answer.status !== 201) throw new Error('offer refused: ' + answer.status);
  await pc.setRemoteDescription({type: 'answer', sdp: await answer.text()});
  const late = () => 'channel does not open: connection ' + pc.connectionState + ', ' + Object.values(channels).map((c) => c.label + ' ' + c.readyState).join(', ');
  await Promise.race([opened, new Promise((_, no) => setTimeout(() => no(new Error(late())), 15000))]);
  const random = (n) => crypto.getRandomValues(new Uint8Array(n));
  for (const c of [channels.input, channels.motion, channels.control]) {
    const send = (m) => { try { if (c.readyState === 'open') c.send(m); } catch (e) { /* closed by the other side: as it may */ } };
    for (let kind = 0; kind < 12; kind++) {
      for (const n of [0, 1, 3, 4, 7, 8, 11, 12, 19, 20, 24, 33, 60, 200, 4000, 60000]) {
        const m = random(n + 1); m[0] = kind; send(m);
      }
      const many = new Uint8Array(64).fill(255); many[0] = kind; send(many);
    }
    for (const text of ['', '{', '[]', '{"t":"resize","w":-1,"h":1e99,"scale":"x"}', '{"t":"resize","w":99999999,"h":99999999,"scale":1}',
      '{"t":"quality","value":7}', '{"t":"seen","rtp":-5}', '{"t":"nonsense"}', '{"t":' + '['.repeat(9000) + '}', 'x'.repeat(60000)]) send(text);
  }
  await new Promise((r) => setTimeout(r, 1000));
  pc.close();
})()`

// A wrong password is refused alike for a known and an unknown name, and guessing is slowed down.
func TestWrongPasswordsAreRateLimited(t *testing.T) {
	w := get(t)
	signin := w.stack.CoordinatorURL() + "/api/v1/signin"
	limited := false
	for i := range 30 {
		body := fmt.Sprintf(`{"user":"nobody-%d","password":"wrong-%d"}`, i%2, i)
		status, h, text := post(t, signin, "application/json", body)
		wantProblem(t, status, h, text, 401, 429)
		if status == http.StatusTooManyRequests {
			limited = true
			if h.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			break
		}
	}
	if !limited {
		t.Error("30 wrong passwords were all tried")
	}
	for name, body := range map[string]string{"not JSON": "user=a", "unknown field": `{"user":"a","password":"b","role":"admin"}`, "empty": ""} {
		status, h, text := post(t, signin, "application/json", body)
		t.Run(name, func(t *testing.T) { wantProblem(t, status, h, text, 400, 415, 422, 429) })
	}
}

// A configuration with a mistake is refused with the line, not half obeyed.
func TestBadConfigurationNamesTheLine(t *testing.T) {
	w := get(t)
	for program, path := range map[string]string{"noded": w.stack.NodedConfigPath(), "coordinator": w.stack.CoordinatorConfigPath()} {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct{ text, want string }{
			"unknown field": {string(good) + "lisden: 127.0.0.1:1\n", fmt.Sprint(bytes.Count(good, []byte("\n")) + 1)},
			"wrong type":    {string(good) + "tls: 7\n", "tls"},
			"not YAML":      {"\t{", "yaml"},
		} {
			t.Run(program+" "+name, func(t *testing.T) {
				bad := filepath.Join(t.TempDir(), "bad.yaml")
				if err := os.WriteFile(bad, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				out, err := exec.CommandContext(ctx, filepath.Join(w.stack.BinDir, program), "run", "--config", bad).CombinedOutput()
				if err == nil {
					t.Fatalf("it ran with a bad configuration: %s", out)
				}
				if text := strings.ToLower(string(out)); !strings.Contains(text, c.want) || !strings.Contains(text, "bad.yaml") {
					t.Errorf("it says %q, want the file and %q", out, c.want)
				}
			})
		}
	}
}
