package nvmltest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DriverRoot makes a tree that looks as a host with the driver does to nvcdi (gpu.driver_root), and gives its path: device nodes,
// libraries and the minors of MIG's capabilities. The nodes are /dev/null under other names, so making it needs root. nvcdi reads the
// minors of the host's own /proc: a test of MIG devices mounts DriverRoot/proc/driver over /proc/driver in a mount namespace.
func (m *Machine) DriverRoot() string {
	m.t.Helper()
	root := filepath.Join(m.Dir, "root")
	if _, err := os.Stat(root); err == nil {
		return root
	}
	for _, name := range []string{"libcuda", "libnvidia-ml", "libnvidia-opencl", "libnvidia-ptxjitcompiler", "libnvidia-nvvm", "libnvidia-encode", "libnvcuvid"} {
		m.write(filepath.Join("root/usr/lib/x86_64-linux-gnu", name+".so."+Driver), "not a library\n")
	}
	m.write("root/proc/driver/nvidia-caps/mig-minors", migMinors(m.cards))
	nodes := []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"}
	for i := range m.cards {
		nodes = append(nodes, fmt.Sprintf("nvidia%d", i))
	}
	for i := range 3 + m.cards*minorsPerCard {
		nodes = append(nodes, fmt.Sprintf("nvidia-caps/nvidia-cap%d", i))
	}
	for _, name := range nodes {
		path := filepath.Join(root, "dev", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			m.t.Fatalf("make the device %s, which needs root: %v", path, err)
		}
		if err := os.Chmod(path, 0o666); err != nil { // the umask took some
			m.t.Fatal(err)
		}
	}
	return root
}

// The driver numbers the capabilities of 15 GPU instances of 8 compute instances a card.
const (
	minorsGI      = 15
	minorsCI      = 8
	minorsPerCard = minorsGI * (1 + minorsCI)
)

func migMinors(cards int) string {
	var text strings.Builder
	text.WriteString("config 1\nmonitor 2\n")
	minor := 3
	for c := range cards {
		for gi := range minorsGI {
			fmt.Fprintf(&text, "gpu%d/gi%d/access %d\n", c, gi, minor)
			minor++
			for ci := range minorsCI {
				fmt.Fprintf(&text, "gpu%d/gi%d/ci%d/access %d\n", c, gi, ci, minor)
				minor++
			}
		}
	}
	return text.String()
}
