package stream

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"

	"github.com/pion/webrtc/v4"
)

// people is the last word that a viewer had on who is there.
func (v *viewer) people(t testing.TB) peopleMessage {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	var m peopleMessage
	for _, told := range v.told {
		if told["t"] == "people" {
			b, err := json.Marshal(told)
			if err != nil {
				t.Fatal(err)
			}
			m = peopleMessage{}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

func awaitHand(t testing.TB, s *session, v *viewer, id string) {
	t.Helper()
	s.await(t, "the hand to be "+id+"'s", func() bool { return v.people(t).Hand == id })
}

func inputOpen(t testing.TB, s *session, v *viewer) {
	t.Helper()
	s.await(t, "the input channels", func() bool {
		return v.input.ReadyState() == webrtc.DataChannelStateOpen && v.motion.ReadyState() == webrtc.DataChannelStateOpen
	})
}

func (v *viewer) button(t testing.TB, device uint8, down bool, rseq uint32, x int32) {
	t.Helper()
	if err := v.input.Send(inputtest.Button(device, 1, down, rseq, rseq, inputtest.Sample{X: x << 8, Y: 50 << 8, Pressure: 1000, Time: rseq * 10})); err != nil {
		t.Fatal(err)
	}
}

func TestEverybodyIsToldWhoIsThere(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	owner := connect(t, s)
	one := connectAs(t, s, guest(1, contract.RoleView))
	two := connectAs(t, s, guest(2, contract.RoleTakePart))
	for who, v := range map[string]*viewer{contract.OwnerID: owner, "link.g1": one, "link.g2": two} {
		s.await(t, "three people", func() bool { return len(v.people(t).People) == 3 })
		m := v.people(t)
		want := []person{{contract.OwnerID, "", contract.RoleOwner, contract.PathDirect}, {"link.g1", "Guest 1", contract.RoleView, contract.PathDirect}, {"link.g2", "Guest 2", contract.RoleTakePart, contract.PathDirect}}
		for i, p := range m.People {
			if p != want[i] {
				t.Errorf("%s is told of %+v, want %+v", who, p, want[i])
			}
		}
		if m.You != who || m.Hand != contract.OwnerID {
			t.Errorf("%s is told to be %q, and that %q has the hand", who, m.You, m.Hand)
		}
	}
	_ = two.pc.Close()
	s.await(t, "two people", func() bool { return len(owner.people(t).People) == 2 })
}

// TestInputCountsFromWhoHasTheHandAlone: what guests do is dropped, and what was held down is let go before another has the hand.
func TestInputCountsFromWhoHasTheHandAlone(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	owner := connect(t, s)
	view := connectAs(t, s, guest(1, contract.RoleView))
	part := connectAs(t, s, guest(2, contract.RoleTakePart))
	for _, v := range []*viewer{owner, view, part} {
		inputOpen(t, s, v)
	}
	next := func(what string, kind uint8, x int32) {
		t.Helper()
		for {
			r := s.pen.Next(t)
			if r.Kind == kind && r.X == x<<8 {
				return
			}
			if r.Kind == inputtest.Motion && r.X == x<<8 { // of the same message
				continue
			}
			t.Fatalf("%s: the driver got %+v", what, r)
		}
	}
	view.button(t, inputtest.Mouse, true, 1, 11)
	part.button(t, inputtest.Mouse, true, 1, 12)
	owner.button(t, inputtest.Mouse, true, 1, 13)
	next("the owner's press, and nobody else's", inputtest.Press, 13)

	for _, v := range []*viewer{view, part} { // neither may give the hand to itself
		v.say(t, `{"t":"hand","to":"link.g2"}`)
		v.say(t, `{"t":"hand","to":"owner"}`)
	}
	owner.say(t, `{"t":"hand","to":"link.g1"}`) // who only looks on gets none
	owner.say(t, `{"t":"hand","to":"link.g2"}`)
	next("what the owner held down is let go first", inputtest.Release, 13)
	awaitHand(t, s, part, "link.g2")
	s.await(t, "the node to be told who has the hand", func() bool { return s.health(t, 0).Hand == "link.g2" })
	owner.button(t, inputtest.Mouse, true, 2, 14)
	view.button(t, inputtest.Mouse, true, 2, 15)
	part.button(t, inputtest.Mouse, true, 2, 16)
	next("the guest's press", inputtest.Press, 16)

	owner.say(t, `{"t":"hand","to":"owner"}`)
	next("what the guest held down is let go first", inputtest.Release, 16)
	awaitHand(t, s, owner, contract.OwnerID)
	part.button(t, inputtest.Mouse, true, 4, 17)
	owner.button(t, inputtest.Mouse, true, 4, 18)
	next("the owner's press again", inputtest.Press, 18)
	owner.button(t, inputtest.Mouse, false, 5, 18)
	next("the owner's release", inputtest.Release, 18)

	owner.say(t, `{"t":"hand","to":"link.g2"}`)
	awaitHand(t, s, part, "link.g2")
	part.button(t, inputtest.Mouse, true, 6, 19)
	next("the guest's press once more", inputtest.Press, 19)
	_ = part.pc.Close()
	next("the button of who left", inputtest.Release, 19)
	awaitHand(t, s, owner, contract.OwnerID)
	s.await(t, "the node to be told who has the hand", func() bool { return s.health(t, 0).Hand == "" })
}

func TestGuestGivesTheHandBack(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	owner := connect(t, s)
	part := connectAs(t, s, guest(2, contract.RoleTakePart))
	s.await(t, "two people", func() bool { return len(owner.people(t).People) == 2 })
	owner.say(t, `{"t":"hand","to":"link.g2"}`)
	awaitHand(t, s, part, "link.g2")
	part.say(t, `{"t":"hand","to":"owner"}`)
	awaitHand(t, s, part, contract.OwnerID)
}

func TestRevokedLinkCutsItsGuestsAlone(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	owner := connect(t, s)
	one := connectAs(t, s, contract.Viewer{ID: "gone.a", Role: contract.RoleTakePart})
	two := connectAs(t, s, contract.Viewer{ID: "gone.b", Role: contract.RoleView})
	other := connectAs(t, s, contract.Viewer{ID: "stays.a", Role: contract.RoleView})
	s.await(t, "four people", func() bool { return len(owner.people(t).People) == 4 })
	owner.say(t, `{"t":"hand","to":"gone.a"}`)
	awaitHand(t, s, owner, "gone.a")
	if code, _, body := s.post(t, "/revoked", "application/json", `{"shares":["gone"]}`); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, body)
	}
	for _, v := range []*viewer{one, two} {
		s.await(t, "the farewell", func() bool { return v.heard("bye") != nil })
	}
	s.await(t, "two people, and the hand the owner's", func() bool { m := other.people(t); return len(m.People) == 2 && m.Hand == contract.OwnerID })
	late := newViewer(t, func(*webrtc.PeerConnection) {})
	if code, body := late.offer(t, s, "/whep", contract.Viewer{ID: "gone.c", Role: contract.RoleView}); code != http.StatusForbidden {
		t.Errorf("by a link that is gone: %d %s", code, body)
	}
	for _, body := range []string{`{"shares":["../x"]}`, `{"shares":[""]}`, `{"shares":"all"}`, `{"gone":[]}`, `{"shares":[]}{}`, ``} {
		if code, _, _ := s.post(t, "/revoked", "application/json", body); code != http.StatusBadRequest {
			t.Errorf("%s: %d", body, code)
		}
	}
}

// TestFloodOfWishesIsBounded: who asks for the hand without end is refused, and the owner's wish still counts.
func TestFloodOfWishesIsBounded(t *testing.T) {
	c := newCompany(func() []*peer { return nil }, newBoard(), slog.New(slog.DiscardHandler))
	by := contract.Owner
	for range maxWishes {
		if err := c.ask(by, "a.b"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ask(by, "a.b"); err == nil {
		t.Error("more wishes wait than may")
	}
	if err := c.ask(guest(1, contract.RoleTakePart), contract.OwnerID); err == nil {
		t.Error("a guest without the hand gave it away")
	}
}
