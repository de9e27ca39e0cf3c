package api

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"easel/coordinator/events"
	"easel/coordinator/placement"
)

func document(t testing.TB) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	return doc
}

func TestEveryRouteIsDocumentedAndEveryDocumentedRouteExists(t *testing.T) {
	var have, documented []string
	for _, r := range (&API{}).routes() {
		have = append(have, r.method+" "+r.path)
	}
	for path, item := range document(t)["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			documented = append(documented, strings.ToUpper(method)+" "+path)
			if o := op.(map[string]any); o["summary"] == "" || o["operationId"] == "" {
				t.Errorf("%s %s has no summary or operationId", method, path)
			}
		}
	}
	slices.Sort(have)
	slices.Sort(documented)
	if !slices.Equal(have, documented) {
		t.Errorf("routes:     %v\ndocumented: %v", have, documented)
	}
}

// TestSchemasListTheFieldsOfTheirTypes keeps a new field from being forgotten where no test sees it.
func TestSchemasListTheFieldsOfTheirTypes(t *testing.T) {
	schemas := document(t)["components"].(map[string]any)["schemas"].(map[string]any)
	for name, v := range map[string]any{
		"Room": Room{}, "Card": Card{}, "Slice": Slice{}, "Choice": placement.Choice{}, "Pool": Pool{}, "Load": Load{}, "Duty": DutyAnswer{}, "Event": events.Event{},
		"Session": Session{}, "SessionList": SessionList{}, "Node": Node{}, "Me": Me{}, "Route": Route{}, "Candidate": Candidate{},
		"Explanation": placement.Explanation{}, "FilterResult": placement.FilterResult{}, "ScoreResult": placement.ScoreResult{}, "SessionRequest": SessionRequest{}, "SignIn": signInRequest{},
	} {
		schema := schemas[name].(map[string]any)
		var fields, required []string
		for i := range reflect.TypeOf(v).NumField() {
			tag := reflect.TypeOf(v).Field(i).Tag.Get("json")
			field, options, _ := strings.Cut(tag, ",")
			fields = append(fields, field)
			if options != "omitempty" {
				required = append(required, field)
			}
		}
		if got := keys(schema["properties"].(map[string]any)); !sameSet(got, fields) {
			t.Errorf("%s: documented %v, the type has %v", name, got, fields)
		}
		var documented []string
		for _, r := range schema["required"].([]any) {
			documented = append(documented, r.(string))
		}
		if name != "SessionRequest" && !sameSet(documented, required) {
			t.Errorf("%s: documented as always there %v, the type has %v", name, documented, required)
		}
	}
}

func keys(m map[string]any) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// validate checks an answer against the document: its status must be listed, and its body fit the schema.
func validate(t testing.TB, method, path string, resp *http.Response, body []byte) {
	t.Helper()
	doc := document(t)
	op := operation(doc, method, path)
	if op == nil || resp.StatusCode == http.StatusMisdirectedRequest {
		return // not a route of the API; or refused before it was looked up
	}
	answer, ok := op["responses"].(map[string]any)[fmt.Sprint(resp.StatusCode)].(map[string]any)
	if !ok {
		t.Errorf("%s %s answers %d, which is not documented", method, path, resp.StatusCode)
		return
	}
	content, ok := answer["content"].(map[string]any)
	if !ok {
		if len(body) > 0 {
			t.Errorf("%s %s: a body with status %d: %s", method, path, resp.StatusCode, body)
		}
		return
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	media, ok := content[kind].(map[string]any)
	if !ok {
		t.Errorf("%s %s: %d as %q, documented are %v", method, path, resp.StatusCode, kind, keys(content))
		return
	}
	if kind == "text/plain" {
		return
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s %s: %v in %s", method, path, err, body)
		return
	}
	for _, fault := range check(doc, media["schema"].(map[string]any), v, "") {
		t.Errorf("%s %s: %d: %s in %s", method, path, resp.StatusCode, fault, body)
	}
}

func operation(doc map[string]any, method, path string) map[string]any {
	for template, item := range doc["paths"].(map[string]any) {
		pattern := "^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), `.+`) + "$"
		if regexp.MustCompile(pattern).MatchString(path) {
			op, _ := item.(map[string]any)[strings.ToLower(method)].(map[string]any)
			return op
		}
	}
	return nil
}

// check is the part of JSON Schema (2020-12) that the document uses.
func check(doc, schema map[string]any, v any, at string) (faults []string) {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		return check(doc, doc["components"].(map[string]any)["schemas"].(map[string]any)[name].(map[string]any), v, at)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		faults = append(faults, fmt.Sprintf("%s: %v is none of %v", at, v, enum))
	}
	switch schema["type"] {
	case "object":
		faults = append(faults, checkObject(doc, schema, v, at)...)
	case "array":
		list, ok := v.([]any)
		if !ok {
			return append(faults, at+" is no array")
		}
		for i, item := range list {
			faults = append(faults, check(doc, schema["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "string":
		faults = append(faults, checkString(schema, v, at)...)
	case "integer":
		n, ok := v.(float64)
		if !ok || n != float64(int64(n)) {
			faults = append(faults, at+" is no integer")
		} else if low, ok := schema["minimum"].(float64); ok && n < low {
			faults = append(faults, fmt.Sprintf("%s: %v is below %v", at, n, low))
		}
	case "number":
		n, ok := v.(float64)
		if !ok {
			faults = append(faults, at+" is no number")
		} else if low, ok := schema["minimum"].(float64); ok && n < low {
			faults = append(faults, fmt.Sprintf("%s: %v is below %v", at, n, low))
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			faults = append(faults, at+" is no boolean")
		}
	default:
		faults = append(faults, fmt.Sprintf("%s: the schema has the type %v, which this check does not know", at, schema["type"]))
	}
	return faults
}

func checkObject(doc, schema map[string]any, v any, at string) (faults []string) {
	object, ok := v.(map[string]any)
	if !ok {
		return []string{at + " is no object"}
	}
	properties, _ := schema["properties"].(map[string]any)
	if required, ok := schema["required"].([]any); ok {
		for _, name := range required {
			if _, ok := object[name.(string)]; !ok {
				faults = append(faults, fmt.Sprintf("%s has no %v", at, name))
			}
		}
	}
	for name, value := range object {
		p, ok := properties[name].(map[string]any)
		switch {
		case ok:
			faults = append(faults, check(doc, p, value, at+"."+name)...)
		case schema["additionalProperties"] == false:
			faults = append(faults, at+"."+name+" is not documented")
		}
	}
	return faults
}

func checkString(schema map[string]any, v any, at string) (faults []string) {
	s, ok := v.(string)
	if !ok {
		return []string{at + " is no string"}
	}
	if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(s) {
		faults = append(faults, fmt.Sprintf("%s: %q does not match %s", at, s, pattern))
	}
	if schema["format"] == "date-time" {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			faults = append(faults, fmt.Sprintf("%s: %q is no date-time", at, s))
		}
	}
	return faults
}
