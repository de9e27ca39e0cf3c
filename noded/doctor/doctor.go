// Package doctor examines a host: whether it can carry sessions, what is missing, what that means and how to mend it. It
// tries what a session will need (a user namespace, an idmapped mount, an encoded picture) rather than reading versions
// and hoping.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Status is a check's outcome.
type Status string

const (
	// OK means that sessions have what they need.
	OK Status = "ok"
	// Warn means that sessions run, but worse than they could, or that they soon may not.
	Warn Status = "warn"
	// Fail means that no session can run.
	Fail Status = "fail"
)

// Result is what one check found.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found is what was seen, Means what that means for sessions, Mend what to do; the last two are empty when all is well.
	Found string `json:"found"`
	Means string `json:"means,omitempty"`
	Mend  string `json:"mend,omitempty"`
}

// Options say what the host is to carry.
type Options struct {
	// Containerd is the address of containerd's socket; Streamer the path of the streamer binary.
	Containerd, Streamer string
	// Listen are TCP addresses that noded listens on, Gossip the address of its gossip (TCP and UDP).
	Listen []string
	Gossip string
	// Relay are addresses of its relay, by TCP and UDP.
	Relay []string
	// MediaAddresses and MediaPorts are where streams send from: first and last UDP port.
	MediaAddresses []string
	MediaPorts     [2]int
	// StateDir holds homes and databases; AdminSocket is noded's own, which answers when it runs.
	StateDir, AdminSocket string
	// GPULibrary is the path of NVIDIA's library, "" for where the loader finds it.
	GPULibrary string
	// SessionMemory is the limit of one session, in bytes.
	SessionMemory int64
	// Daemon asks the noded that runs what is not as it should be; nil when none can be asked.
	Daemon func(ctx context.Context) (notes []string, err error)
	// JSON chooses the output.
	JSON bool
	// Host is the machine; nil for this one.
	Host Host
}

// checkDeadline bounds one check.
const checkDeadline = 20 * time.Second

// check is one examination. It returns no error: not being able to look is a finding too.
type check struct {
	name string
	run  func(ctx context.Context, h Host, o Options) Result
}

// checks run in this order: what the rest stands on comes first.
var checks = []check{
	{"kernel", checkKernel},
	{"overlayfs", checkOverlay},
	{"user namespaces", checkUserNamespaces},
	{"idmapped mounts", checkIDMappedMounts},
	{"seccomp", checkSeccomp},
	{"cgroups", checkCgroups},
	{"loop devices", checkLoop},
	{"home volumes", checkHomes},
	{"shared memory", checkSharedMemory},
	{"containerd", checkContainerd},
	{"ports", checkPorts},
	{"media ports", checkMediaPorts},
	{"disk", checkDisk},
	{"memory", checkMemory},
	{"gpu", checkGPU},
	{"codecs", checkCodecs},
	{"clock", checkClock},
	{"daemon", checkDaemon},
}

// Run makes every check and writes the findings to w. ok is false when one of them is Fail.
func Run(ctx context.Context, o Options, w io.Writer) (ok bool, err error) {
	results := Examine(ctx, o)
	ok = true
	for _, r := range results {
		ok = ok && r.Status != Fail
	}
	if o.JSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		err = enc.Encode(struct {
			OK     bool     `json:"ok"`
			Checks []Result `json:"checks"`
		}{ok, results})
	} else {
		err = writeText(w, results)
	}
	if err != nil {
		return ok, fmt.Errorf("write the findings: %w", err)
	}
	return ok, nil
}

// Examine makes every check.
func Examine(ctx context.Context, o Options) []Result {
	if o.Host == nil {
		o.Host = machine{}
	}
	results := make([]Result, 0, len(checks))
	for _, c := range checks {
		results = append(results, examineOne(ctx, c, o))
	}
	return results
}

func examineOne(ctx context.Context, c check, o Options) Result {
	ctx, cancel := context.WithTimeout(ctx, checkDeadline)
	defer cancel()
	r := c.run(ctx, o.Host, o)
	r.Name = c.name
	return r
}

func writeText(w io.Writer, results []Result) error {
	var b strings.Builder
	count := map[Status]int{}
	for _, r := range results {
		count[r.Status]++
		fmt.Fprintf(&b, "%-4s  %-16s %s\n", r.Status, r.Name, r.Found)
		if r.Means != "" {
			fmt.Fprintf(&b, "%-22s means: %s\n", "", r.Means)
		}
		if r.Mend != "" {
			fmt.Fprintf(&b, "%-22s mend:  %s\n", "", r.Mend)
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d warnings, %d failures\n", count[OK], count[Warn], count[Fail])
	_, err := io.WriteString(w, b.String())
	return err
}

func ok(format string, args ...any) Result {
	return Result{Status: OK, Found: fmt.Sprintf(format, args...)}
}
