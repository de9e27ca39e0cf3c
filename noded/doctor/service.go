package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

func checkContainerd(ctx context.Context, h Host, o Options) Result {
	version, err := h.Containerd(ctx, o.Containerd)
	if err != nil {
		return Result{
			Status: Fail, Found: fmt.Sprintf("containerd at %s does not answer: %v", o.Containerd, err),
			Means: "no session can start; those that run go on",
			Mend:  "systemctl start easel-containerd; its log: journalctl -u easel-containerd",
		}
	}
	var major int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.", &major); err != nil || major < 2 {
		return Result{
			Status: Fail, Found: fmt.Sprintf("containerd %s at %s", version, o.Containerd),
			Means: "before 2.0 it has no idmapped mounts: each session would first copy a gigabyte",
			Mend:  "use the containerd that comes with easel-node: containerd.address in noded.yaml",
		}
	}
	return ok("containerd %s at %s", version, o.Containerd)
}

func checkPorts(_ context.Context, h Host, o Options) Result {
	type endpoint struct{ network, address string }
	var want []endpoint
	for _, a := range o.Listen {
		want = append(want, endpoint{"tcp", a})
	}
	for _, a := range o.Relay {
		want = append(want, endpoint{"tcp", a}, endpoint{"udp", a})
	}
	if o.Gossip != "" {
		want = append(want, endpoint{"tcp", o.Gossip}, endpoint{"udp", o.Gossip})
	}
	var names, taken []string
	for _, e := range want {
		names = append(names, e.network+" "+e.address)
		if err := h.Listen(e.network, e.address); err != nil {
			taken = append(taken, fmt.Sprintf("%s %s (%v)", e.network, e.address, err))
		}
	}
	switch {
	case len(taken) == 0:
		return ok("free: %s", strings.Join(names, ", "))
	case h.NodedAnswers(o.AdminSocket):
		return ok("held by the noded that runs: %s", strings.Join(names, ", "))
	}
	return Result{
		Status: Fail, Found: "cannot listen on " + strings.Join(taken, ", "),
		Means: "noded cannot start",
		Mend:  "end what listens there (ss -tulpn shows it), or change listen, api.listen, relay.listen and cluster.bind in noded.yaml",
	}
}

func checkMediaPorts(_ context.Context, h Host, o Options) Result {
	total, taken := 0, 0
	var last error
	for _, address := range o.MediaAddresses {
		for port := o.MediaPorts[0]; port > 0 && port <= o.MediaPorts[1]; port++ {
			total++
			err := h.Listen("udp", net.JoinHostPort(address, strconv.Itoa(port)))
			if errors.Is(err, syscall.EADDRNOTAVAIL) {
				return Result{
					Status: Fail, Found: fmt.Sprintf("%s is not an address of this host", address),
					Means: "streams have nothing to send from, so every session falls back to VNC",
					Mend:  "set media.addresses in noded.yaml to addresses that `ip address` shows",
				}
			}
			if err != nil {
				taken++
				last = err
			}
		}
	}
	switch {
	case total == 0:
		return Result{Status: Fail, Found: "no media address or port is configured", Means: "no stream can be sent", Mend: "set media.addresses and media.ports in noded.yaml"}
	case taken == total:
		return Result{Status: Fail, Found: fmt.Sprintf("all %d UDP ports are taken (%v)", total, last), Means: "no further stream can be sent", Mend: "widen media.ports in noded.yaml, or end what holds them (ss -ulpn shows it)"}
	case taken*2 > total:
		return Result{Status: Warn, Found: fmt.Sprintf("%d of %d UDP ports are taken", taken, total), Means: "streams hold one each; few more fit", Mend: "widen media.ports in noded.yaml"}
	}
	return ok("%d of %d UDP ports are free", total-taken, total)
}

const (
	leastDisk  = 2 << 30
	enoughDisk = 10 << 30
)

