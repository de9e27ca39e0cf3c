// Package problem writes errors of an HTTP API as application/problem+json (RFC 9457), so that every
// daemon here refuses in one shape that people and programs can read.
package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"
)

// ContentType is the media type of a problem document.
const ContentType = "application/problem+json"

// maxDetail bounds the detail's length in bytes: part of it may come from outside.
const maxDetail = 2048

// maxDocument bounds what Read accepts, in bytes.
const maxDocument = 16 << 10

// Problem is one problem document. Type is "about:blank" when empty: the status says it all.
type Problem struct {
	Type     string `json:"type,omitempty"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"`
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// Write answers with a problem: title names the kind (the same for every occurrence; the status text when
// ""), detail says what was wrong with this request and what to try.
func Write(w http.ResponseWriter, status int, title, detail string) {
	WriteProblem(w, Problem{Status: status, Title: title, Detail: detail})
}

// WriteProblem answers with p. A status that is no error's becomes 500. It drops what was said of a body
// that is no longer sent, and forbids caching.
func WriteProblem(w http.ResponseWriter, p Problem) {
	if p.Status < 400 || p.Status > 599 {
		p.Status = http.StatusInternalServerError
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	p.Detail = clip(p.Detail)
	body, err := json.Marshal(p)
	if err != nil { // strings and an int always marshal
		body = []byte(`{"title":"Internal Server Error","status":500}`)
	}
	h := w.Header()
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	h.Del("Etag")
	h.Del("Last-Modified")
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone: nothing is left to tell it
}

// Read takes the problem out of an error response, for a client. A response that carries none becomes a
// problem of its status.
func Read(resp *http.Response) *Problem {
	p := &Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != ContentType {
		return p
	}
	var sent Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(&sent); err != nil {
		return p
	}
	sent.Status = resp.StatusCode
	sent.Detail = clip(sent.Detail)
	if sent.Title == "" {
		sent.Title = p.Title
	}
	return &sent
}

// From finds the problem in err's chain, or makes one of the given status and title from it.
func From(err error, status int, title string) Problem {
	var p *Problem
	if errors.As(err, &p) {
		return *p
	}
	return Problem{Status: status, Title: title, Detail: fmt.Sprint(err)}
}

// clip bounds a text without cutting a character in half.
func clip(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	end := maxDetail
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
