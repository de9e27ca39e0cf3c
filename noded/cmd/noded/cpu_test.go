package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestCPUMeterTellsOfLateAndOfNothingElse(t *testing.T) {
	stat := filepath.Join(t.TempDir(), "stat")
	put := func(busy, idle int) {
		if err := os.WriteFile(stat, fmt.Appendf(nil, "cpu  %d 0 0 %d 0 0 0 0 0 0\ncpu0 1 2 3\n", busy, idle), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := &cpuMeter{stat: stat}
		put(100, 100)
		if _, measured := m.Busy(); measured {
			t.Error("measured at the first look")
		}
		put(175, 125)
		time.Sleep(time.Second)
		if part, measured := m.Busy(); !measured || part != 0.75 {
			t.Errorf("%v, %v", part, measured)
		}
		put(175, 1000)
		if part, _ := m.Busy(); part != 0.75 {
			t.Errorf("%v after no time", part)
		}
		time.Sleep(time.Minute)
		if _, measured := m.Busy(); measured {
			t.Error("measured over a minute")
		}
		if err := os.WriteFile(stat, []byte("intr 5"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, measured := m.Busy(); measured {
			t.Error("rubbish was measured")
		}
	})
	if m := (&cpuMeter{stat: "/proc/stat"}); true {
		if busy, total, err := m.read(); err != nil || busy == 0 || total < busy {
			t.Errorf("%d of %d, %v", busy, total, err)
		}
	}
}
