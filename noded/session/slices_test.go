package session

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

func (n *node) reserveClass(user, class, encoder string) (Session, error) {
	s, _, err := n.Reserve(n.t.Context(), Request{User: user, Key: "k", Class: class, Encoder: encoder})
	return s, err
}

func (n *node) mustReserve(user, class, encoder string) Session {
	n.t.Helper()
	s, err := n.reserveClass(user, class, encoder)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

func (n *node) expectRefused(err error, reason string) {
	n.t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != reason {
		n.t.Fatalf("error %v, want a refusal for %q", err, reason)
	}
}

// TestSliceIsHeldUntilTheSessionIsReleased: nobody gets it before, and somebody does after.
func TestSliceIsHeldUntilTheSessionIsReleased(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	first := n.mustReserve("ann", gpu.Whole, "")
	if first.GPU.ID != cardB || first.Proto().Gpu != cardB || first.Class != gpu.Whole {
		t.Fatalf("slice %+v", first.GPU)
	}
	n.untilState(first.ID, Ready)
	if got := h.inUse(); !slices.Equal(got, []string{cardB}) {
		t.Fatalf("devices were made of %v", got)
	}
	_, err := n.reserveClass("bob", gpu.Whole, "")
	n.expectRefused(err, "gpu")
	h.refuseToFree(true)
	if _, err := n.Stop(t.Context(), first.ID, ""); err != nil {
		t.Fatal(err)
	}
	n.until(first.ID, "held back", func(s Session) bool {
		return s.lingers() && slices.ContainsFunc(s.Health.Degraded, func(d string) bool { return strings.Contains(d, "gimp) holds 300 MiB") })
	})
	if left := h.leftovers(); len(left) != 1 {
		t.Fatalf("a slice that is held back keeps %v", left)
	}
	_, err = n.reserveClass("bob", gpu.Whole, "")
	n.expectRefused(err, "gpu")
	status, err := n.Status(t.Context())
	if err != nil || status.Used != 0 || !slices.ContainsFunc(status.Degraded, func(d string) bool { return strings.Contains(d, "held back") }) {
		t.Fatalf("%+v, %v", status, err)
	}
	h.refuseToFree(false)
	n.untilReleased(first.ID)
	n.untilState(n.mustReserve("bob", gpu.Whole, "").ID, Ready)
}

// TestHeldBackSliceTakesNoPlace: a node with room for one session has it when all that is left of the one before is its slice.
func TestHeldBackSliceTakesNoPlace(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 1 })
	first := n.mustReserve("ann", gpu.Whole, "")
	n.untilState(first.ID, Ready)
	h.refuseToFree(true)
	if _, err := n.Stop(t.Context(), first.ID, ""); err != nil {
		t.Fatal(err)
	}
	n.until(first.ID, "held back", func(s Session) bool { return s.lingers() })
	n.untilState(n.mustReserve("bob", gpu.None, "").ID, Ready)
	h.refuseToFree(false)
	n.untilReleased(first.ID)
}

// encoderOf is what a session's streamer was told to encode by.
func (n *node) encoderOf(id string) contract.Encoder {
	n.t.Helper()
	h := n.host.(*host)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.streamed {
		if s.ID == id {
			c, err := contract.ReadConfig(bytes.NewReader(s.Config))
			if err != nil {
				n.t.Fatal(err)
			}
			return c.Encoder
		}
	}
	n.t.Fatalf("session %s has no streamer", id)
	return contract.Encoder{}
}

