// Package warmth decides how many warm sessions a cluster keeps and tells its nodes: by a fixed number, by a weekly schedule, or by a forecast from
// what was asked of this cluster before. A node keeps what it was told last when no coordinator reaches it.
package warmth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Modes of a policy.
const (
	Fixed    = "fixed"
	Schedule = "schedule"
	Forecast = "forecast"
)

// Policy is how many warm sessions of an image and class there are in the whole cluster. Its JSON form is in the state: fields are added, never
// renamed.
type Policy struct {
	Image string `json:"image,omitempty"` // "" means each node's default image
	Class string `json:"class,omitempty"`
	Mode  string `json:"mode"`
	// Ready and Desktop are the numbers of a fixed policy, and of a schedule at all times that no window names.
	Ready   int      `json:"ready,omitempty"`
	Desktop int      `json:"desktop,omitempty"`
	Windows []Window `json:"windows,omitempty"` // of a schedule; the first that holds counts
	Zone    string   `json:"zone,omitempty"`    // of windows, and of the hours that a forecast learns; IANA name, "" for UTC
	Miss    float64  `json:"miss,omitempty"`    // of a forecast: the risk that somebody finds none, 0 for the usual one
	Min     int      `json:"min,omitempty"`     // of a forecast, both kinds together
	Max     int      `json:"max,omitempty"`     // likewise; 0 means as many as there is room for
}

// Window is a time of the week with numbers of its own. One whose end is not after its begin goes on into the next day.
type Window struct {
	Days    string `json:"days"` // such as "mon-fri" or "sat,sun"
	From    string `json:"from"` // "08:30"
	To      string `json:"to"`   // "18:00"; "24:00" is midnight
	Ready   int    `json:"ready,omitempty"`
	Desktop int    `json:"desktop,omitempty"`
}

// ErrInvalid is wrapped by the error of a policy that makes no sense.
var ErrInvalid = errors.New("not a valid policy")

// Bounds of a policy.
const (
	maxWant    = 10000
	maxWindows = 100
	maxName    = 255
	leastMiss  = 0.0001
	usualMiss  = 0.02
)

// Check says what of a policy cannot be.
func (p Policy) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Mode != Fixed && p.Mode != Schedule && p.Mode != Forecast {
		bad("mode %q: use fixed, schedule or forecast", clip(p.Mode))
	}
	for name, text := range map[string]string{"image": p.Image, "class": p.Class} {
		if len(text) > maxName || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			bad("%s %q: use its name", name, clip(text))
		}
	}
	for name, n := range map[string]int{"ready": p.Ready, "desktop": p.Desktop, "min": p.Min, "max": p.Max} {
		if n < 0 || n > maxWant {
			bad("%s %d: use 0 to %d", name, n, maxWant)
		}
	}
	if p.Max > 0 && p.Max < p.Min {
		bad("max %d is less than min %d", p.Max, p.Min)
	}
	if p.Miss != 0 && !(p.Miss >= leastMiss && p.Miss <= 0.5) {
		bad("miss %g: use %g to 0.5", p.Miss, leastMiss)
	}
	if _, err := p.location(); err != nil {
		bad("zone %q: use a name such as Europe/Berlin: %w", clip(p.Zone), err)
	}
	if len(p.Windows) > maxWindows {
		bad("%d windows: use at most %d", len(p.Windows), maxWindows)
	}
	if p.Mode == Schedule && len(p.Windows) == 0 {
		bad("a schedule needs a window, such as mon-fri 08:30-18:00 desktop=4")
	}
	for _, w := range p.Windows {
		if _, err := w.parse(); err != nil {
			bad("window %s %s-%s: %w", clip(w.Days), clip(w.From), clip(w.To), err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(errs...))
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 60)] }

func (p Policy) location() (*time.Location, error) {
	if p.Zone == "" {
		return time.UTC, nil
	}
	if p.Zone == "Local" || len(p.Zone) > maxName {
		return nil, errors.New("it must mean the same on every coordinator")
	}
	return time.LoadLocation(p.Zone)
}

// span is a window with its words understood. Times are minutes of the day.
type span struct {
	days     [7]bool
	from, to int
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (w Window) parse() (span, error) {
	var s span
	for part := range strings.SplitSeq(w.Days, ",") {
		first, last, ranged := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "-")
		if !ranged {
			last = first
		}
		a, b := slices.Index(dayNames, first), slices.Index(dayNames, last)
		if a < 0 || b < 0 {
			return s, fmt.Errorf("days %q: use sun, mon, tue, wed, thu, fri, sat, alone, with commas, or as mon-fri", clip(w.Days))
		}
		for d := a; ; d = (d + 1) % 7 {
			s.days[d] = true
			if d == b {
				break
			}
		}
	}
	var err error
	if s.from, err = minutes(w.From); err != nil {
		return s, err
	}
	if s.to, err = minutes(w.To); err != nil {
		return s, err
	}
	if w.Ready < 0 || w.Ready > maxWant || w.Desktop < 0 || w.Desktop > maxWant {
		return s, fmt.Errorf("%d ready and %d desktop: use 0 to %d", w.Ready, w.Desktop, maxWant)
	}
	return s, nil
}

func minutes(text string) (int, error) {
	var h, m int
	if len(text) != 5 || text[2] != ':' {
		return 0, fmt.Errorf("time %q: use hours and minutes, such as 08:30", clip(text))
	}
	if _, err := fmt.Sscanf(text, "%02d:%02d", &h, &m); err != nil || h < 0 || h > 24 || m < 0 || m > 59 || h == 24 && m > 0 {
		return 0, fmt.Errorf("time %q: use hours and minutes, such as 08:30", clip(text))
	}
	return h*60 + m, nil
}

// holds tells whether a local time is in the span.
func (s span) holds(at time.Time) bool {
	now, today := at.Hour()*60+at.Minute(), int(at.Weekday())
	if s.from < s.to {
		return s.days[today] && now >= s.from && now < s.to
	}
	return s.days[today] && now >= s.from || s.days[(today+6)%7] && now < s.to
}

// Want is a number of warm sessions of each kind.
type Want struct{ Ready, Desktop int }

// scheduled is what a fixed policy or a schedule wants at a time.
func (p Policy) scheduled(now time.Time) Want {
	want := Want{p.Ready, p.Desktop}
	if p.Mode != Schedule {
		return want
	}
	zone, err := p.location()
	if err != nil {
		return want // Check has refused such a policy: its zone was known where it was set
	}
	for _, w := range p.Windows {
		if s, err := w.parse(); err == nil && s.holds(now.In(zone)) {
			return Want{w.Ready, w.Desktop}
		}
	}
	return want
}
