package contract

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of a notice, in bytes.
const (
	MaxNotice     = 4 << 10 // the document
	maxNoticeText = 1000
)

// Notice is what the node has to say to the artist, such as that the session ends at a time. The zero Notice takes
// back the one before.
type Notice struct {
	Text  string    `json:"text"`
	Until time.Time `json:"until,omitzero"` // when it happens; zero when at no time
}

// Left is how long it is until it happens; 0 when it has, or at no time. Clocks of viewers may be wrong, so this is
// what they are told beside the time.
func (n Notice) Left(now time.Time) time.Duration {
	if n.Until.IsZero() {
		return 0
	}
	return max(0, n.Until.Sub(now))
}

// ReadNotice reads one Notice and checks it.
func ReadNotice(r io.Reader) (Notice, error) {
	var n Notice
	if _, err := read(r, MaxNotice, &n); err != nil {
		return Notice{}, fmt.Errorf("read a notice: %w", err)
	}
	unprintable := func(c rune) bool { return !unicode.IsPrint(c) }
	if len(n.Text) > maxNoticeText || !utf8.ValidString(n.Text) || strings.ContainsFunc(n.Text, unprintable) {
		return Notice{}, fmt.Errorf("read a notice: its text must be printable, of at most %d bytes", maxNoticeText)
	}
	return n, nil
}
