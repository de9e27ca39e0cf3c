package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	pace     = 40 * time.Millisecond
	patience = 15 * time.Second
)

func newKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it never fails
	return key
}

// start joins one member on loopback and closes it when the test ends.
func start(t *testing.T, key []byte, role, name string, change ...func(*Config)) *Cluster {
	t.Helper()
	cfg := Config{Name: name, Role: role, Bind: "127.0.0.1:0", Keys: [][]byte{key}, Heartbeat: pace, Meta: Meta{Version: "test"}}
	if role == RoleNode {
		cfg.Meta.URL = "http://" + name + ".test:8443"
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func joining(addrs ...string) func(*Config) { return func(c *Config) { c.Join = addrs } }

// await waits until what c sees satisfies ok, woken by Changed alone.
func await(t *testing.T, c *Cluster, what string, ok func([]Node) bool) []Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		changed := c.Changed()
		nodes := c.Nodes()
		if ok(nodes) {
			return nodes
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("waited %v for %s; the view is %+v", patience, what, nodes)
		}
	}
}

func names(nodes []Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Meta.Name)
	}
	return all
}

func sees(want ...string) func([]Node) bool {
	return func(nodes []Node) bool { return slices.Equal(names(nodes), want) }
}

func publish(t *testing.T, c *Cluster, rec Capacity) {
	t.Helper()
	if err := c.Publish(rec); err != nil {
		t.Fatal(err)
	}
}

func TestThreeMembersShareOneView(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "host")
	one := start(t, key, RoleNode, "host", joining(front.Addr())) // the same name, another role
	two := start(t, key, RoleNode, "other", joining(front.Addr()))
	publish(t, one, Capacity{Total: 4, Used: 1, Images: []string{"easel/gimp:1"}})
	publish(t, two, Capacity{Total: 2, Draining: true, Full: "draining for maintenance"})

	for _, c := range []*Cluster{front, one, two} {
		nodes := await(t, c, "both nodes", sees("host", "other"))
		if got := nodes[0]; got.Capacity.Total != 4 || got.Capacity.Used != 1 || got.Meta.URL != "http://host.test:8443" ||
			!slices.Equal(got.Capacity.Images, []string{"easel/gimp:1"}) || time.Since(got.Seen) > patience {
			t.Errorf("host is seen as %+v", got)
		}
		if got := nodes[1].Capacity; !got.Draining || got.Full != "draining for maintenance" {
			t.Errorf("other is seen as %+v", got)
		}
	}

	for used := range 50 { // a burst: only the last counts
		publish(t, one, Capacity{Total: 4, Used: used % 5})
	}
	await(t, front, "the last of a burst", func(n []Node) bool { return len(n) == 2 && n[0].Capacity.Used == 4 })
}

func TestNodeThatLeavesIsGoneAtOnceAndMayComeBackElsewhere(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "front")
	node := start(t, key, RoleNode, "n1", joining(front.Addr()))
	publish(t, node, Capacity{Total: 1})
	await(t, front, "the node", sees("n1"))
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, front, "the node to leave", sees())

	again := start(t, key, RoleNode, "n1", joining(front.Addr()))
	publish(t, again, Capacity{Total: 7})
	await(t, front, "the node at its new address", func(n []Node) bool { return len(n) == 1 && n[0].Capacity.Total == 7 })
}

func TestCoordinatorThatRestartsFindsTheNodesThatKnowItsAddress(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "front")
	addr := front.Addr()
	node := start(t, key, RoleNode, "n1", joining(addr))
	publish(t, node, Capacity{Total: 1})
	await(t, front, "the node", sees("n1"))
	if err := front.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, key, RoleCoordinator, "front", func(c *Config) { c.Bind = addr })
	await(t, again, "the node, which joins again by itself", sees("n1"))
}

// TestSilentNodeExpires hangs a node whose gossip still answers: only its records tell that it is stuck.
func TestSilentNodeExpires(t *testing.T) {
	key := newKey()
	front := start(t, key, RoleCoordinator, "front")
	node := start(t, key, RoleNode, "n1", joining(front.Addr()))
	publish(t, node, Capacity{Total: 1})
	await(t, front, "the node", sees("n1"))
	node.stop()
	node.wg.Wait()
	began := time.Now()
	await(t, front, "the silent node to expire", sees())
	if took := time.Since(began); took > 40*missedHeartbeats*pace {
		t.Errorf("it took %v to expire a silent node, want about %v", took, missedHeartbeats*pace)
	}
}

