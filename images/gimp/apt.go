package gimp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// aptSource is one archive that apt is told of: a URL and the suites taken from it.
type aptSource struct {
	url    string
	suites []string
}

// hostMirrors finds the Debian archive, and the one of its security updates, in the apt configuration below dir.
// The host's own suite does not matter: every suite lies in the same archive. Either is empty when there is none.
func hostMirrors(dir string) (mirror, security string, err error) {
	files := []string{filepath.Join(dir, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(dir, "sources.list.d", pattern))
		if err != nil {
			return "", "", fmt.Errorf("look for apt sources: %w", err)
		}
		files = append(files, more...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("read apt sources: %w", err)
		}
		sources := parseOneLine(text)
		if strings.HasSuffix(file, ".sources") {
			sources = parseDeb822(text)
		}
		for _, s := range sources {
			switch {
			case strings.HasSuffix(s.url, "/debian-security") && security == "":
				security = s.url
			case strings.HasSuffix(s.url, "/debian") && mirror == "":
				mirror = s.url
			}
		}
	}
	return mirror, security, nil
}

// parseOneLine reads sources.list(5)'s one-line form: "deb [options] URL suite component…".
func parseOneLine(text []byte) []aptSource {
	var found []aptSource
	for line := range bytes.Lines(text) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		kind, rest, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if kind != "deb" {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		fields := strings.Fields(rest)
		if len(fields) >= 2 {
			found = append(found, aptSource{url: strings.TrimRight(fields[0], "/"), suites: fields[1:2]})
		}
	}
	return found
}

// parseDeb822 reads sources.list(5)'s deb822 form: stanzas of "Field: value", parted by empty lines.
func parseDeb822(text []byte) []aptSource {
	var found []aptSource
	fields, last := map[string]string{}, ""
	flush := func() {
		if containsWord(fields["types"], "deb") && !strings.EqualFold(strings.TrimSpace(fields["enabled"]), "no") {
			for _, url := range strings.Fields(fields["uris"]) {
				found = append(found, aptSource{url: strings.TrimRight(url, "/"), suites: strings.Fields(fields["suites"])})
			}
		}
		fields, last = map[string]string{}, ""
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.TrimSpace(line) == "":
			flush()
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += " " + strings.TrimSpace(line)
		default:
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(name))
			fields[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return found
}

func containsWord(text, word string) bool {
	for f := range strings.FieldsSeq(text) {
		if f == word {
			return true
		}
	}
	return false
}
