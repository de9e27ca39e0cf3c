package session

import (
	"reflect"
	"testing"
	"time"
)

// TestCloneSharesNothing: a field of a record that holds a reference must be in clone, or one caller changes another's record.
func TestCloneSharesNothing(t *testing.T) {
	cloned := map[string]bool{"Times": true, "Steps": true, "Devices": true}
	var look func(at reflect.Type, path string)
	look = func(at reflect.Type, path string) {
		for i := range at.NumField() {
			f := at.Field(i)
			switch f.Type.Kind() {
			case reflect.Map, reflect.Slice, reflect.Pointer, reflect.Interface, reflect.Chan:
				if !cloned[path+f.Name] {
					t.Errorf("%s%s is a reference that clone does not copy", path, f.Name)
				}
			case reflect.Struct:
				if f.Type != reflect.TypeFor[time.Time]() {
					look(f.Type, path+f.Name+".")
				}
			}
		}
	}
	look(reflect.TypeFor[Record](), "")
	r := Record{Times: []StateTime{{State: Reserved}}, Steps: map[string]Phase{"dirs": Done}, Devices: []string{"a"}}
	c := r.clone()
	c.Times[0].State, c.Steps["dirs"], c.Devices[0] = Failed, Begun, "b"
	if r.Times[0].State != Reserved || r.Steps["dirs"] != Done || r.Devices[0] != "a" {
		t.Error("a copy changed its original")
	}
}

func TestReaderTellsTextsApart(t *testing.T) {
	var d reader
	text := func(user string) []byte {
		return []byte(`{"id":"s","user":"` + user + `","state":"ready","wanted":"running","steps":{"dirs":"done"}}`)
	}
	for _, user := range []string{"ann", "ann", "bob", "ann"} {
		r, err := d.decode("s", text(user))
		if err != nil || r.User != user || r.Steps["dirs"] != Done {
			t.Fatalf("%+v, %v", r, err)
		}
		r.Steps["dirs"] = Begun
	}
	if _, err := d.decode("s", []byte("{")); err == nil {
		t.Error("rubbish was read")
	}
}
