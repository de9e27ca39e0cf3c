package strictyaml

import (
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFaults bounds how many faults one document reports.
const maxFaults = 20

var (
	yamlUnmarshaler = reflect.TypeFor[yaml.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// walker compares a document with the Go type it is meant for.
type walker struct {
	file   string
	faults []error
}

func (w *walker) fault(line int, format string, args ...any) {
	if len(w.faults) < maxFaults {
		w.faults = append(w.faults, &Error{File: w.file, Line: line, Message: fmt.Sprintf(format, args...)})
	}
}

// walk visits a node that is to become a t; at is the field's path, "" for the root. Aliases are not
// followed: what they point to was visited where it was written.
func (w *walker) walk(node *yaml.Node, t reflect.Type, at string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p := reflect.PointerTo(t); p.Implements(yamlUnmarshaler) || p.Implements(textUnmarshaler) {
		return
	}
	switch {
	case t.Kind() == reflect.Struct && node.Kind == yaml.MappingNode:
		w.walkStruct(node, t, at)
	case t.Kind() == reflect.Struct && node.Kind != yaml.AliasNode && node.Tag != "!!null":
		w.fault(node.Line, "%s must hold fields, one a line, as \"name: value\"", where(at))
	case (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && node.Kind == yaml.SequenceNode:
		for _, item := range node.Content {
			w.walk(item, t.Elem(), at)
		}
	case t.Kind() == reflect.Map && node.Kind == yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			w.walk(node.Content[i], t.Elem(), at)
		}
	}
}

func (w *walker) walkStruct(node *yaml.Node, t reflect.Type, at string) {
	known := fieldsOf(t)
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if first, twice := seen[key.Value]; twice {
			w.fault(key.Line, "field %q was given on line %d already: keep one of them", key.Value, first)
			continue
		}
		seen[key.Value] = key.Line
		field, ok := known[key.Value]
		if !ok {
			w.fault(key.Line, "unknown field %q in %s%s", key.Value, where(at), suggestion(key.Value, known))
			continue
		}
		path := key.Value
		if at != "" {
			path = at + "." + key.Value
		}
		w.walk(value, field, path)
	}
}

func where(at string) string {
	if at == "" {
		return "the document"
	}
	return at
}

// fieldsOf maps the names that yaml.v3 would accept for a struct to their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case strings.Contains(options, "inline") && f.Type.Kind() == reflect.Struct:
			for inner, innerType := range fieldsOf(f.Type) {
				fields[inner] = innerType
			}
		case name == "":
			fields[strings.ToLower(f.Name)] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}

// suggestion names the known field nearest to what was written or, when none is near, all of them.
func suggestion(written string, known map[string]reflect.Type) string {
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	sort.Strings(names)
	best, bestDistance := "", 1+len(written)/2
	for _, name := range names {
		if d := distance(strings.ToLower(written), name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known fields: " + strings.Join(names, ", ")
}

// distance is the Levenshtein distance between two words.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
