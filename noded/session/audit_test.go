package session

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
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

// TestStreamerThatRefusesThePolicyIsTold: one of another version. It hears notices all the same, is not asked again for ever, and another streamer takes it.
func TestStreamerThatRefusesThePolicyIsTold(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	refuse := func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.failing["policy"] = err
	}
	degraded := func(s Session) bool { return slices.Contains(s.Health.Degraded, policyRefused) }
	refuse(fmt.Errorf("tell the streamer: %w: 400 Bad Request", ErrRefused))
	next := n.settings().Settings
	next.Policy.Clipboard = contract.ClipboardOff
	n.Configure(next)
	n.until(s.ID, "the refusal to be told", degraded)
	asked := h.times("policy")
	n.orderTo(Order{Duty: Draining, Deadline: time.Now().Add(time.Hour), Reason: "a new kernel"}, false)
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return strings.Contains(n.Text, "a new kernel") })
	if again := h.times("policy"); again != asked {
		t.Errorf("a policy that was refused was told %d times more", again-asked)
	}
	refuse(nil)
	before, _ := n.Get(s.ID)
	if err := h.KillWorker(t.Context(), before.Paths.Cgroup+"/streamer", before.Worker); err != nil {
		t.Fatal(err)
	}
	n.until(s.ID, "with a streamer that takes it", func(s Session) bool { return s.Worker != before.Worker && !degraded(s) })
	if told := h.policy(s.ID).Clipboard; told != contract.ClipboardOff {
		t.Errorf("the new streamer was told %q", told)
	}
}

// TestGuestsAreCountedAndKeepNoSession: who has the hand is written down, and a session whose owner is away ends though guests watch it.
func TestGuestsAreCountedAndKeepNoSession(t *testing.T) {
	h := newHost(t)
	var j journal
	n := start(t, h, "", func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&j, nil)) })
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.say(s.ID, func(x *contract.Health) {
		x.Viewers, x.Guests, x.Path, x.TilesLost = 3, contract.Guests{TakePart: 1, View: 1}, contract.PathDirect, 1
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
	var lost dto.Metric
	if err := n.metrics.tilesLost.Write(&lost); err != nil || lost.GetGauge().GetValue() != 1 {
		t.Errorf("%v viewers have lost their tiles, want 1", lost.GetGauge().GetValue())
	}
	h.say(s.ID, func(x *contract.Health) { x.Viewers, x.Hand = 2, "" })
	n.untilState(s.ID, Detached)
	if lines := j.lines("the hand"); len(lines) != 2 || !strings.Contains(lines[0], "user=ann guest=link.guest") || !strings.Contains(lines[1], "the owner's again") {
		t.Errorf("the log has %q", lines)
	}
}
