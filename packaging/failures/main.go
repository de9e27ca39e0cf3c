// Failures says once more, and briefly, why tests failed: the last thing that a long run prints is often all that anybody sees of it.
//
// Usage: failures FILE…, each of test events (go test -json, *.json) or what a command printed (any other name).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// What is printed is bounded.
const (
	maxTests    = 20
	linesOfTest = 8
	linesOfLog  = 12
	maxLine     = 240
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "failures:", err)
		os.Exit(1)
	}
}

func run(files []string, out io.Writer) error {
	for _, name := range files {
		if err := tell(name, out); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil
}

func tell(name string, out io.Writer) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if filepath.Ext(name) != ".json" {
		return tellLog(file, filepath.Base(name), out)
	}
	failed, err := readEvents(file)
	if err != nil {
		return err
	}
	for i, t := range failed {
		if i == maxTests {
			fmt.Fprintf(out, "… and %d more\n", len(failed)-i)
			break
		}
		fmt.Fprintf(out, "--- %s\n", t.name)
		for _, line := range essence(t.output) {
			fmt.Fprintln(out, shorten(line))
		}
	}
	return nil
}

// test is one that failed, or a package of which no test did.
type test struct {
	name   string
	output []string
}

// readEvents returns what failed, in the order of its end. What failed only because something in it did is left out.
func readEvents(events io.Reader) (failed []test, err error) {
	outputs := map[string][]string{}
	explained := map[string]bool{} // by a test, or a subtest, that failed
	d := json.NewDecoder(events)
	for {
		var e struct{ Action, Package, ImportPath, Test, Output, FailedBuild string }
		if err := d.Decode(&e); err == io.EOF {
			return failed, nil
		} else if err != nil {
			return failed, err
		}
		pkg := e.Package
		if pkg == "" {
			pkg = e.ImportPath // of what could not be built
		}
		name := strings.TrimSpace(pkg + " " + e.Test)
		switch e.Action {
		case "output", "build-output":
			outputs[name] = append(outputs[name], strings.TrimRight(e.Output, "\n"))
		case "pass", "skip":
			delete(outputs, name)
		case "fail":
			output := outputs[name]
			if e.FailedBuild != "" {
				output = append(outputs[e.FailedBuild], output...)
			}
			delete(outputs, name)
			for at := parent(name); at != ""; at = parent(at) {
				explained[at] = true
			}
			if !explained[name] || len(own(output)) > 0 {
				failed = append(failed, test{name, output})
			}
		}
	}
}

// parent is the test or package that fails because this one did, "" for a package.
func parent(name string) string {
	at := strings.LastIndexAny(name, " /")
	if at < strings.Index(name, " ") || !strings.Contains(name, " ") {
		return ""
	}
	return name[:at]
}

var (
	// A test's own message begins with where it is, in its file; what follows of it stands further in.
	message = regexp.MustCompile(`^( +)\S+\.go:\d+: `)
	logLine = regexp.MustCompile(`^\s*(time=\S+ level=|\d{4}/\d\d/\d\d )`)
	trouble = regexp.MustCompile(`^(panic: |fatal error: |unexpected fault|WARNING: DATA RACE|.*\.go:\d+:\d+: )`)
	// Of a stack the lines that are not ours, which are most.
	foreign = regexp.MustCompile(`^(testing\.|runtime[./]|panic\(|goroutine \d+|created by testing|\s*\S*/src/(runtime|testing)/|\s*$)`)
	frame   = regexp.MustCompile(`^\s*(=== |--- |PASS|FAIL|ok  |exit status|goroutine \d+ )`)
)

// essence is what of a test's output says why it failed: its messages and what the runtime said, else the end.
func essence(output []string) []string {
	if found := own(output); len(found) > 0 {
		return bounded(found)
	}
	var rest []string
	for _, line := range output {
		if strings.TrimSpace(line) != "" && !frame.MatchString(line) {
			rest = append(rest, line)
		}
	}
	return rest[max(0, len(rest)-linesOfTest):]
}

// own is the messages, without logs that they quote, and what follows a panic, a fault, a race or a compiler's word.
func own(output []string) (found []string) {
	indent, after := "", 0
	for _, line := range output {
		m := message.FindStringSubmatch(line)
		switch {
		case m != nil:
			indent, after = m[1], 0
			found = append(found, line)
		case trouble.MatchString(line):
			indent, after = "", linesOfTest-1
			found = append(found, line)
		case logLine.MatchString(line), after > 0 && foreign.MatchString(line):
		case after > 0:
			after--
			found = append(found, line)
		case indent != "" && strings.HasPrefix(line, indent+"    "):
			found = append(found, line)
		default:
			indent = ""
		}
	}
	return found
}

// bounded keeps the beginning, and the end, where the last word often is.
func bounded(lines []string) []string {
	if len(lines) <= linesOfTest {
		return lines
	}
	head, tail := lines[:linesOfTest-4], lines[len(lines)-3:]
	return append(append(append([]string{}, head...), fmt.Sprintf("    … %d lines …", len(lines)-linesOfTest+1)), tail...)
}

var colour = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// tellLog repeats of a log the lines that tell of a failure, else its end.
func tellLog(log io.Reader, name string, out io.Writer) error {
	telling := regexp.MustCompile(`FAIL|✗|×|[Ee]rror|panic|\.go:\d+:`)
	var told, all []string
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := colour.ReplaceAllString(lines.Text(), "")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if telling.MatchString(line) {
			told = append(told, line)
		}
		if all = append(all, line); len(all) > linesOfLog {
			all = all[1:]
		}
	}
	if len(told) == 0 {
		told = all
	}
	fmt.Fprintf(out, "--- %s\n", name)
	for _, line := range told[:min(len(told), linesOfLog)] {
		fmt.Fprintln(out, shorten(line))
	}
	return lines.Err()
}

func shorten(line string) string {
	if len(line) <= maxLine {
		return line
	}
	return strings.ToValidUTF8(line[:maxLine], "") + "…"
}