func checkDisk(_ context.Context, h Host, o Options) Result {
	free, err := h.DiskFree(o.StateDir)
	switch {
	case err != nil:
		return Result{Status: Fail, Found: fmt.Sprintf("the space below %s could not be read: %v", o.StateDir, err), Means: "homes and databases have no place", Mend: "make that directory, or change state_dir in noded.yaml"}
	case free < leastDisk:
		return Result{Status: Fail, Found: fmt.Sprintf("%s free below %s", size(free), o.StateDir), Means: "the image takes 1.1 GiB, and a full disk loses drawings", Mend: "free some, or move state_dir to a larger disk"}
	case free < enoughDisk:
		return Result{Status: Warn, Found: fmt.Sprintf("%s free below %s", size(free), o.StateDir), Means: "home volumes grow up to sessions.home_size each", Mend: "free some, or move state_dir to a larger disk"}
	}
	return ok("%s free below %s", size(free), o.StateDir)
}

func checkMemory(_ context.Context, h Host, o Options) Result {
	available, err := memAvailable(h)
	switch {
	case err != nil:
		return Result{Status: Warn, Found: "free memory could not be read: " + err.Error(), Means: "admission relies on it", Mend: "run noded on the host itself, with /proc mounted"}
	case available < uint64(o.SessionMemory):
		return Result{Status: Fail, Found: size(available) + " available", Means: fmt.Sprintf("not one session with its limit of %s fits", size(uint64(o.SessionMemory))), Mend: "free some, or lower sessions.memory in noded.yaml"}
	case available < 4*uint64(o.SessionMemory):
		return Result{Status: Warn, Found: size(available) + " available", Means: fmt.Sprintf("only %d sessions at their limit of %s fit", available/uint64(o.SessionMemory), size(uint64(o.SessionMemory))), Mend: "that is fine for a few; else add memory"}
	}
	return ok("%s available", size(available))
}

// memAvailable reads MemAvailable, in bytes; /proc/meminfo counts in kB (proc_meminfo(5)).
func memAvailable(h Host) (uint64, error) {
	text, err := h.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, "MemAvailable:")
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 54)
		if err != nil {
			return 0, fmt.Errorf("read MemAvailable: %w", err)
		}
		return kilobytes << 10, nil
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}

func checkGPU(_ context.Context, h Host, o Options) Result {
	inv := h.GPUs(o.GPULibrary)
	switch {
	case inv.Broken:
		return Result{
			Status: Warn, Found: inv.Absent, Means: "the node works as a CPU node, which encodes in software",
			Mend: "see what nvidia-smi says; driver and library must be of one version",
		}
	case inv.Absent != "":
		return ok("a CPU node, which encodes in software: %s", inv.Absent)
	}
	found, faults := []string{}, []string{}
	for _, c := range inv.Cards {
		encodes := "encodes " + strings.Join(c.Engines.Encode, ", ")
		if len(c.Engines.Encode) == 0 {
			encodes = "has no encoder, so its sessions' pictures are encoded in software"
		}
		found = append(found, fmt.Sprintf("%s, %s, %s", c.Model, size(c.Memory), encodes))
		if why, well := c.Well(); !well {
			faults = append(faults, fmt.Sprintf("card %d (%s): %s", c.Index, c.PCI, why))
		}
	}
	text := fmt.Sprintf("%s; driver %s", strings.Join(found, "; "), inv.Driver)
	if len(faults) > 0 {
		return Result{Status: Warn, Found: text, Means: "no session is given a card that is faulty", Mend: strings.Join(faults, "; ")}
	}
	return ok("%s", text)
}

func checkClock(_ context.Context, h Host, _ Options) Result {
	synchronised, err := h.ClockSynchronised()
	switch {
	case err != nil:
		return Result{Status: Warn, Found: "the clock's state could not be read: " + err.Error(), Means: "tokens are good for a minute, so clocks of nodes and coordinators must agree"}
	case !synchronised:
		return Result{Status: Warn, Found: "nothing keeps this host's clock in step", Means: "tokens are good for a minute: when the clock drifts from the coordinator's, artists are refused", Mend: "apt-get install systemd-timesyncd (or chrony); timedatectl shows its state"}
	}
	return ok("kept in step")
}

// size is a number of bytes as a person reads it.
func size(n uint64) string {
	switch {
	case n >= 1<<40:
		return fmt.Sprintf("%.1f TiB", float64(n)/(1<<40))
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
}
