package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
)

// awaitMembers waits until the members that c sees satisfy ok.
func awaitMembers(t *testing.T, c *Cluster, what string, ok func([]Member) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok(c.Members()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %v for %s; the members are %+v", patience, what, c.Members())
		}
	}
}

func TestKeysAreRotatedWithoutAGap(t *testing.T) {
	old, young := newKey(), newKey()
	front := start(t, old, RoleCoordinator, "front")
	one := start(t, old, RoleNode, "one", joining(front.Addr()))
	two := start(t, old, RoleNode, "two", joining(front.Addr()))
	all := []*Cluster{front, one, two}
	publish(t, one, Capacity{Total: 1})
	publish(t, two, Capacity{Total: 1})
	await(t, front, "both nodes", sees("one", "two"))

	for step, keys := range [][][]byte{{old, young}, {young, old}, {young}} { // add, use, remove
		for i, c := range all { // between two of these the members differ by one step
			if err := c.SetKeys(keys); err != nil {
				t.Fatal(err)
			}
			used := 10*step + i
			publish(t, one, Capacity{Total: 100, Used: used})
			for _, reader := range all {
				await(t, reader, "news in the middle of a rotation", func(n []Node) bool { return len(n) == 2 && n[0].Capacity.Used == used })
			}
		}
	}

	late := start(t, old, RoleNode, "late", joining(front.Addr()))
	publish(t, late, Capacity{Total: 1})
	fresh := start(t, young, RoleNode, "fresh", joining(front.Addr()))
	publish(t, fresh, Capacity{Total: 1})
	await(t, front, "the node with the new key, and not the one with the old", sees("fresh", "one", "two"))
	if err := front.SetKeys(nil); err == nil {
		t.Error("a member without a key goes on")
	}
}

