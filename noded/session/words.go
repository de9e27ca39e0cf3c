package session

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a container may have put into a text that people read, in bytes.
const (
	maxWords = 300
	maxTail  = 4096
)

// words makes a text that came from a container fit for a log, a terminal or a page: one line of
// printable characters, at most limit bytes.
func words(text string, limit int) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) || unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if b.Len()+utf8.RuneLen(r)+1 > limit {
			return b.String() + "…"
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// lastWords is the last lines of a log that a container or streamer wrote, made fit to read; "" when there
// is none. The path lies in a directory that only root can write to.
func lastWords(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	if _, err := f.Seek(max(0, info.Size()-maxTail), io.SeekStart); err != nil {
		return ""
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTail))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	text := strings.Join(lines[max(0, len(lines)-3):], " | ")
	if len(text) > maxWords {
		text = text[len(text)-maxWords:]
	}
	return words(text, maxWords)
}

// Printable is text from a container or a streamer made fit for a log, a terminal or a page: one line of
// printable characters, cut off after limit bytes.
func Printable(text string, limit int) string { return words(text, limit) }
