package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// cpuMeter tells how busy the host's processors are. It looks when it is asked, and so costs nothing while nobody does.
type cpuMeter struct {
	stat string // /proc/stat

	mu          sync.Mutex
	at          time.Time
	busy, total uint64 // ticks since boot, at that time
	part        float64
	measured    bool
}

// Bounds of the time over which a meter measures: in less the ticks are too few, and what was longer ago tells nothing of now.
const (
	cpuShortest = 500 * time.Millisecond
	cpuLongest  = 15 * time.Second
)

// Busy is the part of all processors that was busy since somebody asked last. It is not measured when that was too long ago.
func (m *cpuMeter) Busy() (part float64, measured bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := time.Since(m.at)
	if since < cpuShortest {
		return m.part, m.measured
	}
	busy, total, err := m.read()
	m.measured = err == nil && !m.at.IsZero() && since <= cpuLongest && total > m.total && busy >= m.busy
	if m.measured {
		m.part = float64(busy-m.busy) / float64(total-m.total)
	}
	m.at, m.busy, m.total = time.Now(), busy, total
	return m.part, m.measured
}

// read sums up the first line: user, nice, system, idle, iowait, irq, softirq, steal. What guests take is in user already.
func (m *cpuMeter) read() (busy, total uint64, err error) {
	text, err := os.ReadFile(m.stat)
	if err != nil {
		return 0, 0, fmt.Errorf("read how busy the processors are: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("read how busy the processors are: %s begins with %.80q", m.stat, line)
	}
	for i, field := range fields[1:9] {
		var n uint64
		if _, err := fmt.Sscan(field, &n); err != nil {
			return 0, 0, fmt.Errorf("read how busy the processors are: %s: %w", m.stat, err)
		}
		total += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, total, nil
}
