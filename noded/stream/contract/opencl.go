package contract

// What is known of GIMP's OpenCL. A session whose slice has none is off without a proof.
const (
	OpenCLOff     = "off"
	OpenCLProving = "proving"
	OpenCLOn      = "on"
	OpenCLFailed  = "failed" // it should be on, and is off
)

// MaxOpenCL bounds each of OpenCL's texts, in bytes.
const MaxOpenCL = 256

// OpenCL says whether GIMP computes by OpenCL, which easel-init proves before GIMP starts. The zero value is that of a container
// which does not tell.
type OpenCL struct {
	State  string `json:"state"`
	Device string `json:"device,omitempty"` // as the driver names it
	Why    string `json:"why,omitempty"`    // of OpenCLFailed, for a person
}

// Valid tells whether the state is one of the above, or unknown, and the texts are within bounds.
func (o OpenCL) Valid() bool {
	switch o.State {
	case "", OpenCLOff, OpenCLProving, OpenCLOn, OpenCLFailed:
		return len(o.Device) <= MaxOpenCL && len(o.Why) <= MaxOpenCL
	}
	return false
}

// String is one short text: "on", "off", "off: WHY" where it should be on, "proving", "" when it is not known.
func (o OpenCL) String() string {
	if o.State != OpenCLFailed {
		return o.State
	}
	return OpenCLOff + ": " + o.Why
}
