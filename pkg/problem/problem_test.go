package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWriteIsAProblemDocument(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Encoding", "gzip")
	Write(w, http.StatusConflict, "", "session s1: it has ended")
	if w.Code != http.StatusConflict || w.Header().Get("Content-Type") != ContentType || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if w.Header().Get("Content-Encoding") != "" {
		t.Fatal("a header of the abandoned body stayed")
	}
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p != (Problem{Title: "Conflict", Status: 409, Detail: "session s1: it has ended"}) {
		t.Fatalf("%+v", p)
	}
}

func TestWriteNeverAnswersAnErrorWithSuccess(t *testing.T) {
	for _, status := range []int{0, 200, 302, 999} {
		w := httptest.NewRecorder()
		Write(w, status, "x", "")
		if w.Code != http.StatusInternalServerError {
			t.Errorf("status %d became %d", status, w.Code)
		}
	}
}

func TestWriteBoundsTheDetail(t *testing.T) {
	w := httptest.NewRecorder()
	Write(w, 400, "x", strings.Repeat("é", maxDetail))
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Detail) > maxDetail+len("…") || !utf8.ValidString(p.Detail) {
		t.Fatalf("%d bytes", len(p.Detail))
	}
}

func TestReadRoundTrips(t *testing.T) {
	w := httptest.NewRecorder()
	Write(w, 503, "Node is full", "no memory left")
	if p := Read(w.Result()); p.Title != "Node is full" || p.Detail != "no memory left" || p.Status != 503 {
		t.Fatalf("%+v", p)
	}
}

func TestReadOfSomethingElseKeepsTheStatus(t *testing.T) {
	for _, tc := range []struct{ kind, body string }{{"text/html", "<h1>no"}, {ContentType, "{"}, {ContentType, `{"title":7}`}, {"", ""}} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", tc.kind)
		w.WriteHeader(502)
		_, _ = w.WriteString(tc.body)
		if p := Read(w.Result()); p.Status != 502 || p.Title != "Bad Gateway" {
			t.Errorf("%+v: %+v", tc, p)
		}
	}
}

func TestFromFindsAWrappedProblem(t *testing.T) {
	inner := &Problem{Status: 404, Title: "No such session", Detail: "s1"}
	if p := From(fmt.Errorf("get: %w", inner), 500, "Internal"); p.Status != 404 {
		t.Fatalf("%+v", p)
	}
	if p := From(errors.New("disk on fire"), 500, "Internal"); p.Status != 500 || p.Detail != "disk on fire" || p.Title != "Internal" {
		t.Fatalf("%+v", p)
	}
}
