package pen

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// strict is how everything of ours in C is compiled.
var strict = []string{"-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Isrc"}

func compile(t *testing.T, compiler, out string, args ...string) {
	t.Helper()
	args = append(append(strict[:len(strict):len(strict)], "-o", out), args...)
	if text, err := exec.CommandContext(t.Context(), compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", compiler, args, err, text)
	}
}

func TestWireParser(t *testing.T) {
	program := filepath.Join(t.TempDir(), "wire_test")
	compile(t, "gcc", program, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "test/wire_test.c", "src/pen_wire.c")
	if text, err := exec.CommandContext(t.Context(), program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// TestWireParserFuzz lets libFuzzer at the parser for a few seconds.
func TestWireParserFuzz(t *testing.T) {
	program := filepath.Join(t.TempDir(), "wire_fuzz")
	compile(t, "clang", program, "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "test/wire_fuzz.c", "src/pen_wire.c")
	cmd := exec.CommandContext(t.Context(), program, "-max_total_time=4", "-max_len=2048", "-verbosity=0", "-seed=1")
	cmd.Dir = t.TempDir()
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}
