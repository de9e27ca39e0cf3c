package main

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// machine answers what admission asks of this host.
type machine struct {
	stateDir string
	media    []string
}

// bootID names this boot of the host.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("learn which boot of the host this is: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// MemAvailable is what the kernel thinks new work could take without swapping, in bytes.
func (machine) MemAvailable() (int64, error) { return memInfo("MemAvailable") }

// memInfo is one of the kernel's accounts of memory, in bytes.
func memInfo(name string) (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read the host's memory: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name+":")
		if !ok {
			continue
		}
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return 0, fmt.Errorf("read the host's memory: %q: %w", rest, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("read the host's memory: /proc/meminfo has no %s", name)
}

// DiskFree is what root may still write below the state directory, in bytes.
func (m machine) DiskFree() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(m.stateDir, &st); err != nil {
		return 0, fmt.Errorf("read the free space of %s: %w", m.stateDir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// PortFree tries the port on each of the media addresses.
func (m machine) PortFree(port uint16) bool {
	for _, a := range m.media {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return false
		}
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if err != nil {
			return false
		}
		_ = conn.Close() // it held nothing
	}
	return true
}
