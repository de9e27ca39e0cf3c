// Package cdi writes the specification by which a slice of a card enters a session's container: one file a session, in the form of the
// Container Device Interface, from what NVIDIA's own library finds. Of that it takes what a session needs to compute, and no more: its
// container is hostile.
package cdi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/nvidia-container-toolkit/pkg/nvcdi"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"easel/noded/gpu"
)

// kind is the kind of all devices that are made here; a session's device is named for it.
const kind = "easel.local/gpu"

// Endings of the directory's files: of a specification, and of one that is being written.
const (
	suffix = ".json"
	half   = ".new"
)

// Made names the sessions that have a specification, whole or half written.
func (m *Maker) Made() ([]string, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, fmt.Errorf("list the GPU specifications: %w", err)
	}
	var sessions []string
	for _, e := range entries {
		session := strings.TrimSuffix(strings.TrimSuffix(e.Name(), suffix), half)
		if !slices.Contains(sessions, session) {
			sessions = append(sessions, session)
		}
	}
	return sessions, nil
}

// Cards are the host's cards.
type Cards interface {
	// Ask has a question put to a card or a MIG device, by its UUID, and gives up on one that does not answer; the question may go on then.
	Ask(ctx context.Context, device string, question func(nvml.Device) error) error
	NVML() nvml.Interface
}

// Maker makes and removes specifications.
type Maker struct {
	dir, root string
	cards     Cards
	log       *slog.Logger
	patience  time.Duration
}

// patience is how long the driver may take to say what there is of a device: it may have to wake the card.
const patience = 20 * time.Second

// New gives a maker that keeps its files in dir, for root alone, and finds the driver's below root ("/" on most hosts).
func New(dir, root string, cards Cards, log *slog.Logger) (*Maker, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the GPU specifications: %w", err)
	}
	return &Maker{dir: dir, root: root, cards: cards, log: log, patience: patience}, nil
}

// Dir is where the specifications lie.
func (m *Maker) Dir() string { return m.dir }

// Make writes the specification of a session's slice, and names its devices. What was there before it replaces.
func (m *Maker) Make(ctx context.Context, session string, s gpu.Slice) (devices []string, err error) {
	found, err := m.ask(ctx, s.Device())
	if err != nil {
		return nil, fmt.Errorf("ask for the devices of %s: %w", s.ID, err)
	}
	edits, err := m.pick(found)
	if err != nil {
		return nil, fmt.Errorf("devices of %s: %w", s.ID, err)
	}
	spec := specs.Spec{Version: "0.6.0", Kind: kind, Devices: []specs.Device{{Name: session, ContainerEdits: edits}}}
	text, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode the GPU specification of session %s: %w", session, err)
	}
	if err := m.write(session, text); err != nil {
		return nil, fmt.Errorf("write the GPU specification of session %s: %w", session, err)
	}
	return []string{kind + "=" + session}, nil
}

// write puts the file there whole: its reader never meets half of it.
func (m *Maker) write(session string, text []byte) error {
	part := m.path(session, half)
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, m.path(session, suffix))
}

func (m *Maker) path(session, ending string) string { return filepath.Join(m.dir, session+ending) }

// Remove takes a session's specification away; absent is success.
func (m *Maker) Remove(session string) error {
	for _, ending := range []string{half, suffix} {
		if err := os.Remove(m.path(session, ending)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the GPU specification of session %s: %w", session, err)
		}
	}
	return nil
}

// ask has NVIDIA's library say all that there is of a device, which it asks the driver.
func (m *Maker) ask(ctx context.Context, device string) (*specs.ContainerEdits, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// A question that has been put gets the time that it takes: one that is cut short says that the card does not answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.patience)
	defer cancel()
	found := make(chan *specs.ContainerEdits, 1)
	err := m.cards.Ask(ctx, device, func(nvml.Device) error {
		edits, err := m.find(device)
		found <- edits
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-found, nil
}

// find is what NVIDIA's library would give a container: the device's own nodes, then the driver's nodes and files. Its hooks are left out:
// they are programs that would run beside a hostile container, and the links that they make are made as mounts (pick).
func (m *Maker) find(device string) (*specs.ContainerEdits, error) {
	lib, err := nvcdi.New(
		nvcdi.WithMode(nvcdi.ModeNvml), nvcdi.WithNvmlLib(m.cards.NVML()), nvcdi.WithDriverRoot(m.root), nvcdi.WithDisabledHooks(nvcdi.AllHooks),
		nvcdi.WithFeatureFlags(nvcdi.FeatureDisableNvsandboxUtils, nvcdi.FeatureDisableIPCDiscoverer, nvcdi.FeatureNoAdditionalGIDsForDeviceNodes),
		nvcdi.WithLogger(logger{m.log}),
	)
	if err != nil {
		return nil, err
	}
	own, err := lib.GetDeviceSpecsByID(device)
	if err != nil {
		return nil, err
	}
	if len(own) != 1 {
		return nil, fmt.Errorf("it names %d devices, want one", len(own))
	}
	common, err := lib.GetCommonEdits()
	if err != nil {
		return nil, err
	}
	all := own[0].ContainerEdits
	if common != nil && common.ContainerEdits != nil {
		all.DeviceNodes = append(all.DeviceNodes, common.DeviceNodes...)
		all.Mounts = append(all.Mounts, common.Mounts...)
	}
	return &all, nil
}

// logger is NVIDIA's library's view of a slog.Logger. What it warns of are files that a driver need not have.
type logger struct{ *slog.Logger }

func (l logger) say(format string, args []any) {
	l.Debug("NVIDIA's CDI library: " + fmt.Sprintf(format, args...))
}

func (l logger) Debugf(format string, args ...any)   { l.say(format, args) }
func (l logger) Errorf(format string, args ...any)   { l.say(format, args) }
func (l logger) Infof(format string, args ...any)    { l.say(format, args) }
func (l logger) Tracef(string, ...any)               {}
func (l logger) Warningf(format string, args ...any) { l.say(format, args) }
