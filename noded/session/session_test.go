package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

func TestReserveIsIdempotentByUserAndKey(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	first, created := n.reserve("ann", "k")
	again, createdAgain := n.reserve("ann", "k")
	if !created || createdAgain || first.ID != again.ID {
		t.Fatalf("created %v then %v: %s, %s", created, createdAgain, first.ID, again.ID)
	}
	if other, _ := n.reserve("bob", "k"); other.ID == first.ID {
		t.Fatal("two users share a session")
	}
	if other, _ := n.reserve("ann", "k2"); other.ID == first.ID {
		t.Fatal("two keys name one session")
	}
}

func TestTwoRequestsForTheSameSessionAtOnceGiveOne(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	var asking sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		asking.Go(func() {
			s, _, err := n.Reserve(t.Context(), Request{User: "ann", Key: "k"})
			if err != nil {
				t.Error(err)
			}
			ids[i] = s.ID
		})
	}
	asking.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("got %v", ids)
		}
	}
	n.untilState(ids[0], Ready)
	if h.times("container") != 1 {
		t.Fatalf("%d containers were made", h.times("container"))
	}
}

func TestKeyOfAnEndedSessionNamesANewOne(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	first, _ := n.reserve("ann", "k")
	if _, err := n.Stop(t.Context(), first.ID, ""); err != nil {
		t.Fatal(err)
	}
	second, created := n.reserve("ann", "k")
	if !created || second.ID == first.ID {
		t.Fatal("an ended session was handed out")
	}
	n.untilReleased(first.ID)
	n.untilState(second.ID, Ready)
}

func TestSessionsShareNeitherPortsNorUIDs(t *testing.T) {
	h := newHost(t)
	h.busy[50001] = true
	n := start(t, h, "", nil)
	ports, uids := map[uint16]bool{}, map[uint32]bool{}
	for i := range 3 {
		s, _ := n.reserve("ann", fmt.Sprint(i))
		ports[s.UDPPort], uids[s.UIDBase] = true, true
		if s.UIDBase%uidsPerSession != 10_000_000%uidsPerSession {
			t.Errorf("uid base %d", s.UIDBase)
		}
	}
	if len(ports) != 3 || len(uids) != 3 || ports[50001] {
		t.Fatalf("ports %v, uids %v", ports, uids)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		host    func(*host)
		options func(*Options)
		request Request
		reason  string
		says    string
	}{
		"full":     {options: func(o *Options) { o.Admission.Max = 1 }, reason: "full", says: "1 sessions already"},
		"memory":   {host: func(h *host) { h.memory = 5 << 30 }, options: func(o *Options) { o.Admission.Limits.Memory = 3 << 30 }, reason: "memory", says: "sessions.memory"},
		"disk":     {host: func(h *host) { h.disk = 1 << 20 }, reason: "disk", says: "free some"},
		"no image": {host: func(h *host) { h.image = false }, reason: "image", says: "noded image build"},
		"ports":    {options: func(o *Options) { o.Admission.PortLast = o.Admission.PortFirst }, reason: "ports", says: "media.ports"},
		"no card":  {options: func(o *Options) { o.GPUs = nil }, request: Request{User: "bob", Key: "k", Class: "1g.10gb"}, reason: "class", says: "no GPU"},
		"a class":  {request: Request{User: "bob", Key: "k", Class: "7g.80gb"}, reason: "class", says: "only of shared, whole, 1g.10gb"},
		"no encoder": {
			request: Request{User: "bob", Key: "k", Class: "1g.10gb", Encoder: EncoderHardware}, reason: "encoder", says: "no encoder engine",
		},
		"unfit": {host: func(h *host) { h.spoil(cardB, "XID 79: it fell off the bus") }, request: Request{User: "bob", Key: "k", Class: gpu.Whole}, reason: "gpu", says: "fell off the bus"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			n := start(t, h, "", tc.options)
			n.reserve("ann", "first")
			if tc.host != nil {
				tc.host(h)
			}
			if tc.request.User == "" {
				tc.request = Request{User: "bob", Key: "k"}
			}
			_, _, err := n.Reserve(t.Context(), tc.request)
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Reason != tc.reason || !strings.Contains(refusal.Detail, tc.says) {
				t.Fatalf("error %v (%+v), want reason %q and words %q", err, refusal, tc.reason, tc.says)
			}
		})
	}
}

