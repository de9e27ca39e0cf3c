package session

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/noded/stream/contract"

	dto "github.com/prometheus/client_model/go"
)

// journal is a log that a test reads while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// lines with a text in them.
func (j *journal) lines(with string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		if strings.Contains(line, with) {
			found = append(found, line)
		}
	}
	return found
}

func TestWhatCrossesByTheClipboardIsWrittenDownAndCounted(t *testing.T) {
	h := newHost(t)
	var j journal
	n := start(t, h, "", func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&j, nil)) })
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.say(s.ID, func(x *contract.Health) { x.Clipboard.Out.PNG = contract.Count{N: 1, Bytes: 4321} })
	n.until(s.ID, "a picture", func(s Session) bool { return s.Health.Clipboard.Out.PNG.N == 1 })
	h.say(s.ID, func(x *contract.Health) { x.Clipboard.In.Text = contract.Count{N: 2, Bytes: 30} })
	n.until(s.ID, "texts", func(s Session) bool { return s.Health.Clipboard.In.Text.N == 2 })
	lines := j.lines("clipboard crossed")
	if len(lines) != 2 {
		t.Fatalf("the log has %q", lines)
	}
	for i, want := range []string{"user=ann direction=out kind=png contents=1 bytes=4321", "user=ann direction=in kind=text contents=2 bytes=30"} {
		if !strings.Contains(lines[i], want) || !strings.Contains(lines[i], "session="+s.ID) {
			t.Errorf("line %d is %q, want %q in it", i, lines[i], want)
		}
	}
	var counted dto.Metric
	if err := n.metrics.clipboardBytes.WithLabelValues("out", "png").Write(&counted); err != nil || counted.GetCounter().GetValue() != 4321 {
		t.Errorf("%v bytes were counted (%v), want 4321", counted.GetCounter().GetValue(), err)
	}
}

// A change of the operator's policy reaches sessions that there are, and a streamer that is started again.
func TestPolicyReachesSessionsThatThereAre(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	told := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); h.policy(s.ID).Clipboard != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the streamer was told %+v, want %q", h.policy(s.ID), want)
			}
		}
	}
	next := n.settings().Settings
	next.Policy.Clipboard = contract.ClipboardOff
	n.Configure(next)
	told(contract.ClipboardOff)
	before, _ := n.Get(s.ID)
	if err := h.KillWorker(t.Context(), before.Paths.Cgroup+"/streamer", before.Worker); err != nil {
		t.Fatal(err)
	}
	n.until(s.ID, "with another streamer", func(s Session) bool { return s.Worker != before.Worker && s.Steps["streamer"] == Done })
	told(contract.ClipboardOff)
	h.mu.Lock()
	config, err := contract.ReadConfig(bytes.NewReader(h.streamed[len(h.streamed)-1].Config))
	h.mu.Unlock()
	if err != nil || config.Policy.Clipboard != contract.ClipboardOff {
		t.Fatalf("the new streamer began with %+v, %v", config.Policy, err)
	}
	next.Policy.Clipboard = contract.ClipboardIn
	n.Configure(next)
	told(contract.ClipboardIn)
}

// TestGuestsAreCountedAndKeepNoSession: who has the hand is written down, and a session whose owner is away ends though guests watch it.
func TestGuestsAreCountedAndKeepNoSession(t *testing.T) {
	h := newHost(t)
	var j journal
	n := start(t, h, "", func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&j, nil)) })
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.say(s.ID, func(x *contract.Health) {
		x.Viewers, x.Guests, x.Path = 3, contract.Guests{TakePart: 1, View: 1}, contract.PathDirect
	})
	n.untilState(s.ID, Connected)
	h.say(s.ID, func(x *contract.Health) { x.Hand = "link.guest" })
	n.until(s.ID, "the hand", func(s Session) bool { return s.Health.Hand == "link.guest" })
	n.measure()
	for role, want := range map[string]float64{contract.RoleOwner: 1, contract.RoleTakePart: 1, contract.RoleView: 1} {
		var m dto.Metric
		if err := n.metrics.viewers.WithLabelValues(role).Write(&m); err != nil || m.GetGauge().GetValue() != want {
			t.Errorf("%v viewers with the role %s, want %v", m.GetGauge().GetValue(), role, want)
		}
	}
	h.say(s.ID, func(x *contract.Health) { x.Viewers, x.Hand = 2, "" })
	n.untilState(s.ID, Detached)
	if lines := j.lines("the hand"); len(lines) != 2 || !strings.Contains(lines[0], "user=ann guest=link.guest") || !strings.Contains(lines[1], "the owner's again") {
		t.Errorf("the log has %q", lines)
	}
}
