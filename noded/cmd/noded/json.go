package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
)

// printJSON prints an answer of the node as scripts want it: the contract's own names, states in its words, and numbers as numbers,
// where protobuf's JSON has enum constants and 64-bit numbers as text.
func printJSON(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	plain(tree)
	return indented(w, tree)
}

// indented writes anything as JSON for a person to read.
func indented(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// plain rewrites a session's state and its one 64-bit number wherever they stand.
func plain(tree any) {
	switch t := tree.(type) {
	case []any:
		for _, v := range t {
			plain(v)
		}
	case map[string]any:
		for name, v := range t {
			text, ok := v.(string)
			switch {
			case ok && name == "state":
				t[name] = strings.ToLower(strings.TrimPrefix(text, "STATE_"))
			case ok && name == "window_ms":
				t[name] = json.Number(text)
			default:
				plain(v)
			}
		}
	}
}

func stateName(s easelv1.State) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STATE_"))
}
