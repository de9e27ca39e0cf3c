// Package strictyaml reads configuration in which a field nobody knows is an error, because a misspelt
// limit that is silently ignored is worse than a daemon that does not start.
//
// Errors name the file and the line, and for an unknown field the nearest known one.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxSize bounds a configuration file, in bytes.
const maxSize = 1 << 20

// Error is one fault in a document.
type Error struct {
	File    string
	Line    int // from 1; 0 when the fault has no place
	Message string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

// Load reads the file at path into the struct that into points to. Fields that the file leaves out keep
// their value, so into carries the defaults.
func Load(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	return Decode(f, path, into)
}

// Decode is Load for an open document; name stands for it in errors. Every fault found is reported,
// joined, each as an *Error.
func Decode(r io.Reader, name string, into any) error {
	if v := reflect.ValueOf(into); v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode %s: want a pointer to a struct, got %T", name, into)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxSize {
		return &Error{File: name, Message: fmt.Sprintf("larger than %d bytes: is this a configuration file?", maxSize)}
	}
	document, err := parse(data, name)
	if err != nil || document == nil {
		return err
	}
	w := walker{file: name}
	w.walk(document, reflect.TypeOf(into).Elem(), "")
	if len(w.faults) > 0 {
		return errors.Join(w.faults...)
	}
	if err := document.Decode(into); err != nil {
		return fromYAML(name, err)
	}
	return nil
}

// parse returns the document's root, or nil when there is none.
func parse(data []byte, name string) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fromYAML(name, err)
	}
	var next yaml.Node
	if err := decoder.Decode(&next); err == nil {
		return nil, &Error{File: name, Line: next.Line, Message: "a second document begins here: keep one document in the file"}
	} else if !errors.Is(err, io.EOF) {
		return nil, fromYAML(name, err)
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	return root, nil
}

// fromYAML turns the parser's errors, "yaml: line 3: …", into ours.
func fromYAML(name string, err error) error {
	var several *yaml.TypeError
	if errors.As(err, &several) {
		faults := make([]error, 0, len(several.Errors))
		for _, text := range several.Errors {
			faults = append(faults, placed(name, text))
		}
		return errors.Join(faults...)
	}
	return placed(name, strings.TrimPrefix(err.Error(), "yaml: "))
}

func placed(name, text string) error {
	var line int
	if n, err := fmt.Sscanf(text, "line %d:", &line); err == nil && n == 1 {
		_, rest, _ := strings.Cut(text, ":")
		return &Error{File: name, Line: line, Message: strings.TrimSpace(rest)}
	}
	return &Error{File: name, Message: text}
}