func TestFullNodeSaysSoInItsStatus(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 1 })
	if s, err := n.Status(t.Context()); err != nil || s.Full != "" || s.Used != 0 || len(s.Images) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	n.reserve("ann", "k")
	if s, err := n.Status(t.Context()); err != nil || s.Full == "" || s.Used != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestMalformedRequestsAreInvalid(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	for _, q := range []Request{
		{User: "", Key: "k"},
		{User: "Ann", Key: "k"},
		{User: "../ann", Key: "k"},
		{User: "..", Key: "k"},
		{User: strings.Repeat("a", 65), Key: "k"},
		{User: "ann", Key: ""},
		{User: "ann", Key: strings.Repeat("k", 129)},
		{User: "ann", Key: "a\x00b"},
		{User: "ann", Key: "k", Image: "../x y"},
		{User: "ann", Key: "k", Class: "gpu"},
		{User: "ann", Key: "k", Class: gpu.Shared, Encoder: "cpu"},
	} {
		if _, _, err := n.Reserve(t.Context(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: error %v", q, err)
		}
	}
}

func TestUnknownSessionIsNotFound(t *testing.T) {
	n := start(t, newHost(t), "", nil)
	if _, err := n.Get("saaaaaaaaaaaaaaaa"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := n.Stop(t.Context(), "saaaaaaaaaaaaaaaa", ""); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func TestGetTellsTheSessionsProcesses(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	s, err := n.Get(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	p := s.Proto()
	if p.Pids.Streamer == 0 || p.Pids.Init != int32(s.InitPID) || p.Pids.X != int32(s.InitPID)+5 || p.Pids.Gimp != int32(s.InitPID)+7 {
		t.Fatalf("pids %+v", p.Pids)
	}
	if p.XSocket == "" || p.XCookie == "" || p.Cgroup != "/easel/"+s.ID || len(p.Times) != 3 || p.WindowMs < 0 {
		t.Fatalf("%+v", p)
	}
	spec := h.streamed[0]
	if spec.UID != s.UIDBase+65000 || spec.IPCPID != s.InitPID {
		t.Fatalf("streamer %+v", spec)
	}
	c, err := contract.ReadConfig(strings.NewReader(string(spec.Config)))
	if err != nil || string(c.Cookie()) != "0123456789abcdef" || c.UDPPort != int(s.UDPPort) || c.EdgeUID != s.UIDBase+1000 {
		t.Fatalf("configuration %+v, %v", c, err)
	}
}

func TestDeadStreamerIsReplaced(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	var id string
	for _, part := range (life{reserveIt, getReady, connect}) {
		part(n, h, &id)
	}
	s, _ := n.Get(id)
	if err := h.KillWorker(t.Context(), s.Paths.Cgroup, s.Worker); err != nil {
		t.Fatal(err)
	}
	n.until(id, "served by another streamer", func(now Session) bool {
		return now.Worker != s.Worker && h.WorkerAlive(now.Worker) && now.StreamerRestarts == 1 && now.State == Detached
	})
	h.mu.Lock()
	streamed := slices.Clone(h.streamed)
	h.mu.Unlock()
	var sizes []contract.Size
	for _, spec := range streamed {
		c, err := contract.ReadConfig(bytes.NewReader(spec.Config))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, c.Initial)
	}
	if want := []contract.Size{firstSize, {}}; !slices.Equal(sizes, want) { // the second leaves the screen as its viewers have it
		t.Errorf("streamers began with screens of %v, want %v", sizes, want)
	}
	connect(n, h, &id)
}

func TestHungStreamerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h, "", func(o *Options) { o.Streamers = silent{}; o.StartTimeout = time.Hour })
		s, _ := n.reserve("ann", "k")
		time.Sleep(hungAfter + 10*time.Second)
		n.until(s.ID, "served by another streamer", func(s Session) bool { return s.StreamerRestarts == 1 })
		n.cut()
		<-n.ended
	})
}

type silent struct{}

func (silent) Watch(ctx context.Context, _ string, _ uint64) (contract.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	<-ctx.Done()
	return contract.Health{}, ctx.Err()
}

func (silent) Notify(ctx context.Context, _ string, _ contract.Notice) error {
	<-ctx.Done()
	return ctx.Err()
}

