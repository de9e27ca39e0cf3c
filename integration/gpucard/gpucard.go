// Package gpucard tries a real NVIDIA card: it reads the inventory, computes inside the devices that a session would have, checks what came
// out, and says what the card encodes. It changes no setting of the card.
package gpucard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tags.cncf.io/container-device-interface/pkg/cdi"

	"easel/noded/gpu"
	devices "easel/noded/gpu/cdi"
	"easel/noded/gpu/partition"
	"easel/pkg/codec"
)

// Options say where the driver is.
type Options struct {
	Library    string // libnvidia-ml.so.1; "" where the loader finds it
	DriverRoot string
	Compute    string // the program that computes
	Log        *slog.Logger
}

// ErrNoCard says that there was nothing to test.
var ErrNoCard = errors.New("no NVIDIA card is at hand: nothing was tested")

// ErrFailed says that something is not as it should be; the report says what.
var ErrFailed = errors.New("the test failed")

const (
	cdiPatience     = 30 * time.Second
	computePatience = 2 * time.Minute // the driver compiles the program first
	encodePatience  = time.Minute
	freePatience    = 20 * time.Second
)

// Test tries every card and writes a report.
func Test(ctx context.Context, o Options, report io.Writer) error {
	host := gpu.Open(gpu.Library(o.Library), o.Log, time.Now)
	defer host.Close()
	inv := host.Inventory()
	if len(inv.Cards) == 0 {
		return fmt.Errorf("%w: %s", ErrNoCard, inv.Absent)
	}
	fmt.Fprintf(report, "== inventory ==\n")
	if err := host.Status(nil, nil).Write(report); err != nil {
		return err
	}
	t := &trial{Options: o, host: host, report: report}
	for _, c := range inv.Cards {
		t.card(ctx, c)
	}
	if t.failures > 0 {
		fmt.Fprintf(report, "\nFAILED: %d of %d checks\n", t.failures, t.checks)
		return ErrFailed
	}
	fmt.Fprintf(report, "\npassed: %d checks\n", t.checks)
	return nil
}

// trial is one run of the test.
type trial struct {
	Options
	host             *gpu.Host
	report           io.Writer
	checks, failures int
}

// verdict writes down how a check went.
func (t *trial) verdict(what string, err error, found string) {
	t.checks++
	if err != nil {
		t.failures++
		fmt.Fprintf(t.report, "FAIL  %s: %v\n", what, err)
		return
	}
	fmt.Fprintf(t.report, "ok    %s: %s\n", what, found)
}

func (t *trial) card(ctx context.Context, c gpu.Card) {
	fmt.Fprintf(t.report, "\n== card %d, %s ==\n", c.Index, c.Model)
	why, well := c.Well()
	if !well {
		t.verdict("health", errors.New(why), "")
		return
	}
	t.verdict("health", nil, "no fault")
	slices := partition.Slices(partition.Layout{}, gpu.Inventory{Cards: []gpu.Card{c}})
	if len(slices) == 0 {
		fmt.Fprintln(t.report, "note  its MIG mode is on and it has no MIG device: there is nothing to compute on")
	}
	for _, s := range slices {
		found, err := t.compute(ctx, s)
		t.verdict(fmt.Sprintf("compute as a session on %s (%s)", s.ID, s.Class), err, found)
		t.verdict("memory given back", t.free(ctx, s), "no process of the test is on it")
	}
	found, err := t.encode(ctx, c)
	t.verdict("encode", err, found)
}

// computed is what the program prints.
type computed struct {
	Device  string  `json:"device"`
	Memory  uint64  `json:"memory"`
	Numbers int     `json:"numbers"`
	Rounds  int     `json:"rounds"`
	MS      float64 `json:"ms"`
}

// compute runs the program inside the devices that noded would give a session with this slice.
func (t *trial) compute(ctx context.Context, s gpu.Slice) (string, error) {
	dir, err := os.MkdirTemp("", "easel-gpu-cdi-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	maker, err := devices.New(dir, t.DriverRoot, t.host, t.Log)
	if err != nil {
		return "", err
	}
	asking, cancel := context.WithTimeout(ctx, cdiPatience)
	names, err := maker.Make(asking, "s0000000000000000", s)
	cancel()
	if err != nil {
		return "", fmt.Errorf("make the session's device specification: %w", err)
	}
	binds, env, err := insides(dir, names)
	if err != nil {
		return "", err
	}
	computing, cancel := context.WithTimeout(ctx, computePatience)
	defer cancel()
	out, err := runJailed(computing, t.Compute, binds, env)
	if err != nil {
		return "", fmt.Errorf("run the program inside %d files and devices of the driver: %w", len(binds), err)
	}
	var r computed
	if err := json.Unmarshal(out, &r); err != nil || r.Numbers == 0 {
		return "", fmt.Errorf("the program says %q", out)
	}
	return fmt.Sprintf("%s with %.1f GiB; %d numbers, %d rounds each, all right, in %.1f ms; %d files and devices of the driver brought in",
		r.Device, float64(r.Memory)/(1<<30), r.Numbers, r.Rounds, r.MS, len(binds)), nil
}

// insides is what a specification brings into a container.
func insides(dir string, names []string) (binds []bind, env []string, err error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dir), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, nil, fmt.Errorf("read the device specification: %w", err)
	}
	for _, name := range names {
		d := cache.GetDevice(name)
		if d == nil {
			return nil, nil, fmt.Errorf("device %s has no specification: %v", name, cache.GetErrors())
		}
		for _, n := range d.ContainerEdits.DeviceNodes {
			from := n.HostPath
			if from == "" {
				from = n.Path
			}
			binds = append(binds, bind{from, n.Path})
		}
		for _, m := range d.ContainerEdits.Mounts {
			binds = append(binds, bind{m.HostPath, m.ContainerPath})
		}
		env = append(env, d.ContainerEdits.Env...)
	}
	// A session's image has the loader look into the directories of libraries; the jail has no cache of them.
	var dirs []string
	for _, b := range binds {
		if d := filepath.Dir(b.To); strings.Contains(b.To, ".so") && !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return binds, append(env, "LD_LIBRARY_PATH="+strings.Join(dirs, ":")), nil
}

