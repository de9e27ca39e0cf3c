package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, tc := range [][2]string{{"loud", "text"}, {"info", "xml"}, {"", "text"}, {"info", ""}, {"info+2", "json"}} {
		if _, err := Logger(&bytes.Buffer{}, tc[0], tc[1]); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%v: error %v, want one that says what to use", tc, err)
		}
	}
}

func TestLoggerKeepsToItsLevelAndFormat(t *testing.T) {
	var out bytes.Buffer
	log, err := Logger(&out, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud", "session", "s1")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if line["msg"] != "loud" || line["session"] != "s1" {
		t.Fatalf("%v", line)
	}
}

func TestSecretNeverShows(t *testing.T) {
	s := Secret("hunter2")
	var out bytes.Buffer
	for _, format := range []string{"text", "json"} {
		log, err := Logger(&out, "info", format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("x", "token", s, "group", slog.GroupValue(slog.Any("inner", s)), "in", struct{ S Secret }{s})
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, s)
		fmt.Fprintf(&out, verb, struct{ S Secret }{s})
	}
	body, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(body)
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), "68756e74657232") {
		t.Fatalf("the secret shows in %s", out.String())
	}
	if s.Reveal() != "hunter2" {
		t.Fatal("the secret was lost")
	}
}

func TestMetricsHandlerServesTheBuild(t *testing.T) {
	w := httptest.NewRecorder()
	MetricsHandler(Registry("v1.2"), slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), `easel_build_info{version="v1.2"} 1`) {
		t.Fatalf("%d %s", w.Code, w.Body.String())
	}
}
