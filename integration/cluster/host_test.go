package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jezek/xgb/xproto"

	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// A full disk refuses new sessions by its name and ends none; room makes the node take sessions again, with nobody's help.
func TestFullDisk(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	must(t, n.disk.fill())
	refusedBecause(t, n, "disk")
	must(t, v.Streams(t.Context(), 5*time.Second))
	untouched(t, n, s)
	// The others take what comes meanwhile, whomever one asks.
	for i, k := range c.Coordinators {
		other, _, err := c.Session(t.Context(), k, user(t), fmt.Sprintf("b%d", i))
		must(t, err)
		if other == n {
			t.Errorf("%s took a session on a full disk", n.name)
		}
	}
	must(t, n.disk.free())
	must(t, takes(t, n))
	untouched(t, n, s)
}

// A disk that answers no write stops neither streams nor other nodes' sessions, and nothing is lost or done twice when it comes back.
func TestStuckDisk(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	must(t, n.disk.freeze())
	must(t, v.Streams(t.Context(), 5*time.Second))
	for i := range 4 {
		// Whoever is asked first: a node that cannot answer costs time, not the session.
		other, _, err := c.Session(t.Context(), c.Coordinators[i%3], user(t), fmt.Sprintf("b%d", i))
		must(t, err)
		if other == n {
			t.Errorf("%s took a session on a disk that does not write", n.name)
		}
	}
	must(t, v.Streams(t.Context(), 5*time.Second))
	must(t, n.disk.thaw())
	untouched(t, n, s)
	must(t, takes(t, n))
}

// A slow disk makes a node slow, and nothing else: what is begun there comes to its end, once.
func TestSlowDisk(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	stop := n.disk.slow()
	defer func() { must(t, stop()) }()
	made, err := n.reserve(t, "slow")
	must(t, err)
	_, err = n.Await(t.Context(), made.GetId(), time.Minute, settled)
	must(t, err)
	for i, k := range c.Coordinators {
		_, _, err := c.Session(t.Context(), k, user(t), fmt.Sprintf("b%d", i))
		must(t, err)
	}
	must(t, v.Streams(t.Context(), 5*time.Second))
	untouched(t, n, s)
	must(t, c.CheckTwins(t.Context()))
}

// A session that eats all memory that it may have loses GIMP and nothing else: the session lives, and so does its neighbour.
func TestOutOfMemory(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	x, err := xclient.Open(t.Context(), s.GetXSocket(), s.GetXCookie())
	must(t, err)
	defer x.Close()
	must(t, eat(x))
	after, err := n.Await(t.Context(), s.GetId(), 30*time.Second, func(now *easelv1.Session) bool {
		return settled(now) && now.GetGimpRestarts() > 0 && now.GetPids().GetGimp() != 0 && now.GetPids().GetGimp() != s.GetPids().GetGimp()
	})
	must(t, err)
	if after.GetPids().GetInit() != s.GetPids().GetInit() || after.GetPids().GetStreamer() != s.GetPids().GetStreamer() {
		t.Errorf("init and streamer were %v, are %v", s.GetPids(), after.GetPids())
	}
	must(t, v.Streams(t.Context(), 10*time.Second))
}

// eat tells the stand-in for GIMP to take memory until the kernel ends it.
func eat(x *xclient.Screen) error {
	atom := func(name string) (xproto.Atom, error) {
		r, err := xproto.InternAtom(x.Conn(), false, uint16(len(name)), name).Reply()
		if err != nil {
			return 0, err
		}
		return r.Atom, nil
	}
	clients, err := atom("_NET_CLIENT_LIST")
	if err != nil {
		return err
	}
	order, err := atom("EASEL_TEST_EAT")
	if err != nil {
		return err
	}
	p, err := xproto.GetProperty(x.Conn(), false, x.Root(), clients, xproto.AtomWindow, 0, 1).Reply()
	if err != nil || len(p.Value) < 4 {
		return fmt.Errorf("find GIMP's window: %v, %w", p, err)
	}
	window := xproto.Window(uint32(p.Value[0]) | uint32(p.Value[1])<<8 | uint32(p.Value[2])<<16 | uint32(p.Value[3])<<24)
	return xproto.ChangePropertyChecked(x.Conn(), xproto.PropModeReplace, window, order, xproto.AtomString, 8, 1, []byte("x")).Check()
}

