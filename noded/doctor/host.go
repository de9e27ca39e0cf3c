package doctor

import (
	"context"

	"easel/noded/gpu"
)

// Host is what the checks ask of a machine. Tests put a machine of their own making here.
type Host interface {
	// ReadFile reads a file of /proc or /sys.
	ReadFile(path string) ([]byte, error)
	// LookPath finds a program.
	LookPath(name string) (string, error)
	// Kernel is uname's release.
	Kernel() (string, error)
	// TryOverlay, TryUserNamespace, TryIDMappedMount and TryLoop do the thing once, below dir where it needs one, and leave nothing.
	TryOverlay(ctx context.Context, dir string) error
	TryUserNamespace(ctx context.Context) error
	TryIDMappedMount(ctx context.Context, dir string) error
	TryLoop(ctx context.Context) error
	// Containerd asks the daemon at a socket for its version.
	Containerd(ctx context.Context, address string) (version string, err error)
	// Listen tries to listen on a TCP or UDP address, and stops at once.
	Listen(network, address string) error
	// NodedAnswers says whether a running noded accepts connections on its admin socket.
	NodedAnswers(socket string) bool
	// DiskFree is the space below the nearest existing parent of path, in bytes.
	DiskFree(path string) (uint64, error)
	// GPUs is what NVIDIA's library at a path knows; "" is where the loader finds it.
	GPUs(library string) gpu.Inventory
	// StreamerProbe runs `streamer probe` and returns what it printed; with arguments as a user without rights, as sessions' streamers are.
	StreamerProbe(ctx context.Context, path string, args ...string) ([]byte, error)
	// ClockSynchronised says whether the kernel's clock is kept in step with the world's.
	ClockSynchronised() (bool, error)
}
