package stream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"easel/noded/stream/contract"
)

// Bounds of what easel-init may report.
const (
	maxReport   = 16 << 10
	maxServices = 16
	// reportRetry is the shortest and reportRetryMax the longest wait between attempts to reach easel-init.
	reportRetry    = 50 * time.Millisecond
	reportRetryMax = 2 * time.Second
	// reportRate bounds how often a report is taken up: easel-init is in the session's hands.
	reportRate = 20 * time.Millisecond
)

const serviceX = "xorg"

// report is one line that easel-init writes.
type report struct {
	Seq      uint64                      `json:"seq"`
	Ready    bool                        `json:"ready"`
	Services map[string]contract.Service `json:"services"`
	GIMP     contract.GIMP               `json:"gimp"`
	OpenCL   contract.OpenCL             `json:"opencl"`
}

var gimpStates = map[string]bool{contract.Starting: true, contract.Running: true, contract.Restarting: true, contract.Failed: true}

// parseReport reads one line of easel-init's.
func parseReport(line []byte) (report, error) {
	var r report
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return report{}, fmt.Errorf("read easel-init's report: %w", err)
	}
	if !gimpStates[r.GIMP.State] {
		return report{}, fmt.Errorf("read easel-init's report: GIMP's state is %.20q", r.GIMP.State)
	}
	if !r.OpenCL.Valid() {
		return report{}, fmt.Errorf("read easel-init's report: OpenCL is %.20q, or its texts are too long", r.OpenCL.State)
	}
	if len(r.Services) > maxServices {
		return report{}, fmt.Errorf("read easel-init's report: %d services", len(r.Services))
	}
	for name, s := range r.Services {
		switch s.State {
		case contract.Starting, contract.Running, contract.Backoff, contract.Failed:
		default:
			return report{}, fmt.Errorf("read easel-init's report: %.20q is %.20q", name, s.State)
		}
		if len(name) > 32 || s.PID < 0 || s.Restarts < 0 {
			return report{}, errors.New("read easel-init's report: a service is out of bounds")
		}
	}
	if r.GIMP.PID < 0 || r.GIMP.Restarts < 0 || r.GIMP.WindowMS < 0 {
		return report{}, errors.New("read easel-init's report: GIMP's numbers are out of bounds")
	}
	return r, nil
}

// listener follows easel-init's reports and hands each to take, until ctx ends.
type listener struct {
	dial dialer
	take func(report)
	log  *slog.Logger
}

func (l *listener) run(ctx context.Context) {
	wait := reportRetry
	for ctx.Err() == nil {
		heard, err := l.follow(ctx)
		if heard {
			wait = reportRetry
			l.log.Info("easel-init's reports ended", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(wait*3/2, reportRetryMax)
	}
}

// follow reads reports from one connection until it ends; heard tells whether there was a good one.
func (l *listener) follow(ctx context.Context) (heard bool, err error) {
	conn, err := l.connect(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 4096), maxReport)
	for lines.Scan() {
		r, err := parseReport(lines.Bytes())
		if err != nil {
			return heard, err
		}
		heard = true
		l.take(r)
		select { // what floods is read at our pace
		case <-ctx.Done():
			return heard, ctx.Err()
		case <-time.After(reportRate):
		}
	}
	return heard, lines.Err()
}

func (l *listener) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reportRetryMax)
	defer cancel()
	return l.dial(ctx)
}
