package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAFloodFillsNoMoreThanTwoFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r := newRoll(path, 1000)
	for range 1000 {
		if n, err := r.Write([]byte(strings.Repeat("x", 99) + "\n")); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
	r.Close()
	for _, name := range []string{path, path + ".1"} {
		info, err := os.Stat(name)
		if err != nil || info.Size() == 0 || info.Size() > 1000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 2 {
		t.Errorf("%d files", len(entries))
	}
}

func TestALogGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, line := range []string{"one\n", "two\n"} {
		r := newRoll(path, 1000)
		_, _ = r.Write([]byte(line))
		r.Close()
	}
	if got, _ := os.ReadFile(path); string(got) != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
}

func TestALogThatCannotBeWrittenIsLostAndStopsNothing(t *testing.T) {
	r := newRoll(filepath.Join(t.TempDir(), "absent", "log"), 1000)
	if n, err := r.Write([]byte("hello")); n != 5 || err != nil {
		t.Error(n, err)
	}
}

func TestWhoPrintsFasterThanTheRateWaits(t *testing.T) {
	var slept time.Duration
	clock := time.Unix(0, 0)
	p := &paced{
		to: &bytes.Buffer{}, rate: 100, burst: 1000,
		now:   func() time.Time { return clock },
		sleep: func(d time.Duration) { slept += d; clock = clock.Add(d) },
	}
	for range 100 { // 10,000 bytes: 1,000 at once, the others at 100 a second
		_, _ = p.Write(make([]byte, 100))
	}
	if slept < 89*time.Second || slept > 91*time.Second {
		t.Errorf("waited %v", slept)
	}
	slept = 0
	clock = clock.Add(time.Hour)
	if _, _ = p.Write(make([]byte, 1000)); slept != 0 {
		t.Errorf("waited %v after an hour of silence", slept)
	}
}

// The protocol of containerd's shim: descriptors 3 and 4 are read to their end, 5 gets a byte once we read.
func TestBothStreamsEndInTheFile(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "sessionlog")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(dir, "log")
	cmd := exec.Command(program, "-file", path)
	var ends [3]*os.File // the shim's ends
	for i, mine := range []bool{false, false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		theirs := r
		ends[i] = w
		if mine {
			theirs, ends[i] = w, r
		}
		defer ends[i].Close()
		defer theirs.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	_ = ends[2].SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := ends[2].Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatalf("not ready: %v", err)
	}
	for i, text := range []string{"out\n", "err\n"} {
		if _, err := ends[i].WriteString(text); err != nil {
			t.Fatal(err)
		}
		ends[i].Close()
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(got), "out\n") || !strings.Contains(string(got), "err\n") || len(got) != 8 {
		t.Errorf("%q, %v", got, err)
	}
}
