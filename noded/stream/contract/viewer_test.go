package contract

import (
	"strings"
	"testing"
)

func TestViewerIsReadAsWritten(t *testing.T) {
	for _, v := range []Viewer{
		Owner,
		{ID: OwnerID, Role: RoleOwner, Name: "Anna"},
		{ID: "abc.def", Role: RoleView, Name: "Żółć 🎨 \"quoted\" <b>"},
		{ID: "abc.d", Role: RoleTakePart},
		{ID: "abc.d", Role: RoleTakePart, Name: strings.Repeat("<", MaxName)},
		{ID: "abc.d", Role: RoleTakePart, Name: strings.Repeat("é", MaxName/2)},
	} {
		h, err := v.Header()
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(h, func(c rune) bool { return c > 0x7e || c < 0x20 }) {
			t.Errorf("the header %q is not printable ASCII", h)
		}
		if got, err := ReadViewer(h); err != nil || got != v {
			t.Errorf("read %+v, %v, want %+v", got, err, v)
		}
	}
	if v, err := ReadViewer(""); err != nil || v != Owner {
		t.Errorf("no header is %+v, %v, want the owner", v, err)
	}
}

func TestViewersThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown role":              `{"id":"a.b","role":"admin","name":""}`,
		"a guest with the owner's id":  `{"id":"owner","role":"view","name":""}`,
		"an owner with a guest's id":   `{"id":"a.b","role":"owner","name":""}`,
		"a guest of no link":           `{"id":".b","role":"view","name":""}`,
		"a guest of two links":         `{"id":"a.b.c","role":"view","name":""}`,
		"a name that rings a bell":     `{"id":"a.b","role":"view","name":"\u0007"}`,
		"a name that turns the text":   `{"id":"a.b","role":"view","name":"\u202eevil"}`,
		"a long name":                  `{"id":"a.b","role":"view","name":"` + strings.Repeat("n", MaxName+1) + `"}`,
		"two documents":                `{"id":"a.b","role":"view","name":""}{}`,
		"something that is no JSON":    `owner`,
		"something that never ends":    strings.Repeat(" ", MaxViewer+1),
		"JSON of another kind":         `["owner"]`,
		"an id that climbs out":        `{"id":"../x.y","role":"view","name":""}`,
		"an id in capitals":            `{"id":"A.B","role":"view","name":""}`,
		"an id that is much too long":  `{"id":"` + strings.Repeat("a", 70) + `.b","role":"view","name":""}`,
		"nothing of what it should be": `{}`,
	} {
		if v, err := ReadViewer(text); err == nil {
			t.Errorf("%s: read as %+v", name, v)
		}
	}
}

func TestShareOfAViewer(t *testing.T) {
	if s := (Viewer{ID: "abc.def", Role: RoleView}).Share(); s != "abc" {
		t.Errorf("the share is %q", s)
	}
	if s := Owner.Share(); s != "" {
		t.Errorf("the owner's share is %q", s)
	}
}

func FuzzReadViewer(f *testing.F) {
	f.Add(`{"id":"owner","role":"owner","name":"Anna"}`)
	f.Add(`{"id":"a.b","role":"view","name":"\ud83c"}`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ReadViewer(s)
		if err != nil {
			return
		}
		h, err := v.Header()
		if err != nil {
			t.Fatalf("%+v was read and cannot be said: %v", v, err)
		}
		if again, err := ReadViewer(h); err != nil || again != v {
			t.Fatalf("%+v is read again as %+v, %v", v, again, err)
		}
	})
}

func FuzzReadRevoked(f *testing.F) {
	f.Add(`{"shares":["abc","d2"]}`)
	f.Add(`{"shares":["../x"]}`)
	f.Fuzz(func(t *testing.T, s string) {
		gone, err := ReadRevoked(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, share := range gone.Shares {
			if err := (Viewer{ID: share + ".a", Role: RoleView}).Validate(); err != nil {
				t.Fatalf("%q is taken for a link's id: %v", share, err)
			}
		}
	})
}