func (silent) SetPolicy(ctx context.Context, _ string, _ contract.Policy) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestGIMPThatRanOutOfMemoryIsTold(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.mu.Lock()
	h.oom = true
	h.mu.Unlock()
	h.say(s.ID, func(x *contract.Health) { x.GIMP.Restarts = 1 })
	n.until(s.ID, "told of", func(s Session) bool {
		return s.GIMPRestarts == 1 && len(s.Health.Degraded) == 1 && strings.Contains(s.Health.Degraded[0], "out of memory")
	})
}

func TestServiceThatDoesNotRunIsTold(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.say(s.ID, func(x *contract.Health) {
		x.Degraded = []string{"software encoder"}
		x.Services = map[string]contract.Service{"pulseaudio": {State: contract.Backoff}, "dbus": {State: contract.Running}}
	})
	n.until(s.ID, "told of", func(s Session) bool {
		return len(s.Health.Degraded) == 2 && s.Health.Degraded[0] == "software encoder" && strings.HasPrefix(s.Health.Degraded[1], "pulseaudio does not run")
	})
}

func TestOpenCLThatFailsIsTold(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.say(s.ID, func(x *contract.Health) { x.OpenCL = contract.OpenCL{State: contract.OpenCLOn, Device: "card"} })
	n.until(s.ID, "on", func(s Session) bool { return s.Proto().GetOpencl() == "on" && len(s.Health.Degraded) == 0 })
	h.say(s.ID, func(x *contract.Health) {
		x.OpenCL = contract.OpenCL{State: contract.OpenCLFailed, Why: "the driver hung"}
	})
	n.until(s.ID, "failed", func(s Session) bool {
		return s.Proto().GetOpencl() == "off: the driver hung" && len(s.Health.Degraded) == 1 && strings.Contains(s.Health.Degraded[0], "without OpenCL: the driver hung")
	})
	n.measure()
	registry := prometheus.NewRegistry()
	registry.MustRegister(n.metrics.opencl)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if state := m.GetLabel()[0].GetValue(); (m.GetGauge().GetValue() == 1) != (state == contract.OpenCLFailed) {
			t.Errorf("%v sessions are %s", m.GetGauge().GetValue(), state)
		}
	}
}

func TestStreamerIsToldItsEncoder(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 4 })
	for class, want := range map[string]contract.Encoder{
		gpu.None: {}, gpu.Shared: {Kind: contract.NVENC, Device: cardA}, gpu.Whole: {Kind: contract.NVENC, Device: cardB}, "1g.10gb": {},
	} {
		s := n.mustReserve("ann-"+class, class, EncoderAny)
		n.untilState(s.ID, Ready)
		h.mu.Lock()
		spec := h.streamed[len(h.streamed)-1]
		h.mu.Unlock()
		cfg, err := contract.ReadConfig(bytes.NewReader(spec.Config))
		if err != nil || spec.ID != s.ID || cfg.Encoder != want {
			t.Errorf("class %s: the streamer of %s is told %+v (%v), want %+v", class, spec.ID, cfg.Encoder, err, want)
		}
	}
}

// What failed the node's proof is told to each streamer, of the card that its session has, and to who asks the node.
func TestStreamerIsToldWhatFailedItsProof(t *testing.T) {
	h := newHost(t)
	none := []contract.FailedEncoder{{Kind: contract.X264, Format: "vp9", Why: "grey"}}
	card := append(slices.Clone(none), contract.FailedEncoder{Kind: contract.NVENC, Format: "h264", Why: "green"})
	h.encoders.failed = map[string][]contract.FailedEncoder{"": none, cardA: card}
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 4 })
	for class, want := range map[string][]contract.FailedEncoder{gpu.None: none, gpu.Shared: card, gpu.Whole: nil} {
		s := n.mustReserve("ann-"+class, class, EncoderAny)
		n.untilState(s.ID, Ready)
		h.mu.Lock()
		spec := h.streamed[len(h.streamed)-1]
		h.mu.Unlock()
		cfg, err := contract.ReadConfig(bytes.NewReader(spec.Config))
		if err != nil || spec.ID != s.ID || !slices.Equal(cfg.Failed, want) {
			t.Errorf("class %s: the streamer of %s is told %+v (%v), want %+v", class, spec.ID, cfg.Failed, err, want)
		}
	}
	status, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := status.Proto()
	if len(p.Encoders) != 1 || !p.Encoders[0].Proven || p.Encoders[0].Format != "h264" || p.Encoders[0].Decibels != 40 || p.Encoders[0].Levels != 2 {
		t.Errorf("the node's encoders are told as %v", p.Encoders)
	}
	if !slices.ContainsFunc(p.Degraded, func(s string) bool { return strings.Contains(s, `1 of ""`) }) {
		t.Errorf("the node is degraded by %q", p.Degraded)
	}
}