func TestKeyInTheMiddleOfTheRingGoes(t *testing.T) {
	a, b, c := newKey(), newKey(), newKey()
	ring, err := newKeyring([][]byte{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	if err := dropOthers(ring, [][]byte{a, c}); err != nil {
		t.Fatal(err)
	}
	if got := ring.GetKeys(); !slices.EqualFunc(got, [][]byte{a, c}, slices.Equal) {
		t.Errorf("the ring holds %x, want %x and %x", got, a, c)
	}
}

func TestRemovedMemberIsOutAtOnceAndMayJoinAgain(t *testing.T) {
	var before atomic.Uint64 // "evil" is refused with a trust older than this
	admit := func(m Meta) error {
		if m.Name == "evil" && m.Trust < before.Load() {
			return errors.New("it was removed")
		}
		return nil
	}
	key := newKey()
	front := start(t, key, RoleCoordinator, "front", func(c *Config) { c.Admit = admit })
	node := start(t, key, RoleNode, "evil", joining(front.Addr()), func(c *Config) { c.Meta.Trust = 1 })
	publish(t, node, Capacity{Total: 1})
	await(t, front, "the node", sees("evil"))

	before.Store(2)
	front.Readmit()
	if got := front.Nodes(); len(got) != 0 {
		t.Fatalf("a removed node is still in the view: %v", names(got))
	}
	if got := front.Members(); len(got) != 1 {
		t.Fatalf("a removed node is still a member: %+v", got)
	}
	node.SetTrust(2)
	await(t, front, "the node that has joined again", sees("evil"))
	awaitMembers(t, front, "its trust", func(m []Member) bool {
		return slices.ContainsFunc(m, func(m Member) bool { return m.Meta.Name == "evil" && m.Meta.Trust == 2 })
	})
}

func TestMembersHavePlaceAndRole(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "front")
	place := Place{Region: "eu-west", Zone: "b", Latitude: 52.5, Longitude: -1.25}
	node := start(t, key, RoleNode, "gpu1", joining(front.Addr()), func(c *Config) { c.Meta.Place, c.Meta.Relay = place, "gpu1.example.org:3478" })
	awaitMembers(t, front, "both members", func(m []Member) bool { return len(m) == 2 })
	got := front.Members()
	if got[0].Meta.Role != RoleCoordinator || got[1].Meta.Place != place || got[1].Meta.Relay != "gpu1.example.org:3478" || got[1].Address != node.Addr() {
		t.Errorf("the members are %+v", got)
	}
}

func TestCoordinateRefuses(t *testing.T) {
	good := Coordinate{Vec: [dimensions]float32{0.01, -0.02}, Height: 0.001, Error: 0.5}
	if got, err := decodeCoordinate(good.append(nil)); err != nil || got != good {
		t.Errorf("%+v became %+v, %v", good, got, err)
	}
	nan := good
	nan.Vec[3] /= nan.Vec[4]
	far := good
	far.Vec[0] = 11
	deep := good
	deep.Height = -1
	for what, c := range map[string]Coordinate{"not a number": nan, "too far": far, "below the ground": deep} {
		if _, err := decodeCoordinate(c.append(nil)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := decodeCoordinate(make([]byte, coordinateBytes-1)); err == nil {
		t.Error("a short one was accepted")
	}
	if _, ok := RTT(good, Coordinate{}); ok {
		t.Error("a distance to nowhere is known")
	}
	if rtt, ok := RTT(good, Coordinate{Error: 1}); !ok || rtt < 22*time.Millisecond || rtt > 25*time.Millisecond {
		t.Errorf("the distance to the origin is %v, %v", rtt, ok)
	}
}

func refused(t *testing.T, c *Cluster, reason string) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.count.refused.WithLabelValues(reason).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func awaitRefused(t *testing.T, c *Cluster, reason string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for refused(t, c, reason) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was counted as refused for its %s", reason)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestForeignPacketsAreRefusedAndCounted sends what strangers can: packets of a cluster with another key, of another
// program's cluster, and of a member that makes things up.
func TestForeignPacketsAreRefusedAndCounted(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "front")
	to := &memberlist.Node{Name: front.self, Addr: net.IPv4(127, 0, 0, 1), Port: front.list.LocalNode().Port}

	stranger := start(t, newKey(), RoleNode, "stranger")
	stranger.send(to, encodeBeat(RoleNode, "stranger", 1, 1, nil))
	awaitRefused(t, front, refusedKey)

	conf := memberlist.DefaultLocalConfig()
	conf.Name, conf.BindAddr, conf.BindPort, conf.Label, conf.SecretKey = "other", "127.0.0.1", 0, "another-program", key
	conf.Logger = memberlistLogger(slog.New(slog.DiscardHandler), newCounters())
	other, err := memberlist.Create(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Shutdown() })
	if _, err := other.Join([]string{front.Addr()}); err == nil {
		t.Error("a cluster with another label was joined")
	}
	awaitRefused(t, front, refusedLabel)

	liar := start(t, key, RoleNode, "liar", joining(front.Addr()))
	rec := busy()
	rec.Name, rec.Seq = "liar", uint64(time.Now().UnixMilli())
	wire, err := encodeCapacity(&rec)
	if err != nil {
		t.Fatal(err)
	}
	var pb easelv1.CapacityRecord
	if err := proto.Unmarshal(wire, &pb); err != nil {
		t.Fatal(err)
	}
	pb.Total = 1 << 31
	if wire, err = proto.Marshal(&pb); err != nil {
		t.Fatal(err)
	}
	awaitMembers(t, front, "the liar", func(m []Member) bool { return len(m) == 2 })
	liar.send(to, append([]byte{msgRecord}, wire...))
	awaitRefused(t, front, refusedRecord)
	if nodes := front.Nodes(); len(nodes) > 0 {
		t.Errorf("the view is %+v", nodes)
	}
}

// TestRecordThatWasLostIsSentAgain takes a record from a coordinator; the next heartbeat's answer tells the node.
func TestRecordThatWasLostIsSentAgain(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "front")
	node := start(t, key, RoleNode, "n1", joining(front.Addr()))
	publish(t, node, Capacity{Total: 3})
	await(t, front, "the record", sees("n1"))
	front.mu.Lock()
	front.members["node:n1"].record = received{}
	front.notifyLocked()
	front.mu.Unlock()
	await(t, front, "the record again", func(n []Node) bool { return len(n) == 1 && n[0].Capacity.Total == 3 })
}

// TestCoordinatorThatWasStoppedLosesNoNode stops the clock's ticking for longer than a node may be silent.
func TestCoordinatorThatWasStoppedLosesNoNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Heartbeat: time.Second}
		c := clock{tick: time.Now(), limit: 2 * cfg.tick()}
		heard := c.now()
		for range 4 {
			time.Sleep(cfg.tick())
			c.advance()
		}
		if age := c.now() - heard; age != 2*time.Second {
			t.Errorf("after 2 s it is %v later", age)
		}
		time.Sleep(time.Hour) // SIGSTOP
		c.advance()
		if age := c.now() - heard; age > cfg.expiry() {
			t.Errorf("an hour in which it did not run counts as %v", age)
		}
	})
}

func TestMetricsTellOfTheMembers(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "front")
	node := start(t, key, RoleNode, "n1", joining(front.Addr()))
	publish(t, node, Capacity{Total: 3})
	await(t, front, "the node", sees("n1"))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(front)
	gather := func() map[string]float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += "/" + l.GetValue()
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return got
	}
	deadline := time.Now().Add(patience)
	for got := gather(); got["easel_cluster_members/node/heard"] != 1 || got["easel_cluster_members/coordinator/heard"] != 1 ||
		got["easel_cluster_bytes_total/packet/in"] == 0 || got["easel_cluster_bytes_total/packet/out"] == 0; got = gather() {
		if time.Now().After(deadline) {
			t.Fatalf("the metrics are %v", got)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