// TestEncodersAreCounted: two sessions share a card that can encode for one.
func TestEncodersAreCounted(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	first := n.mustReserve("ann", gpu.Shared, EncoderHardware)
	if !first.GPU.Encoder {
		t.Fatal("the first got no encoder")
	}
	n.untilState(first.ID, Ready)
	if got, want := n.encoderOf(first.ID), (contract.Encoder{Kind: contract.NVENC, Device: cardA}); got != want {
		t.Fatalf("its streamer has encoder %+v, want %+v", got, want)
	}
	_, err := n.reserveClass("bob", gpu.Shared, EncoderHardware)
	n.expectRefused(err, "encoder")
	second := n.mustReserve("bob", gpu.Shared, EncoderAny)
	if second.GPU.Encoder || second.GPU.ID == first.GPU.ID {
		t.Fatalf("the second got %+v", second.GPU)
	}
	if got, _ := n.Get(second.ID); !slices.ContainsFunc(got.Health.Degraded, func(d string) bool { return strings.Contains(d, "CPU encodes") }) {
		t.Fatalf("nothing says that the CPU encodes: %v", got.Health.Degraded)
	}
	n.untilState(second.ID, Ready)
	if got := n.encoderOf(second.ID); got != (contract.Encoder{}) {
		t.Fatalf("its streamer has encoder %+v, want none", got)
	}
	status, err := n.Status(t.Context())
	if err != nil || len(status.Rooms) != 3 {
		t.Fatalf("%+v, %v", status, err)
	}
	if r := status.Rooms[0]; r.Class != gpu.Shared || r.Total != 2 || r.Used != 2 || r.Encoders != 0 {
		t.Fatalf("shared: %+v", r)
	}
	if r := status.Rooms[1]; r.Class != gpu.Whole || r.Total != 1 || r.Used != 0 || r.Encoders != 1 {
		t.Fatalf("whole: %+v", r)
	}
}

// TestCardThatFailsInUse: its session goes on and says so; afterwards the slice is nobody's until the card is well.
func TestCardThatFailsInUse(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s := n.mustReserve("ann", gpu.Whole, "")
	n.untilState(s.ID, Ready)
	h.spoil(cardB, "XID 79: the card has fallen off the bus")
	got, err := n.Get(s.ID)
	if err != nil || got.State != Ready || !slices.ContainsFunc(got.Health.Degraded, func(d string) bool { return strings.Contains(d, "fallen off the bus") }) {
		t.Fatalf("%s, degraded %v, %v", got.State, got.Health.Degraded, err)
	}
	if _, err := n.Stop(t.Context(), s.ID, ""); err != nil {
		t.Fatal(err)
	}
	n.untilReleased(s.ID)
	_, err = n.reserveClass("ann", gpu.Whole, "")
	n.expectRefused(err, "gpu")
	h.spoil(cardB, "")
	n.untilState(n.mustReserve("ann", gpu.Whole, "").ID, Ready)
}

func (n *node) warmOf(class string, kind Warmth) Warm {
	n.t.Helper()
	w, err := n.Prepare(n.t.Context(), "", class, kind, time.Now().Add(time.Hour))
	if err != nil {
		n.t.Fatal(err)
	}
	n.until(w.ID, "up", func(s Session) bool { return s.State == Ready && n.well(s.Record) })
	return w
}

// TestWarmSessionIsClaimedWithItsSlice: by who asks for its class, and by nobody else.
func TestWarmSessionIsClaimedWithItsSlice(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	w := n.warmOf("1g.10gb", WarmReady)
	if other := n.mustReserve("ann", gpu.None, ""); other.ID == w.ID || other.GPU.ID != "" {
		t.Fatal("who asked for no card got a warm session with one")
	}
	_, err := n.reserveClass("bob", "1g.10gb", EncoderHardware) // there is none, whether warm or not
	n.expectRefused(err, "encoder")
	claimed := n.mustReserve("bob", "1g.10gb", EncoderAny)
	if claimed.ID != w.ID || claimed.GPU.Class != "1g.10gb" {
		t.Fatalf("got session %s with %+v, want the warm one", claimed.ID, claimed.GPU)
	}
	n.untilState(claimed.ID, Ready)
}

