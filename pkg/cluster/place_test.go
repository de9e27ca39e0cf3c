package cluster

import (
	"strings"
	"testing"
)

func TestParsePlace(t *testing.T) {
	p, err := ParsePlace("eu", "eu-1", " 48.9, -2.25 ")
	if want := (Place{Region: "eu", Zone: "eu-1", Latitude: 48.9, Longitude: -2.25}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ParsePlace("", "", ""); err != nil || p != (Place{}) {
		t.Errorf("nothing: %+v, %v", p, err)
	}
	for _, bad := range [][3]string{
		{"", "a", ""},
		{"", "", "48.9"},
		{"", "", "Paris"},
		{"", "", "48,9,2,3"},
		{"", "", "91, 0"},
		{"", "", "0, 181"},
		{"", "", "NaN, 0"},
		{strings.Repeat("x", 64), "", ""},
	} {
		if p, err := ParsePlace(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%q is %+v", bad, p)
		}
	}
}
