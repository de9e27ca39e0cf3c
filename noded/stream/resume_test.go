package stream

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"

	"github.com/pion/webrtc/v4"
)

const somePage = "00112233445566778899aabbccddeeff"

func resume(page string, rseq, sample int) string {
	return fmt.Sprintf(`{"t":"resume","page":%q,"rseq":%d,"sample":%d,"buttons":[0,0,0,0],"keys":[]}`, page, rseq, sample)
}

// resumed waits for the answer.
func (v *viewer) resumed(t *testing.T, s *session) (known bool, rseq, sample int) {
	t.Helper()
	s.await(t, "how far the hand has come", func() bool { return v.heard("resumed") != nil })
	m := v.heard("resumed")
	known, _ = m["known"].(bool)
	return known, int(m["rseq"].(float64)), int(m["sample"].(float64))
}

func (v *viewer) does(t *testing.T, b []byte) {
	t.Helper()
	if err := v.input.Send(b); err != nil {
		t.Fatal(err)
	}
}

// A page that comes back by another connection learns how far its hand has come; another page, and somebody else who says to be it, learn nothing.
func TestPageLearnsHowFarItsHandHasCome(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	first := connect(t, s)
	first.say(t, resume(somePage, 0, 0))
	first.does(t, inputtest.Button(inputtest.Pen, 1, true, 1, 1, inputtest.Sample{X: 100 * 256, Y: 100 * 256, Buttons: 1}))
	first.does(t, inputtest.Button(inputtest.Pen, 1, false, 2, 2, inputtest.Sample{X: 200 * 256, Y: 100 * 256}))
	for s.pen.Next(t).Kind != inputtest.Release {
	}
	guest := newViewer(t, func(*webrtc.PeerConnection) {})
	if code, body := guest.offer(t, s, "/whep", contract.Viewer{ID: "share.guest", Role: contract.RoleTakePart, Name: "Guest"}); code != http.StatusCreated {
		t.Fatalf("the guest got %d %s", code, body)
	}
	s.await(t, "the guest's control channel", func() bool { return guest.control.ReadyState() == webrtc.DataChannelStateOpen })
	guest.say(t, resume(somePage, 0, 0))
	if known, rseq, sample := guest.resumed(t, s); known || rseq != 0 || sample != 0 {
		t.Errorf("a guest was told %v, %d, %d of the owner's page", known, rseq, sample)
	}
	next := connect(t, s)
	next.say(t, resume(somePage, 9, 9))
	if known, rseq, sample := next.resumed(t, s); !known || rseq != 2 || sample != 2 {
		t.Errorf("the page was told %v, message %d, sample %d; want message 2, sample 2", known, rseq, sample)
	}
	other := connect(t, s)
	other.say(t, resume(strings.ToLower("FF")+somePage[2:], 9, 7))
	if known, rseq, sample := other.resumed(t, s); known || rseq != 9 || sample != 7 {
		t.Errorf("another page was told %v, message %d, sample %d; want its own 9 and 7", known, rseq, sample)
	}
	back := connect(t, s)
	back.say(t, resume(somePage, 2, 2))
	if known, _, _ := back.resumed(t, s); known {
		t.Error("a page that another one took the session from is taken for one that never left")
	}
}