// TestWarmSessionGivesItsSliceToWhoWaits: it is ended, and the new session waits until the slice is really free.
func TestWarmSessionGivesItsSliceToWhoWaits(t *testing.T) {
	h := newHost(t)
	h.profiles["ann"], h.profiles["carl"] = true, true // so that a ready one is not for them
	n := start(t, h, "", nil)
	none, mig := n.warmOf(gpu.None, WarmReady), n.warmOf("1g.10gb", WarmReady)
	n.mustReserve("carl", "1g.10gb", "")
	h.refuseToFree(true)
	held, err := n.Get(mig.ID)
	if err != nil {
		t.Fatal(err)
	}
	s := n.mustReserve("ann", "1g.10gb", "")
	if s.ID == mig.ID || s.GPU.ID != held.GPU.ID {
		t.Fatalf("session %s with %+v", s.ID, s.GPU)
	}
	n.until(mig.ID, "held back", func(s Session) bool { return s.lingers() })
	if got, _ := n.Get(s.ID); got.Steps["gpu"] == Done {
		t.Fatal("the slice was made ready for a second session before the first had left it")
	}
	h.refuseToFree(false)
	n.untilState(s.ID, Ready)
	if got, err := n.Get(none.ID); err != nil || got.State.Ended() {
		t.Fatalf("a warm session ended in vain: %s, %v", got.State, err)
	}
}

// TestWarmSessionLeavesTheLastSlice: it is for who comes and fits no warm one.
func TestWarmSessionLeavesTheLastSlice(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	for class, room := range map[string]int{gpu.Whole: 1, "1g.10gb": 2, gpu.Shared: 2} {
		for left := room; left > 1; left-- {
			n.warmOf(class, WarmDesktop)
		}
		_, err := n.Prepare(t.Context(), "", class, WarmDesktop, time.Now().Add(time.Hour))
		n.expectRefused(err, "gpu")
	}
	h.spoil(cardB, "XID 79")
	_, err := n.Prepare(t.Context(), "", gpu.Whole, WarmDesktop, time.Now().Add(time.Hour))
	n.expectRefused(err, "gpu")
	n.warmOf(gpu.None, WarmDesktop)
}

// TestWarmSessionsDoNotEndInVain: where no end of theirs frees a slice of the class, the request is refused and they live.
func TestWarmSessionsDoNotEndInVain(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	n.mustReserve("ann", gpu.Whole, "")
	w := n.warmOf("1g.10gb", WarmDesktop)
	_, err := n.reserveClass("bob", gpu.Whole, "")
	n.expectRefused(err, "gpu")
	if got, err := n.Get(w.ID); err != nil || got.State != Ready {
		t.Fatalf("%s, %v", got.State, err)
	}
}

// TestAWarmSessionOfAFailedCardIsNotGivenAway: its artist would begin on a card that is not well.
func TestAWarmSessionOfAFailedCardIsNotGivenAway(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	w := n.warmOf("1g.10gb", WarmReady)
	h.spoil("MIG-1", "XID 79")
	h.spoil("MIG-2", "XID 79")
	if s, err := n.reserveClass("ann", "1g.10gb", ""); err == nil {
		t.Fatalf("session %s (warm %s) was given", s.ID, w.ID)
	}
	n.retireUnfit(t.Context())
	n.untilReleased(w.ID)
}

// TestSessionsArePinnedToTheirCardWhenAsked: a session without a card has all processors, and so have all when nobody asked.
func TestSessionsArePinnedToTheirCardWhenAsked(t *testing.T) {
	for _, pin := range []bool{false, true} {
		h := newHost(t)
		h.slices[2].CPUs = "4-7"
		n := start(t, h, "", func(o *Options) { o.Admission.Pin = pin })
		for class, want := range map[string]string{gpu.Whole: "4-7", gpu.None: ""} {
			if !pin {
				want = ""
			}
			s := n.mustReserve("user-"+class, class, "")
			n.untilState(s.ID, Ready)
			h.mu.Lock()
			got := h.boxes[s.ID].c.Limits.CPUSet
			h.mu.Unlock()
			if got != want {
				t.Errorf("pin %v, class %s: on processors %q, want %q", pin, class, got, want)
			}
		}
		unknown := n.mustReserve("carl", "1g.10gb", "") // its card's are not known
		if told := len(unknown.Health.Degraded) == 1 && strings.Contains(unknown.Health.Degraded[0], "runs on all processors"); told != pin {
			t.Errorf("pin %v: degraded is %q", pin, unknown.Health.Degraded)
		}
		n.stop()
	}
}