// free waits until no process of the test is on the device any more.
func (t *trial) free(ctx context.Context, s gpu.Slice) error {
	ctx, cancel := context.WithTimeout(ctx, freePatience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		uses, err := t.host.Uses(ctx, s.Device())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(uses, func(u gpu.Use) bool { return u.Name == "compute" })
		if i < 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d of the test is still on it after %s", uses[i].PID, freePatience)
		}
	}
}

// EncodeCommand is the argument by which the program asks NVENC about one device: a process has one.
const EncodeCommand = "encode"

// encode compares what the inventory says with what NVENC itself says.
func (t *trial) encode(ctx context.Context, c gpu.Card) (string, error) {
	if c.MIG.Enabled {
		return "not asked: its MIG mode is on; the inventory says " + list(c.Engines.Encode), nil
	}
	ctx, cancel := context.WithTimeout(ctx, encodePatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", EncodeCommand, c.UUID)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask NVENC: %w: %s", err, lastLine(problems.String()))
	}
	var e encodes
	if err := json.Unmarshal(out, &e); err != nil {
		return "", fmt.Errorf("ask NVENC: it says %q", out)
	}
	return compare(c.Engines.Encode, e)
}

// encodes is what NVENC says of a device.
type encodes struct {
	Codecs []string `json:"codecs"` // as in gpu.Engines
	Full   bool     `json:"full"`   // H.264 in 4:4:4
	Bytes  int      `json:"bytes"`  // of one keyframe of 1920×1080 that it made
	Why    string   `json:"why"`    // it does not encode
}

// compare says what a card encodes; an error says that the inventory is wrong about it.
func compare(inventory []string, e encodes) (string, error) {
	if !slices.Equal(slices.Sorted(slices.Values(inventory)), slices.Sorted(slices.Values(e.Codecs))) {
		return "", fmt.Errorf("the inventory says %s, NVENC itself %s (%s): noded/gpu/engines.go is wrong about this card", list(inventory), list(e.Codecs), e.Why)
	}
	if len(e.Codecs) == 0 {
		return "nothing, as the inventory says; NVENC itself: " + e.Why, nil
	}
	full := "no 4:4:4"
	if e.Full {
		full = "H.264 in 4:4:4 too"
	}
	return fmt.Sprintf("%s; %s; a keyframe of 1920×1080 is %d bytes", list(e.Codecs), full, e.Bytes), nil
}

func list(codecs []string) string {
	if len(codecs) == 0 {
		return "nothing"
	}
	return strings.Join(codecs, ", ")
}

// Encode asks NVENC about one device and prints what it says.
func Encode(device string, out io.Writer) error {
	e, err := ask(device)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(e)
}

func ask(device string) (e encodes, err error) {
	e.Codecs = []string{}
	n, err := codec.OpenNVENC(codec.NVENCOptions{Device: device})
	if err == nil {
		defer n.Close()
		var caps codec.NVENCCapabilities
		if caps, err = n.Capabilities(); err == nil {
			for _, c := range caps.Codecs {
				e.Codecs = append(e.Codecs, strings.ToLower(c))
			}
			e.Full = slices.Contains(caps.Chroma, codec.Chroma444)
			e.Bytes, err = picture(n)
			return e, err
		}
	}
	if errors.Is(err, codec.ErrNoEngine) || errors.Is(err, codec.ErrNoDriver) {
		e.Why = err.Error()
		return e, nil
	}
	return e, err
}

// picture has the device encode one picture, as a session's stream begins.
func picture(n *codec.NVENC) (bytes int, err error) {
	const w, h = 1920, 1080
	p, err := codec.NewPicture(w, h)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	enc, err := n.NewEncoder(w, h, codec.Colours{Chroma: codec.Chroma420}, codec.Rate{Quality: 23, Kbps: 20000, BufferMS: 60})
	if err != nil {
		return 0, err
	}
	defer enc.Close()
	pix := make([]byte, w*h*4)
	for i := range pix {
		pix[i] = byte(i ^ i>>11)
	}
	if _, err := p.Update(pix, w*4, []image.Rectangle{image.Rect(0, 0, w, h)}); err != nil {
		return 0, err
	}
	made, err := enc.Encode(p, codec.FrameOptions{Key: true})
	if err != nil {
		return 0, err
	}
	if !made.Key || made.Bytes == 0 {
		return 0, fmt.Errorf("the first frame, of %d bytes, is no keyframe", made.Bytes)
	}
	return made.Bytes, nil
}
