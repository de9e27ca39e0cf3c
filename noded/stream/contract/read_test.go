package contract

import (
	"strings"
	"testing"
)

// TestDocumentsOfANewerVersionAreRead: what is known of them counts, for streamers and noded outlive each other's upgrades.
func TestDocumentsOfANewerVersionAreRead(t *testing.T) {
	if p, whole, err := ReadPolicy(strings.NewReader(`{"clipboard":"in","guests":3,"printing":"off"}`)); err != nil || whole || p != (Policy{Clipboard: ClipboardIn, Guests: 3}) {
		t.Errorf("the policy is %+v, whole: %v, %v", p, whole, err)
	}
	if n, err := ReadNotice(strings.NewReader(`{"text":"Save your work","colour":"red"}`)); err != nil || n.Text != "Save your work" {
		t.Errorf("the notice is %+v, %v", n, err)
	}
	if gone, err := ReadRevoked(strings.NewReader(`{"shares":["abc"],"why":"asked"}`)); err != nil || len(gone.Shares) != 1 {
		t.Errorf("the links that are gone are %+v, %v", gone, err)
	}
	if v, err := ReadViewer(`{"id":"a.b","role":"view","name":"","tongue":"pl"}`); err != nil || v != (Viewer{ID: "a.b", Role: RoleView}) {
		t.Errorf("the viewer is %+v, %v", v, err)
	}
	if h, err := ReadHealth(strings.NewReader(`{"seq":7,"mood":["good"],"gimp":{"pid":3,"brush":"soft"}}`)); err != nil || h.Seq != 7 || h.GIMP.PID != 3 {
		t.Errorf("the health is %+v, %v", h, err)
	}
}

// TestValuesThatAreNotKnownAreRefused: what a newer version forbids by them must not be taken for allowed.
func TestValuesThatAreNotKnownAreRefused(t *testing.T) {
	for _, text := range []string{`{"clipboard":"text"}`, `{"audio":"quiet"}`, `{"files":"pictures"}`, `{"guests":"few"}`} {
		if p, _, err := ReadPolicy(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read as %+v", text, p)
		}
	}
	if v, err := ReadViewer(`{"id":"a.b","role":"listen","name":""}`); err == nil {
		t.Errorf("a role that there is not: read as %+v", v)
	}
}