// A node that is killed before it comes to send a heartbeat, again and again, is heard all the same.
func TestNodeIsHeardAsSoonAsItJoins(t *testing.T) {
	key := newKey()
	slow := func(c *Config) { c.Heartbeat = time.Hour }
	front := start(t, key, RoleCoordinator, "front", slow)
	node := start(t, key, RoleNode, "n1", slow, joining(front.Addr()))
	addr := node.Addr()
	publish(t, node, Capacity{Total: 1})
	await(t, front, "the node", sees("n1"))
	node.closing.Do(func() { // as when it is killed: it tells nobody
		node.stop()
		node.wg.Wait()
		node.closeErr = node.list.Shutdown()
	})
	front.mu.Lock()
	front.contacts[memberName(RoleNode, "n1")].beats.silent = true
	front.notifyLocked()
	front.mu.Unlock()
	await(t, front, "the silent node to be out of the view", sees())
	again := start(t, key, RoleNode, "n1", slow, joining(front.Addr()), func(c *Config) { c.Bind = addr })
	publish(t, again, Capacity{Total: 2})
	await(t, front, "the node that was started again", func(n []Node) bool { return len(n) == 1 && n[0].Capacity.Total == 2 })
}

func TestJoinIsRetriedUntilTheOtherIsThere(t *testing.T) {
	key := newKey()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	node := start(t, key, RoleNode, "n1", joining(addr), func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	publish(t, node, Capacity{Total: 1})
	deadline := time.Now().Add(patience)
	for !strings.Contains(log.String(), "cannot join the cluster yet") {
		if time.Now().After(deadline) {
			t.Fatal("a failed join was not logged")
		}
		time.Sleep(5 * time.Millisecond)
	}
	front := start(t, key, RoleCoordinator, "front", func(c *Config) { c.Bind = addr })
	await(t, front, "the node that was early", sees("n1"))
}

func TestAnotherKeyStaysOutside(t *testing.T) {
	front := start(t, newKey(), RoleCoordinator, "front")
	var log lockedBuffer
	stranger := start(t, newKey(), RoleNode, "evil", joining(front.Addr()),
		func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	publish(t, stranger, Capacity{Total: 1000})
	deadline := time.Now().Add(patience)
	for !strings.Contains(log.String(), "cannot join the cluster yet") {
		if time.Now().After(deadline) {
			t.Fatal("the stranger was not told that it cannot join")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if nodes := front.Nodes(); len(nodes) > 0 {
		t.Errorf("a member without the key is in the view: %v", names(nodes))
	}
}

func TestMockNetwork(t *testing.T) {
	var network memberlist.MockNetwork
	key := newKey()
	var transports []*memberlist.MockTransport
	for i := range 4 { // all before the first member runs: MockNetwork has no lock
		transports = append(transports, network.NewTransport(fmt.Sprintf("node:n%d", i)))
	}
	var all []*Cluster
	for i, transport := range transports {
		name := fmt.Sprintf("n%d", i)
		c := start(t, key, RoleNode, name, func(c *Config) {
			c.Transport = transport
			if i > 0 {
				c.Join = []string{"127.0.0.1:1"}
			}
		})
		publish(t, c, Capacity{Total: i + 1})
		all = append(all, c)
	}
	for _, c := range all {
		await(t, c, "all four", sees("n0", "n1", "n2", "n3"))
	}
}

// lonely returns a node that is alone, with a member "peer" whom it believes to be there.
func lonely(t *testing.T) *Cluster {
	c := start(t, newKey(), RoleNode, "self", func(c *Config) { c.Heartbeat = time.Hour })
	meta, err := encodeMeta(Meta{Role: RoleNode, Name: "peer", URL: "http://peer:1"})
	if err != nil {
		t.Fatal(err)
	}
	(*delegate)(c).NotifyJoin(&memberlist.Node{Name: "node:peer", Meta: meta})
	return c
}

func record(name string, seq uint64, used int) *Capacity {
	return &Capacity{Name: name, Seq: seq, Total: 8, Used: used}
}

func arrive(t *testing.T, records ...*Capacity) arrived {
	t.Helper()
	a := arrived{gossiped: true}
	for _, rec := range records {
		wire, err := encodeCapacity(rec)
		if err != nil {
			t.Fatal(err)
		}
		a.records = append(a.records, newReceived(rec, wire, time.Now()))
	}
	return a
}

func TestOldAndForeignRecordsAreDropped(t *testing.T) {
	c := lonely(t)
	c.merge(arrive(t, record("peer", 10, 1), record("stranger", 10, 1)))
	c.merge(arrive(t, record("peer", 10, 2))) // a repetition
	c.merge(arrive(t, record("peer", 9, 3)))  // late
	nodes := c.Nodes()
	if len(nodes) != 1 || nodes[0].Capacity.Used != 1 {
		t.Fatalf("the view is %+v, want peer's record number 10 alone", nodes)
	}
	c.merge(arrive(t, record("peer", 11, 4)))
	if got := c.Nodes()[0].Capacity.Used; got != 4 {
		t.Errorf("a newer record was not taken: used %d", got)
	}
}

// TestKnownRecordsAreNotDecodedAgain asks what is known after records came by either way.
func TestKnownRecordsAreNotDecodedAgain(t *testing.T) {
	c := lonely(t)
	d := (*delegate)(c)
	direct, next := arrive(t, record("peer", 10, 1)), arrive(t, record("peer", 11, 1))
	wire, newer := []byte(direct.records[0].wire.Value()), []byte(next.records[0].wire.Value())
	check := func(when string, wire []byte, compared, gossiped bool) {
		t.Helper()
		if a, b := d.knows(wire, false), d.knows(wire, true); a != compared || b != gossiped {
			t.Errorf("%s: known %v when members compare notes, %v when it is gossiped; want %v, %v", when, a, b, compared, gossiped)
		}
	}
	check("before it came", wire, false, false)
	direct.gossiped = false
	c.merge(direct)
	check("sent directly", wire, true, false) // it is still to be passed on
	c.merge(arrive(t, record("peer", 10, 1)))
	check("gossiped", wire, true, true)
	check("a newer one", newer, false, false)
	check("damaged", wire[:len(wire)-1], false, false)
	check("empty", nil, false, false)
	if got, bad, err := decodeState(encodeState([]string{string(wire), string(newer)}), time.Now(), func(w []byte) bool { return d.knows(w, false) }); err != nil || bad != 0 || len(got) != 1 || got[0].seq != 11 {
		t.Errorf("of a known and a new record %+v were decoded, %d bad, %v", got, bad, err)
	}
}

func TestRecordThatClaimsOurNameIsOutbid(t *testing.T) {
	c := lonely(t)
	publish(t, c, Capacity{Total: 3})
	await(t, c, "our own record", sees("self"))
	forged := uint64(time.Now().Add(time.Hour).UnixMilli())
	c.inbox <- arrive(t, record("self", forged, 0))
	deadline := time.Now().Add(patience)
	for c.Nodes()[0].Capacity.Seq <= forged {
		if time.Now().After(deadline) {
			t.Fatalf("our record has number %d, the forgery %d", c.Nodes()[0].Capacity.Seq, forged)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := c.Nodes()[0].Capacity; got.Total != 3 {
		t.Errorf("the forged record was believed: %+v", got)
	}
}

func TestAliveRefusesFalseDescriptions(t *testing.T) {
	d := (*delegate)(lonely(t))
	good, err := encodeMeta(Meta{Role: RoleNode, Name: "gpu1", URL: "https://gpu1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.NotifyAlive(&memberlist.Node{Name: "node:gpu1", Meta: good}); err != nil {
		t.Errorf("a true description was refused: %v", err)
	}
	for name, n := range map[string]*memberlist.Node{
		"another's name": {Name: "node:gpu2", Meta: good},
		"another role":   {Name: "coordinator:gpu1", Meta: good},
		"no description": {Name: "node:gpu1"},
		"not JSON":       {Name: "node:gpu1", Meta: []byte("gpu1")},
		"bad URL":        {Name: "node:gpu1", Meta: []byte(`{"r":"node","n":"gpu1","u":"javascript:alert(1)"}`)},
		"URL with user":  {Name: "node:gpu1", Meta: []byte(`{"r":"node","n":"gpu1","u":"http://a:b@c"}`)},
	} {
		if err := d.NotifyAlive(n); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestPublish(t *testing.T) {
	c := lonely(t)
	long := make([]string, 20)
	for i := range long {
		long[i] = fmt.Sprintf("registry.example.org/%s:%d", strings.Repeat("x", 100), i)
	}
	publish(t, c, Capacity{Total: 2, Full: strings.Repeat("é", 500) + "\n", Images: long})
	nodes := await(t, c, "the record", sees("self"))
	if got := nodes[0].Capacity; len(got.Images) == 0 || len(got.Images) >= len(long) || len(got.Full) > maxText {
		t.Errorf("an overlong record became %d images and %d bytes of reason", len(got.Images), len(got.Full))
	}
	if err := c.Publish(Capacity{Total: -1}); err == nil {
		t.Error("a negative capacity was published")
	}
	front := start(t, newKey(), RoleCoordinator, "front")
	if err := front.Publish(Capacity{Total: 1}); err == nil {
		t.Error("a coordinator published capacity")
	}
}

func TestBroadcastsFitOnePacket(t *testing.T) {
	c := lonely(t)
	var images []string
	for _, letter := range "abcdefgh" {
		images = append(images, strings.Repeat(string(letter), 250))
	}
	publish(t, c, Capacity{Total: 2, Images: images})
	await(t, c, "the record", sees("self"))
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := len(c.members["node:self"].record.wire.Value()); got > maxRecord || got < maxRecord-300 {
		t.Errorf("the record has %d bytes, want just below %d", got, maxRecord)
	}
}

func TestStartRefuses(t *testing.T) {
	taken := start(t, newKey(), RoleCoordinator, "first")
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no key":        {func(c *Config) { c.Keys = nil }, "no gossip key"},
		"half a key":    {func(c *Config) { c.Keys = [][]byte{newKey(), newKey()[:16]} }, "key 2 of 2 has 16 bytes"},
		"no name":       {func(c *Config) { c.Name = "" }, "name"},
		"odd name":      {func(c *Config) { c.Name = "a/b" }, "name"},
		"odd role":      {func(c *Config) { c.Role = "boss" }, "role"},
		"no port":       {func(c *Config) { c.Bind = "127.0.0.1" }, "address:port"},
		"host name":     {func(c *Config) { c.Bind = "localhost:0" }, "IP address"},
		"bad port":      {func(c *Config) { c.Bind = "127.0.0.1:99999" }, "65535"},
		"address taken": {func(c *Config) { c.Bind = taken.Addr() }, "another process"},
		"no URL":        {func(c *Config) { c.Role = RoleNode }, "URL"},
		"bad relay":     {func(c *Config) { c.Meta.Relay = "turn.example.org" }, "host:port"},
		"not on Earth":  {func(c *Config) { c.Meta.Place.Latitude = 91 }, "degrees"},
		"long URL":      {func(c *Config) { c.Meta.URL = "http://" + strings.Repeat("x", 600) }, "limit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Name: "n", Role: RoleCoordinator, Bind: "127.0.0.1:0", Keys: [][]byte{newKey()}}
			tt.change(&cfg)
			c, err := Start(t.Context(), cfg)
			if err == nil {
				_ = c.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not mention %q", err, tt.want)
			}
		})
	}
}

func TestMemberlistLinesKeepTheirLevel(t *testing.T) {
	var out bytes.Buffer
	l := memberlistLogger(slog.New(slog.NewTextHandler(&out, nil)), newCounters())
	l.Print("[DEBUG] memberlist: quiet")
	l.Print("[WARN] memberlist: Refuting a suspect message")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `level=WARN msg="Refuting a suspect message"`) {
		t.Errorf("logged %q", got)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add([]byte(`{"r":"node","n":"a","u":"http://a:1","v":"1"}`))
	f.Add([]byte(`{"r":"coordinator","n":"a"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if m, err := decodeMeta(in); err == nil && m.check() != nil {
			t.Fatalf("accepted %+v", m)
		}
	})
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
