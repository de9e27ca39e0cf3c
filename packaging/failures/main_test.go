package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// events are as go test -json has them: action, package, test, output.
func events(t *testing.T, all ...[4]string) string {
	t.Helper()
	var b strings.Builder
	for _, e := range all {
		line, err := json.Marshal(map[string]string{"Action": e[0], "Package": e[1], "Test": e[2], "Output": e[3]})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.String()
}

func told(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run([]string{path}, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestMessagesOfAFailedTest(t *testing.T) {
	const p, parent = "easel/x", "TestA"
	got := told(t, "unit.json", events(t,
		[4]string{"run", p, parent, ""},
		[4]string{"output", p, parent, "=== RUN   TestA\n"},
		[4]string{"output", p, "TestA/one", "=== RUN   TestA/one\n"},
		[4]string{"output", p, "TestA/one", "    a_test.go:7: it is broken:\n"},
		[4]string{"output", p, "TestA/one", "        in two ways\n"},
		[4]string{"output", p, "TestA/one", "    a_test.go:9: noded's log ends:\n"},
		[4]string{"output", p, "TestA/one", "        time=2026-01-01T00:00:00Z level=INFO msg=noise\n"},
		[4]string{"output", p, "TestA/one", "    --- FAIL: TestA/one (0.00s)\n"},
		[4]string{"fail", p, "TestA/one", ""},
		[4]string{"output", p, "TestA/two", "    a_test.go:20: fine\n"},
		[4]string{"pass", p, "TestA/two", ""},
		[4]string{"output", p, parent, "--- FAIL: TestA (0.00s)\n"},
		[4]string{"fail", p, parent, ""},
		[4]string{"output", p, "", "FAIL\n"},
		[4]string{"fail", p, "", ""},
	))
	want := "--- easel/x TestA/one\n    a_test.go:7: it is broken:\n        in two ways\n    a_test.go:9: noded's log ends:\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestPanicAndItsPlace(t *testing.T) {
	const p = "easel/x"
	all := [][4]string{
		{"output", p, "TestB", "=== RUN   TestB\n"},
		{"output", p, "TestB", "panic: index out of range\n"},
		{"output", p, "TestB", "\n"},
		{"output", p, "TestB", "goroutine 7 [running]:\n"},
		{"output", p, "TestB", "panic({0x1, 0x2})\n"},
		{"output", p, "TestB", "\t/usr/local/go/src/runtime/panic.go:860 +0x13a\n"},
	}
	for i := range 100 {
		all = append(all, [4]string{"output", p, "TestB", fmt.Sprintf("easel/x.f%d()\n", i)})
	}
	all = append(all, [4]string{"fail", p, "TestB", ""}, [4]string{"fail", p, "", ""})
	got := told(t, "unit.json", events(t, all...))
	if !strings.HasPrefix(got, "--- easel/x TestB\npanic: index out of range\neasel/x.f0()\n") {
		t.Errorf("got:\n%s", got)
	}
	if n := strings.Count(got, "\n"); n > linesOfTest+1 {
		t.Errorf("%d lines", n)
	}
}

func TestWhatCannotBeBuilt(t *testing.T) {
	got := told(t, "unit.json", `{"ImportPath":"easel/x [easel/x.test]","Action":"build-output","Output":"# easel/x\n"}
{"ImportPath":"easel/x [easel/x.test]","Action":"build-output","Output":"x/a.go:3:2: undefined: b\n"}
{"ImportPath":"easel/x [easel/x.test]","Action":"build-fail"}
{"Action":"output","Package":"easel/x","Output":"FAIL\teasel/x [build failed]\n"}
{"Action":"fail","Package":"easel/x","FailedBuild":"easel/x [easel/x.test]"}
`)
	if want := "--- easel/x\nx/a.go:3:2: undefined: b\nFAIL\teasel/x [build failed]\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// Whatever fails, and however much it says: what is printed stays small.
func TestItIsBounded(t *testing.T) {
	var all [][4]string
	const tests = 60
	for i := range tests {
		name := fmt.Sprintf("Test%d", i)
		for range 20 {
			all = append(all, [4]string{"output", "easel/x", name, "    a_test.go:1: " + strings.Repeat("é", 1000) + "\n"})
		}
		all = append(all, [4]string{"fail", "easel/x", name, ""})
	}
	got := told(t, "unit.json", events(t, all...))
	if most := maxTests * (linesOfTest + 1) * (maxLine + 10); len(got) > most || !strings.HasSuffix(got, fmt.Sprintf("… and %d more\n", tests-maxTests)) {
		t.Errorf("%d bytes, %d at most; it ends %q", len(got), most, got[len(got)-40:])
	}
}

func TestLogOfACommand(t *testing.T) {
	log := strings.Repeat("all is well\n", 50) + "\x1b[31m FAIL \x1b[0m src/a.test.ts > it works\nAssertionError: expected 1 to be 2\n" + strings.Repeat("more\n", 50)
	if got, want := told(t, "web.log", log), "--- web.log\n FAIL  src/a.test.ts > it works\nAssertionError: expected 1 to be 2\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := told(t, "lint.log", "one\ntwo\n"); got != "--- lint.log\none\ntwo\n" {
		t.Errorf("got:\n%s", got)
	}
}
