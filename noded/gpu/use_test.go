package gpu_test

import (
	"testing"

	"easel/noded/gpu"
)

// TestNamesOfProcessesAreFitToRead: a container's program names itself as it likes, and the name goes to terminals and into messages.
func TestNamesOfProcessesAreFitToRead(t *testing.T) {
	for name, want := range map[string]string{"gimp-3.0": "gimp-3.0", "a\x1b[2J\nb": "a?[2J?b", "\xff\xfe": "?", "Grüße": "Grüße"} {
		if got := gpu.Printable(name); got != want {
			t.Errorf("%q is told as %q, want %q", name, got, want)
		}
	}
}