func TestEncoderThatStandsInIsToldAndCounted(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.say(s.ID, func(x *contract.Health) { x.Viewers, x.Path, x.Encoder = 1, contract.PathDirect, "NVENC (card)" })
	n.until(s.ID, "hardware", func(s Session) bool { return s.Proto().GetEncoder() == "NVENC (card)" })
	h.say(s.ID, func(x *contract.Health) {
		x.Encoder, x.Fallbacks, x.Degraded = "x264 (software)", 1, []string{"encoder: x264 (software) stands in: the card is lost"}
	})
	n.until(s.ID, "software", func(s Session) bool {
		return s.Proto().GetEncoder() == "x264 (software)" && len(s.Health.Degraded) == 1 && strings.Contains(s.Health.Degraded[0], "the card is lost")
	})
	var counted dto.Metric
	if err := n.metrics.fallbacks.Write(&counted); err != nil || counted.GetCounter().GetValue() != 1 {
		t.Errorf("%v fallbacks were counted (%v), want 1", counted.GetCounter().GetValue(), err)
	}
	h.say(s.ID, func(x *contract.Health) { x.Viewers, x.Path = 0, contract.PathNone })
	n.until(s.ID, "nobody watches", func(s Session) bool { return s.Proto().GetEncoder() == "" })
}

// TestRestartLeavesSessionsAlone: invariant 3.
func TestRestartLeavesSessionsAlone(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	var id string
	for _, part := range (life{reserveIt, getReady, connect}) {
		part(n, h, &id)
	}
	before, _ := n.Get(id)
	n.stop()
	n = start(t, h, "", nil)
	for !n.Settled() {
		time.Sleep(time.Millisecond)
	}
	after, _ := n.Get(id)
	if after.Health.Seq == 0 || after.Pids.X == 0 {
		t.Fatal("the node called itself settled before it had heard from its session")
	}
	if after.State != Connected || after.Worker != before.Worker || after.InitPID != before.InitPID || h.times("streamer") != 1 {
		t.Fatalf("before %+v, after %+v", before.Record, after.Record)
	}
}

func TestSweepRemovesWhatNobodyOwns(t *testing.T) {
	h := newHost(t)
	id := "sabcdefghijklmnop"
	paths := places{h.run, "/easel"}.of(id)
	c := Container{ID: id, RunDir: paths.Run, Home: paths.Home}
	if err := errors.Join(h.PrepareDirs(t.Context(), c), h.Open(t.Context(), "ann", paths.Home), h.Create(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := h.StartWorker(t.Context(), WorkerSpec{ID: id, Cgroup: paths.Cgroup + "/streamer"}); err != nil {
		t.Fatal(err)
	}
	// With cgroup: /easel.slice the daemons' own cgroups lie beside the sessions'.
	h.procs[Worker{PID: 1}] = &proc{cgroup: "/easel/easel-noded.service/x", ended: make(chan struct{})}
	stranger := filepath.Join(h.run, "s", "not-ours")
	if err := os.MkdirAll(stranger, 0o755); err != nil {
		t.Fatal(err)
	}
	n := start(t, h, "", nil)
	for !n.Settled() {
		time.Sleep(time.Millisecond)
	}
	if left := h.leftovers(); len(left) != 2 || left[0] != "process in /easel/easel-noded.service/x" || left[1] != stranger {
		t.Fatalf("left: %v", left)
	}
}

// TestLeakThatStaysDoesNotStopTheNode: containerd that cannot list, say, keeps no session from being made.
func TestLeakThatStaysDoesNotStopTheNode(t *testing.T) {
	h := newHost(t)
	h.failing["list"] = errors.New("disk on fire")
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	n.until(s.ID, "on a settled node", func(Session) bool { return n.Settled() })
}

func TestAwaitReturnsAtAChange(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if s, err := n.Await(ctx, s.ID, Ready); err != nil || s.State != Ready {
		t.Fatalf("%s, %v", s.State, err)
	}
	changed := make(chan State, 1)
	go func() {
		s, _ := n.Await(context.Background(), s.ID, Ready)
		changed <- s.State
	}()
	h.say(s.ID, func(x *contract.Health) { x.Viewers = 1 })
	select {
	case state := <-changed:
		if state != Connected {
			t.Fatal(state)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it never returned")
	}
}
