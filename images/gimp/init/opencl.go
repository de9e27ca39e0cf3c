package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// openCLReport is what is told of GIMP's OpenCL.
type openCLReport struct {
	State  openCLState `json:"state"`
	Device string      `json:"device,omitempty"`
	Why    string      `json:"why,omitempty"`
}

type openCLState string

const (
	openCLOff     openCLState = "off"     // the session has none
	openCLProving openCLState = "proving" // GIMP waits for the outcome
	openCLOn      openCLState = "on"
	openCLFailed  openCLState = "failed" // it should have it, and goes without
)

// Bounds of each text of the report (contract.MaxOpenCL has room for it) and of the proving program's answer, in bytes.
const (
	mostOpenCLText   = 250
	mostOpenCLAnswer = 4096
)

// mostLivesWithOpenCL is how often in a row GIMP may end soon after its start before it is started without OpenCL: a driver can pass the proof
// and still be GIMP's end.
const mostLivesWithOpenCL = 3

// openCL decides whether GIMP uses OpenCL. GEGL falls back to the CPU without a word where a driver does not work, hangs with it where it hangs,
// and shows a wrong picture where it computes wrongly. So a program of its own runs filters before GIMP starts, and GIMP gets OpenCL only when that one
// got the right picture by it. The first proof runs while X starts.
type openCL struct {
	kind     string // of device, in GEGL's words; "" where the session has no OpenCL
	patience time.Duration
	program  func() (command, error) // writes an openCLAnswer into descriptor 3
	reaper   *reaper
	board    *board
	log      *slog.Logger

	first chan struct{} // closed when the first proof has an outcome
}

// openCLAnswer is what the proving program says.
type openCLAnswer struct {
	Device string `json:"device"`
	Why    string `json:"why"`
}

// kindOfOpenCL reads EASEL_OPENCL: "1" is the session's card. "cpu" is for images that bring an OpenCL of their own; it compiles on the
// session's processors, and is given more time.
func kindOfOpenCL(value string) (kind string, patience time.Duration, err error) {
	switch value {
	case "", "0":
		return "", 0, nil
	case "1":
		return "gpu", 10 * time.Second, nil
	case "cpu":
		return "cpu", 40 * time.Second, nil
	}
	return "", 0, fmt.Errorf(`EASEL_OPENCL is %q: must be "1", "cpu", or empty`, value)
}

// begin makes the first proof.
func (o *openCL) begin(ctx context.Context) {
	defer close(o.first)
	if o.kind != "" {
		o.prove(ctx)
	}
}

// settle returns when it is known how GIMP is to start, or ctx ends. GIMP's ends so far, in a row, are fails: if it has ended, the driver may be the
// cause, and is proven anew.
func (o *openCL) settle(ctx context.Context, fails int) {
	select {
	case <-o.first:
	case <-ctx.Done():
		return
	}
	switch {
	case fails == 0 || !o.on():
	case fails >= mostLivesWithOpenCL:
		o.tell(openCLReport{State: openCLFailed, Device: o.board.openCL().Device, Why: fmt.Sprintf("GIMP ended %d times in a row with it", fails)})
	default:
		o.prove(ctx)
	}
}

func (o *openCL) on() bool { return o.board.openCL().State == openCLOn }

// environment is env with what GEGL is to use.
func (o *openCL) environment(env []string, use bool) []string {
	const name = "GEGL_USE_OPENCL="
	value := "no"
	if use {
		value = o.kind
	}
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, name) })
	return append(env, name+value)
}

// gimprc are GIMP's defaults, which the artist's own preferences go over.
func (o *openCL) gimprc() string {
	if o.on() {
		return "(use-opencl yes)\n"
	}
	return "(use-opencl no)\n"
}

func (o *openCL) tell(r openCLReport) {
	r.Device, r.Why = printable(r.Device), printable(r.Why)
	level := slog.LevelInfo
	if r.State == openCLFailed {
		level = slog.LevelError
	}
	o.log.Log(context.Background(), level, "OpenCL", "state", r.State, "device", r.Device, "why", r.Why)
	o.board.setOpenCL(r)
}

func (o *openCL) prove(ctx context.Context) {
	o.tell(openCLReport{State: openCLProving})
	began := time.Now()
	answer, err := o.ask(ctx)
	if ctx.Err() != nil {
		return // the session ends
	}
	o.log.Info("the proof of OpenCL has ended", "took", time.Since(began).Round(time.Millisecond))
	switch {
	case err != nil:
		o.tell(openCLReport{State: openCLFailed, Why: err.Error()})
	case answer.Why != "":
		o.tell(openCLReport{State: openCLFailed, Device: answer.Device, Why: answer.Why})
	default:
		o.tell(openCLReport{State: openCLOn, Device: answer.Device})
	}
}

// ask runs the proving program. When it has answered, or the time is over, it is killed with all that it started. A process that hangs in the
// kernel does not die by that: nobody waits for it.
func (o *openCL) ask(ctx context.Context) (openCLAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	c, err := o.program()
	if err != nil {
		return openCLAnswer{}, err
	}
	defer c.read.Close()
	p, err := o.reaper.start(c.path, c.args, c.env, c.files...)
	c.close()
	if err != nil {
		return openCLAnswer{}, err
	}
	defer p.signal(unix.SIGKILL, true)
	stop := context.AfterFunc(ctx, func() { _ = c.read.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(c.read, mostOpenCLAnswer)).ReadBytes('\n')
	if err == nil {
		var answer openCLAnswer
		if err := json.Unmarshal(line, &answer); err != nil {
			return openCLAnswer{}, fmt.Errorf("the proof's answer cannot be read: %w", err)
		}
		return answer, nil
	}
	if len(line) == mostOpenCLAnswer {
		return openCLAnswer{}, fmt.Errorf("the proof's answer is longer than %d bytes", mostOpenCLAnswer)
	}
	if errors.Is(err, io.EOF) {
		select {
		case <-p.done:
			return openCLAnswer{}, fmt.Errorf("the proof ended without an answer (%s): the driver may have crashed", p.ending())
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		return openCLAnswer{}, fmt.Errorf("read the proof's answer: %w", err)
	}
	return openCLAnswer{}, fmt.Errorf("the proof gave no answer within %s: the driver may hang", o.patience)
}

// proof is the program that proves OpenCL. It takes the plug-ins of the image alone, not the artist's: theirs may do anything.
func (s *session) proof() (command, error) {
	c, err := s.telling("/usr/bin/python3", "-I", s.paths.proof)
	c.env = append(s.opencl.environment(c.env, true), "GEGL_SWAP=RAM", "XDG_DATA_HOME="+filepath.Join(s.paths.runtime, "proof"))
	return c, err
}

// printable is text as it may stand in a report.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > mostOpenCLText {
		text = strings.ToValidUTF8(text[:mostOpenCLText], "")
	}
	return strings.TrimSpace(text)
}
