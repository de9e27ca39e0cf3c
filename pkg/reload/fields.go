package reload

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Changed returns the YAML paths of the fields in which two configurations of one type differ, sorted.
func Changed[C any](before, after C) []string {
	var paths []string
	a, b := leaves(reflect.ValueOf(&before).Elem(), ""), leaves(reflect.ValueOf(&after).Elem(), "")
	for path, v := range a {
		if !reflect.DeepEqual(v.Interface(), b[path].Interface()) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// Check says which fields of a configuration a table lacks, and which it names that are none.
func Check[C any](fields Fields) error {
	var c C
	all := leaves(reflect.ValueOf(&c).Elem(), "")
	var wrong []string
	for path := range all {
		if _, ok := fields[path]; !ok {
			wrong = append(wrong, path+" is not in the table")
		}
	}
	for path := range fields {
		if _, ok := all[path]; !ok {
			wrong = append(wrong, path+" is no field")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("fields that a reload takes up or not: %s", strings.Join(wrong, "; "))
}

// leaves are the fields of a configuration that hold a value themselves, by YAML path. A list is one.
func leaves(v reflect.Value, at string) map[string]reflect.Value {
	all := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		path, field := strings.TrimPrefix(at+"."+name, "."), v.Field(i)
		if _, text := field.Addr().Interface().(encoding.TextUnmarshaler); field.Kind() != reflect.Struct || text {
			all[path] = field
			continue
		}
		for below, leaf := range leaves(field, path) {
			all[below] = leaf
		}
	}
	return all
}
