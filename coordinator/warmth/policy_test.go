package warmth

import (
	"errors"
	"testing"
	"time"
)

func TestScheduleHoldsInItsOwnZone(t *testing.T) {
	p := Policy{Mode: Schedule, Desktop: 1, Zone: "Europe/Berlin", Windows: []Window{
		{Days: "mon-fri", From: "08:30", To: "18:00", Ready: 2, Desktop: 6},
		{Days: "fri", From: "22:00", To: "02:00", Desktop: 3},
	}}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]Want{
		"2026-11-26T07:29:59Z": {0, 1}, // 08:29 of a Thursday, in winter
		"2026-11-26T07:30:00Z": {2, 6},
		"2026-11-26T16:59:59Z": {2, 6},
		"2026-11-26T17:00:00Z": {0, 1},
		"2026-07-16T06:30:00Z": {2, 6}, // an hour earlier in summer
		"2026-11-28T09:00:00Z": {0, 1}, // Saturday
		"2026-11-27T21:30:00Z": {0, 3}, // Friday night
		"2026-11-28T00:59:00Z": {0, 3}, // and on into Saturday
		"2026-11-28T01:00:00Z": {0, 1},
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Wants(nil, now); got != want {
			t.Errorf("%s: %+v, want %+v", at, got, want)
		}
	}
}

func TestPolicyThatMakesNoSenseIsRefused(t *testing.T) {
	window := func(days, from, to string) Policy {
		return Policy{Mode: Schedule, Windows: []Window{{Days: days, From: from, To: to}}}
	}
	for name, p := range map[string]Policy{
		"no mode":          {},
		"unknown mode":     {Mode: "guess"},
		"negative":         {Mode: Fixed, Ready: -1},
		"too many":         {Mode: Fixed, Desktop: 1 << 30},
		"max below min":    {Mode: Forecast, Min: 3, Max: 2},
		"risk of one":      {Mode: Forecast, Miss: 1},
		"no risk":          {Mode: Forecast, Miss: 1e-9},
		"unknown zone":     {Mode: Forecast, Zone: "Mars/Olympus"},
		"local zone":       {Mode: Forecast, Zone: "Local"},
		"zone of a file":   {Mode: Forecast, Zone: "../../etc/passwd"},
		"no window":        {Mode: Schedule},
		"unknown day":      window("mon-fry", "08:00", "09:00"),
		"hour 25":          window("mon", "25:00", "09:00"),
		"minute 60":        window("mon", "08:60", "09:00"),
		"no colon":         window("mon", "0800", "09:00"),
		"signed":           window("mon", "-1:00", "09:00"),
		"image with a NUL": {Mode: Fixed, Image: "a\x00b"},
	} {
		if err := p.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add("mon-fri", "08:30", "18:00", int64(0))
	f.Add("sun,wed-mon", "23:59", "24:00", int64(1e9))
	f.Fuzz(func(t *testing.T, days, from, to string, at int64) {
		w := Window{Days: days, From: from, To: to}
		s, err := w.parse()
		if err != nil {
			return
		}
		if s.from < 0 || s.from > 1440 || s.to < 0 || s.to > 1440 || s.days == [7]bool{} {
			t.Fatalf("%+v: %+v", w, s)
		}
		s.holds(time.Unix(at%1e10, 0).UTC())
	})
}