// A containerd that hangs stops no stream; sessions are made elsewhere meanwhile; afterwards the node is as before.
func TestContainerdHung(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	must(t, hang(n.Containerd))
	must(t, v.Streams(t.Context(), 5*time.Second))
	// What the node admitted before it noticed comes up late or fails with a reason, but does not hang for ever.
	r, err := n.reserve(t, "late")
	if err != nil {
		t.Logf("refused: %v", err)
	}
	for i := range 3 {
		if _, err := c.Create(t.Context(), c.Coordinators[i], user(t), fmt.Sprintf("b%d", i)); err != nil {
			t.Errorf("ask %s for a session while one node's containerd hangs: %v", c.Coordinators[i].name, err)
		}
	}
	must(t, resume(n.Containerd))
	if r != nil {
		late, err := n.Await(t.Context(), r.GetId(), 90*time.Second, func(s *easelv1.Session) bool { return settled(s) || !living(s) && s.GetReason() != "" })
		must(t, err)
		t.Logf("the session that was begun is %v (%s)", late.GetState(), late.GetReason())
	}
	untouched(t, n, s)
	must(t, v.Streams(t.Context(), 5*time.Second))
	must(t, takes(t, n))
}

// reserve asks the node itself for a session.
func (n *Node) reserve(t *testing.T, key string) (*easelv1.Session, error) {
	t.Helper()
	r, err := n.admin.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: user(t), Key: n.name + key, Class: "none"}))
	if err != nil {
		return nil, err
	}
	return r.Msg.GetSession(), nil
}

// takes waits until the node takes a session again and the session can be used.
func takes(t *testing.T, n *Node) error {
	t.Helper()
	var s *easelv1.Session
	if err := eventually(t.Context(), 30*time.Second, n.name+" takes a session again", func() (err error) {
		s, err = n.reserve(t, "again")
		return err
	}); err != nil {
		return err
	}
	_, err := n.Await(t.Context(), s.GetId(), time.Minute, settled)
	return err
}

// refusedBecause waits until the node refuses a session and says a word.
func refusedBecause(t *testing.T, n *Node, word string) {
	t.Helper()
	must(t, eventually(t.Context(), 20*time.Second, n.name+" refuses sessions because of "+word, func() error {
		s, err := n.reserve(t, "refused")
		if err == nil {
			_, err := n.admin.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: s.GetId()}))
			return errors.Join(fmt.Errorf("it took the session %s", s.GetId()), err)
		}
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("it says: %w", err)
		}
		t.Logf("%s says: %v", n.name, err)
		return nil
	}))
}

// A node whose clock is half a minute off serves as any other. One whose clock is an hour off keeps its sessions and their viewers, and
// nobody is led to it by a link that cannot work.
func TestClockSkew(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	for _, offset := range []time.Duration{20 * time.Second, -20 * time.Second, time.Hour, -time.Hour} {
		t.Run(offset.String(), func(t *testing.T) {
			defer func() {
				must(t, n.Noded.Kill())
				n.Noded.Launch = c.launch(n.at)
				must(t, n.Noded.Start(t.Context()))
				must(t, c.AwaitView(t.Context(), members))
			}()
			must(t, n.Noded.Kill())
			n.Noded.Launch = skewed(n.at, offset)
			must(t, n.Noded.Start(t.Context()))
			if offset.Abs() < time.Minute {
				must(t, c.AwaitView(t.Context(), members))
			}
			must(t, v.Streams(t.Context(), 5*time.Second))
			must(t, v.Connect(t.Context()))
			untouched(t, n, s)
			for i, k := range c.Coordinators {
				_, made, err := c.Session(t.Context(), k, user(t), fmt.Sprintf("%s-%d", offset, i))
				must(t, err)
				told, err := c.Get(t.Context(), k, user(t), made.GetId())
				must(t, err)
				look, err := c.Look(t.Context(), told.URL)
				if err != nil {
					t.Fatalf("%s led to %s, where the link does not work: %v", k.name, told.Node, err)
				}
				must(t, look.Close())
				must(t, c.End(t.Context(), k, user(t), made.GetId()))
			}
			must(t, c.CheckLeaks(t.Context()))
		})
	}
}
