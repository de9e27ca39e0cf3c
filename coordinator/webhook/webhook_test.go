package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/events"
	"easel/coordinator/state"
	"easel/pkg/cluster"
)

const secret = "0123456789abcdef0123456789abcdef"

// receiver is an autoscaler's end.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	answers []int // of the next calls; then 204
	heard   []Message
	faults  []string
	came    chan struct{}
}

func newReceiver(t *testing.T, secure bool, answers ...int) *receiver {
	r := &receiver{answers: answers, came: make(chan struct{}, 100)}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.take))
	if secure {
		r.StartTLS()
	} else {
		r.Start()
	}
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	var m Message
	if err != nil || json.Unmarshal(body, &m) != nil {
		r.faults = append(r.faults, "a body that is no message: "+string(body))
	}
	if fault := checkSignature(q.Header.Get(SignatureHeader), body); fault != "" {
		r.faults = append(r.faults, fault)
	}
	r.heard = append(r.heard, m)
	status := http.StatusNoContent
	if len(r.answers) > 0 {
		status, r.answers = r.answers[0], r.answers[1:]
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
	r.came <- struct{}{}
}

// checkSignature is what docs/operators.md tells receivers to do.
func checkSignature(header string, body []byte) string {
	at, signature, ok := strings.Cut(header, ",v1=")
	seconds, err := strconv.ParseInt(strings.TrimPrefix(at, "t="), 10, 64)
	if !ok || err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		return "a signature without a time of now: " + header
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", seconds, body)
	if got, err := hex.DecodeString(signature); err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return "a wrong signature: " + header
	}
	return ""
}

func (r *receiver) await(t *testing.T, calls int) []Message {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		heard, faults := append([]Message{}, r.heard...), append([]string{}, r.faults...)
		r.mu.Unlock()
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if len(heard) >= calls {
			return heard
		}
		select {
		case <-r.came:
		case <-deadline:
			t.Fatalf("%d calls came, want %d", len(heard), calls)
		}
	}
}

// memory is a state whose leader the test chooses.
type memory struct {
	*state.Store
	mu      sync.Mutex
	leading bool
	asked   int
}

func (m *memory) Leader() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.leading
}

// awaitLooks returns after the Caller has looked at the room some times more.
func (m *memory) awaitLooks(t *testing.T, looks int) {
	t.Helper()
	asked := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.asked
	}
	for until, deadline := asked()+looks, time.Now().Add(10*time.Second); asked() < until; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not look any more")
		}
	}
}

