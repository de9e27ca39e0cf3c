package contract

import (
	"fmt"
	"path/filepath"
	"regexp"
)

// Kinds of encoder.
const (
	X264  = "x264"  // on the CPU
	NVENC = "nvenc" // on an NVIDIA card
)

// Encoder says what makes a session's picture. The zero value is x264.
type Encoder struct {
	Kind string `json:"kind"`
	// Device is NVENC's card ("GPU-…") or MIG device ("MIG-…"), by UUID.
	Device string `json:"device,omitempty"`
	// Libraries is the folder of the driver's libcuda.so.1 and libnvidia-encode.so.1; "" leaves it to the loader.
	Libraries string `json:"libraries,omitempty"`
}

// devicePattern is a card or MIG device as NVML and CUDA write it, the older "MIG-GPU-…/gi/ci" included.
var devicePattern = regexp.MustCompile(`^(GPU|MIG)-[0-9A-Za-z/-]{1,80}$`)

// Validate says what is wrong with the choice.
func (e Encoder) Validate() error {
	switch {
	case e.Kind == "" && e != Encoder{}:
		return fmt.Errorf("kind is missing, want %q or %q", X264, NVENC)
	case e.Kind != "" && e.Kind != X264 && e.Kind != NVENC:
		return fmt.Errorf("kind %.20q is not known, want %q or %q", e.Kind, X264, NVENC)
	case e.Kind != NVENC && (e.Device != "" || e.Libraries != ""):
		return fmt.Errorf("device and libraries are %s's, not %s's", NVENC, X264)
	case e.Kind == NVENC && !devicePattern.MatchString(e.Device):
		return fmt.Errorf("device %.60q is no card or MIG device; `nvidia-smi -L` lists their UUIDs", e.Device)
	case e.Libraries != "" && !filepath.IsAbs(e.Libraries):
		return fmt.Errorf("libraries %q is not an absolute path", e.Libraries)
	}
	return nil
}