// TestWhatSessionsTakeOfCardsIsTold: by class and by slice, to Prometheus; and to who looks at a session that takes more than its part.
func TestWhatSessionsTakeOfCardsIsTold(t *testing.T) {
	h := newHost(t)
	registry := prometheus.NewRegistry()
	n := start(t, h, "", func(o *Options) { o.Metrics = NewMetrics(registry) })
	s := n.mustReserve("ann", gpu.Shared, "")
	n.untilState(s.ID, Ready)
	h.take(s.ID, 25<<30)
	if got, _ := n.Get(s.ID); !slices.ContainsFunc(got.Health.Degraded, func(d string) bool { return strings.Contains(d, "its part is 24576") }) {
		t.Fatalf("degraded %v", got.Health.Degraded)
	}
	n.measure()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text := answer.Body.String()
	for _, want := range []string{
		`easel_gpu_slices{class="shared",state="total"} 2`, `easel_gpu_slices{class="shared",state="used"} 1`,
		`easel_gpu_slices{class="whole",state="used"} 0`, `easel_gpu_slices{class="1g.10gb",state="total"} 2`,
		`easel_gpu_slice_memory_bytes{class="shared",slice="` + s.GPU.ID + `"} 2.68435456e+10`,
		`easel_gpu_slice_busy_ratio{class="shared",slice="` + s.GPU.ID + `"} 0.5`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no metric %s in\n%s", want, text)
		}
	}
}

// TestManyAtOnceShareSlicesFairly has requests come and go at once: the host in memory fails the test when a slice is in two containers, and
// in the end nothing is held.
func TestManyAtOnceShareSlicesFairly(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 8 })
	classes := []string{gpu.Shared, gpu.Whole, "1g.10gb"}
	var asking sync.WaitGroup
	given := make([]int, 6)
	for i := range given {
		asking.Go(func() {
			for round := range 6 {
				s, _, err := n.Reserve(t.Context(), Request{User: fmt.Sprint("u", i), Key: fmt.Sprint(round), Class: classes[(i+round)%len(classes)]})
				var refusal *Refusal
				if errors.As(err, &refusal) && refusal.Reason == "gpu" {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				given[i]++
				if _, err := n.Stop(t.Context(), s.ID, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
	sum := 0
	for _, g := range given {
		sum += g
	}
	if sum < 5 {
		t.Errorf("only %d sessions were given slices", sum)
	}
	all, err := n.List("", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		n.untilReleased(s.ID)
	}
	n.expectNothingLeft(h)
	status, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range status.Slices {
		if room.Used != 0 {
			t.Errorf("in the end %+v", room)
		}
	}
}

// TestStatusTellsOfFaultyCards: an operator who asks for the node's status hears of its cards, and nothing of those that are well.
func TestStatusTellsOfFaultyCards(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	defer n.stop()
	status, err := n.Status(t.Context())
	if err != nil || len(status.Degraded) != 0 {
		t.Fatalf("with all well: %q, %v", status.Degraded, err)
	}
	h.mu.Lock()
	h.faults = []gpu.Fault{{Code: "lost", Text: "it has fallen off the bus"}}
	h.broken = "the library is of another version"
	h.mu.Unlock()
	status, err = n.Status(t.Context())
	if err != nil || len(status.Degraded) != 2 || !strings.Contains(status.Degraded[0], "another version") || !strings.Contains(status.Degraded[1], "fallen off the bus") {
		t.Errorf("with a lost card: %q, %v", status.Degraded, err)
	}
}

// TestDevicesThatNoSessionOwnsAreSweptAway: the record of before may be lost with its database.
func TestDevicesThatNoSessionOwnsAreSweptAway(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s := n.mustReserve("ann", gpu.Whole, "")
	n.untilState(s.ID, Ready)
	h.mu.Lock()
	h.prepared["sbbbbbbbbbbbbbbbb"] = gpu.Slice{ID: "MIG-1"}
	h.mu.Unlock()
	if err := n.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.inUse(); !slices.Equal(got, []string{cardB}) {
		t.Fatalf("devices are left of %v, want those of the session that lives", got)
	}
}