func (m *memory) lead(is bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading = is
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	store, err := state.Open(filepath.Join(t.TempDir(), "c.db"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &memory{Store: store, leading: true}
}

// fleet is nodes that the test fills.
type fleet struct {
	mu    sync.Mutex
	nodes []cluster.Node
}

func (f *fleet) Nodes() []cluster.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes
}

func (f *fleet) Changed() <-chan struct{} { return nil }

func (f *fleet) fill(used ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = nil
	for i, n := range used {
		name := fmt.Sprintf("n%d", i+1)
		f.nodes = append(f.nodes, cluster.Node{
			Meta:     cluster.Meta{Role: cluster.RoleNode, Name: name},
			Capacity: cluster.Capacity{Name: name, Total: 10, Used: n, Warm: []cluster.Warm{{Class: "none", Count: 1}}},
		})
	}
}

func hookTo(t *testing.T, url string) Hook {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Hook{URL: url, SecretFile: file, ScaleUp: Up{FreeBelow: 3, For: time.Millisecond}, ScaleDown: Down{FreeAbove: 12, For: time.Millisecond}, Repeat: time.Hour}
}

// run starts a Caller, until the test ends or stop is called.
func run(t *testing.T, f *fleet, m *memory, trust *tls.Config, hooks ...Hook) (c *Caller, log *events.Log, stop func()) {
	t.Helper()
	log = events.New(100)
	c = New(Options{
		Name: "c1", Nodes: f, State: m, Events: log, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Trust: trust,
	}, hooks)
	c.every, c.pause = 5*time.Millisecond, time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return c, log, stop
}

func awaitEvent(t *testing.T, log *events.Log, says string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := log.Changed()
		for _, e := range log.Recent(100) {
			if strings.Contains(e.Text, says) {
				return
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no event says %q: %+v", says, log.Recent(100))
		}
	}
}

// TestReceiverIsToldOfTooLittleAndTooMuchRoom: over TLS, signed, with reason and figures, and once.
func TestReceiverIsToldOfTooLittleAndTooMuchRoom(t *testing.T) {
	r, f := newReceiver(t, true), &fleet{}
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	f.fill(9, 9)
	_, log, _ := run(t, f, newMemory(t), &tls.Config{RootCAs: pool}, hookTo(t, r.URL))
	up := r.await(t, 1)[0]
	if up.Kind != ScaleUp || up.From != "c1" || up.ID == "" || !strings.Contains(up.Reason, "2 sessions are free, fewer than 3") {
		t.Fatalf("%+v", up)
	}
	if want := (Figures{Nodes: 2, Serving: 2, Total: 20, Used: 18, Free: 2, Warm: 2}); up.Figures != want || len(up.Nodes) != 2 || up.Nodes[1].Used != 9 {
		t.Fatalf("figures %+v and nodes %+v, want %+v", up.Figures, up.Nodes, want)
	}
	awaitEvent(t, log, "scale_up was taken")
	f.fill(1, 0)
	down := r.await(t, 2)[1]
	if down.Kind != ScaleDown || down.Figures.Free != 19 || down.ID == up.ID {
		t.Fatalf("%+v", down)
	}
}

func TestReceiverThatFailsIsAskedAgain(t *testing.T) {
	r, f := newReceiver(t, false, 500, 503, 429, 302), &fleet{}
	_, log, _ := run(t, f, newMemory(t), nil, hookTo(t, r.URL))
	heard := r.await(t, 5)
	for _, m := range heard {
		if m.ID != heard[0].ID {
			t.Fatal("another attempt has another ID: a receiver could not tell them apart")
		}
	}
	awaitEvent(t, log, "scale_up was taken")
}

func TestReceiverThatRefusesIsNot(t *testing.T) {
	r, f := newReceiver(t, false, 403), &fleet{}
	_, log, _ := run(t, f, newMemory(t), nil, hookTo(t, r.URL))
	awaitEvent(t, log, "after 1 attempts: the receiver refuses it: it answers 403")
	if n := len(r.await(t, 1)); n != 1 {
		t.Fatalf("%d calls", n)
	}
}

func TestMissingSecretIsSaidAndNotSentUnsigned(t *testing.T) {
	r, f := newReceiver(t, false), &fleet{}
	h := hookTo(t, r.URL)
	if err := os.WriteFile(h.SecretFile, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, log, _ := run(t, f, newMemory(t), nil, h)
	awaitEvent(t, log, "want 16 to")
	for _, e := range log.Recent(100) {
		if strings.Contains(e.Text, "short") {
			t.Errorf("the event holds the secret: %+v", e)
		}
	}
	if len(r.heard) > 0 {
		t.Error("it was sent without a good secret")
	}
}

// TestOnlyTheLeaderCalls, and the next one knows what was called.
func TestOnlyTheLeaderCalls(t *testing.T) {
	r, f, m := newReceiver(t, false), &fleet{}, newMemory(t)
	h := hookTo(t, r.URL)
	m.lead(false)
	_, log, stop := run(t, f, m, nil, h)
	m.awaitLooks(t, 5)
	if len(r.heard) > 0 {
		t.Fatal("a coordinator that does not lead called")
	}
	m.lead(true)
	awaitEvent(t, log, "scale_up was taken")
	stop()
	_, log, stop = run(t, f, m, nil, h)
	m.awaitLooks(t, 5)
	stop()
	if n := len(r.await(t, 1)); n != 1 || len(log.Recent(10)) > 0 {
		t.Fatalf("the next leader called again: %d calls", n)
	}
}

func TestHooksAreReplacedWhileItRuns(t *testing.T) {
	first, second, f := newReceiver(t, false), newReceiver(t, false), &fleet{}
	c, _, _ := run(t, f, newMemory(t), nil, hookTo(t, first.URL))
	first.await(t, 1)
	c.SetHooks([]Hook{hookTo(t, second.URL)})
	second.await(t, 1)
}

func TestPlainHTTPGoesToThisHostAlone(t *testing.T) {
	h := Hook{URL: "http://198.51.100.7/x", SecretFile: hookTo(t, "x").SecretFile}
	err := attempt(t.Context(), clientFor(h, nil), h, Message{}, time.Now())
	if err == nil || !strings.Contains(err.Error(), "this host alone") {
		t.Fatal(err)
	}
}

func TestJudgeWaitsForAConditionToLastAndThenForItsRepeat(t *testing.T) {
	hooks, err := Complete([]Hook{{URL: "https://x.example/", SecretFile: "/s", ScaleUp: Up{FreeBelow: 3}, ScaleDown: Down{FreeAbove: 12}}})
	if err != nil {
		t.Fatal(err)
	}
	j, now := &judge{hook: hooks[0]}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		after time.Duration
		free  int
		want  string
	}{
		{0, 2, ""},
		{10 * time.Second, 2, ""},
		{time.Second, 3, ""}, // it passes within its time
		{time.Second, 2, ""},
		{14 * time.Second, 2, ""},
		{time.Second, 2, ScaleUp},
		{time.Second, 2, ""},
		{4 * time.Minute, 5, ""}, // room again: a new shortage soon after makes no noise
		{time.Second, 2, ""},
		{20 * time.Second, 2, ""},
		{time.Minute, 2, ScaleUp},
		{time.Second, 13, ""},
		{9 * time.Minute, 13, ""},
		{time.Minute, 13, ScaleDown},
		{time.Second, 2, ""},
		{15 * time.Second, 2, ScaleUp}, // the other way waits for nothing but its own time
	} {
		now = now.Add(step.after)
		got := ""
		if c := j.look(Figures{Free: step.free}, now); c != nil {
			got = c.kind
		}
		if got != step.want {
			t.Fatalf("at %s with %d free: %q, want %q", now.Format(time.TimeOnly), step.free, got, step.want)
		}
	}
}

func TestRoomOfNodesThatTakeNoSessionsCountsForNothing(t *testing.T) {
	nodes := []cluster.Node{
		{Capacity: cluster.Capacity{Total: 10, Used: 1, Draining: true}},
		{Capacity: cluster.Capacity{Total: 10, Used: 1, Full: "out of memory"}},
		{Capacity: cluster.Capacity{Total: 10, Used: 4, Classes: []cluster.Room{{Class: "gpu", Total: 4, Used: 1, Encoders: 2}}}},
		{Capacity: cluster.Capacity{Total: 4, Used: 3, Classes: []cluster.Room{{Class: "gpu", Total: 4, Encoders: 4}}}}, // slots for one
	}
	all, _ := figuresOf(nodes, "")
	if want := (Figures{Nodes: 4, Serving: 3, Total: 24, Used: 8, Free: 7}); all != want {
		t.Errorf("%+v, want %+v", all, want)
	}
	gpu, each := figuresOf(nodes, "gpu")
	if want := (Figures{Nodes: 4, Serving: 3, Total: 8, Used: 1, Free: 4, Encoders: 3}); gpu != want || each[2].Used != 1 {
		t.Errorf("%+v, want %+v; %+v", gpu, want, each)
	}
}

func TestHooksThatMakeNoSenseAreRefused(t *testing.T) {
	good := Hook{URL: "https://x.example/", SecretFile: "/s", ScaleUp: Up{FreeBelow: 1}}
	if _, err := Complete([]Hook{good, {URL: "http://127.0.0.1:1/", SecretFile: "/s", ScaleDown: Down{FreeAbove: 1}}}); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Hook){
		"this host alone": func(h *Hook) { h.URL = "http://scaler.example/" },
		"https://scaler":  func(h *Hook) { h.URL = "scaler" },
		"secret_file":     func(h *Hook) { h.SecretFile = "secret" },
		"never be called": func(h *Hook) { h.ScaleUp.FreeBelow = 0 },
		"chase":           func(h *Hook) { h.ScaleDown.FreeAbove = 1 },
		"want 0 to":       func(h *Hook) { h.ScaleUp.FreeBelow = -1 },
		"repeat":          func(h *Hook) { h.Repeat = time.Second },
		"scale_up.for":    func(h *Hook) { h.ScaleUp.For = 100 * time.Hour },
	} {
		h := good
		change(&h)
		if _, err := Complete([]Hook{h}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", h, err, says)
		}
	}
	if _, err := Complete([]Hook{good, good}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same hook twice: %v", err)
	}
}
