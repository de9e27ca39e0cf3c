// Package gpu says what graphics cards a host has, how they are divided, and how they fare. NVIDIA's library is injected
// (nvml.Interface): a host without it has an Inventory without cards, which says why.
package gpu

import (
	"regexp"
	"strings"
	"time"
)

// Classes that a session can ask for. A MIG profile's name, such as "1g.10gb", is a class as well.
const (
	None   = "none"   // no card
	Shared = "shared" // one of several time slices of a card
	Whole  = "whole"  // a card of its own
)

var profilePattern = regexp.MustCompile(`^[1-9]g\.[1-9][0-9]{0,3}gb([+-][a-z0-9.]{1,16}){0,3}$`)

// ValidClass tells whether class is one of the above or has the form of a MIG profile's name.
func ValidClass(class string) bool {
	return class == None || class == Shared || class == Whole || profilePattern.MatchString(class)
}

// Inventory is what was found at one moment.
type Inventory struct {
	Driver string `json:"driver,omitempty"` // version
	CUDA   string `json:"cuda,omitempty"`   // version, "12.8"
	NVML   string `json:"nvml,omitempty"`   // version of the library
	Absent string `json:"absent,omitempty"` // why there are no cards to ask: no library, no driver; "" when there are
	Broken bool   `json:"broken,omitempty"` // Absent is a fault: the library is there, and does not work
	Cards  []Card `json:"cards"`
}

// Card is one card. One that cannot be asked is here with a fault, and with what was known of it.
type Card struct {
	UUID      string     `json:"uuid"` // "GPU-…"
	Index     int        `json:"index"`
	Minor     int        `json:"minor"` // of /dev/nvidiaN
	Model     string     `json:"model"`
	Memory    uint64     `json:"memory"` // bytes
	PCI       string     `json:"pci"`    // "00000000:65:00.0"
	NUMA      int        `json:"numa"`   // node, -1 when unknown
	CPUs      string     `json:"cpus"`   // near it, as a list: "0-15,32-47"; "" when unknown
	MIG       MIG        `json:"mig"`
	Instances []Instance `json:"instances,omitempty"` // MIG devices as they are now
	Engines   Engines    `json:"engines"`
	Faults    []Fault    `json:"faults,omitempty"` // none: it is healthy
}

// MIG is a card's mode. Enabled and Pending differ until the card is reset.
type MIG struct {
	Capable bool `json:"capable"`
	Enabled bool `json:"enabled"`
	Pending bool `json:"pending"`
}

// Instance is a MIG device: a GPU instance with the compute instance in it.
type Instance struct {
	UUID    string `json:"uuid"` // "MIG-…"
	Profile string `json:"profile"`
	GI      int    `json:"gi"`
	CI      int    `json:"ci"`
	Start   int    `json:"start"`  // first memory slice
	Size    int    `json:"size"`   // memory slices
	Memory  uint64 `json:"memory"` // bytes
	// Encoders are the NVENC engines that its profile brings with it.
	Encoders int `json:"encoders"`
}

// Engines are the fixed-function units for video. Codecs are "h264", "hevc", "av1".
type Engines struct {
	Encode   []string `json:"encode"`   // what NVENC can make; none on cards without the engine (A100, H100, H200)
	Decode   []string `json:"decode"`   // what NVDEC can read
	Sessions int      `json:"sessions"` // streams that NVENC may encode at once, 0 for no limit known
}

// Fault is one reason not to trust a card.
type Fault struct {
	Code string    `json:"code"` // "lost", "xid", "ecc", "thermal", "asking"
	Text string    `json:"text"` // for a person: what, and what to try
	At   time.Time `json:"at"`
}

// Slice is what a session can hold: a card, a time slice of it, or a MIG device.
type Slice struct {
	ID      string `json:"id"`     // "GPU-…", "GPU-…#3" (the third time slice) or "MIG-…"
	Class   string `json:"class"`  // Whole, Shared or a MIG profile's name
	Card    string `json:"card"`   // UUID
	Memory  uint64 `json:"memory"` // bytes that the session may use
	NUMA    int    `json:"numa"`
	CPUs    string `json:"cpus,omitempty"`
	Encoder bool   `json:"encoder"` // its card's NVENC can be used from it
	OpenCL  bool   `json:"opencl"`
	Unfit   string `json:"unfit,omitempty"` // why it is not handed out, "" when it can be
}

// Device is the UUID by which the driver knows what the slice lies on: its card, or its MIG device.
func (s Slice) Device() string {
	device, _, _ := strings.Cut(s.ID, "#")
	return device
}
