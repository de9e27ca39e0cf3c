package contract

import (
	"fmt"
	"io"
)

// States that easel-init reports of GIMP and of its services.
const (
	Starting   = "starting"
	Running    = "running"
	Restarting = "restarting"
	Backoff    = "backoff"
	Failed     = "failed"
)

// Paths that a picture takes to its viewer.
const (
	PathNone   = ""
	PathDirect = "direct"
	PathRelay  = "relay"
	PathVNC    = "vnc"
)

// GIMP is the state of the application. WindowMS is measured from PID 1's start.
type GIMP struct {
	State    string `json:"state"`
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
	WindowMS int64  `json:"window_ms"`
}

// Service is one process that easel-init supervises; PID is the container's.
type Service struct {
	State    string `json:"state"`
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
}

// Guests counts who watches by the owner's leave, by role.
type Guests struct {
	TakePart int `json:"take_part"`
	View     int `json:"view"`
}

// Count is all of them.
func (g Guests) Count() int { return g.TakePart + g.View }

// Health is what the streamer knows of its session. Seq grows with every change.
type Health struct {
	Seq     uint64 `json:"seq"`
	Ready   bool   `json:"ready"`
	Viewers int    `json:"viewers"`
	Guests  Guests `json:"guests"`         // among the viewers
	Hand    string `json:"hand,omitempty"` // the id of the guest who has it; "" for the owner
	Path    string `json:"path"`
	// TilesLost are those of the viewers who are shown the video alone, because exact tiles did not get to them.
	TilesLost int                `json:"tiles_lost,omitempty"`
	GIMP      GIMP               `json:"gimp"`
	XPID      int                `json:"x_pid"`
	Services  map[string]Service `json:"services"`
	OpenCL    OpenCL             `json:"opencl"`
	Degraded  []string           `json:"degraded"`
	Error     string             `json:"error"`
	// Latency is of the moment: a change of it makes no new health.
	Latency Latency `json:"latency,omitempty"`
	Link    Link    `json:"link,omitzero"` // of the moment too
	// Encoder is what makes the picture, for people; "" until somebody watches. Fallbacks counts how often a worse one had to take over.
	Encoder   string `json:"encoder"`
	Fallbacks int    `json:"fallbacks"`
	// Clipboard counts what crossed since the streamer began.
	Clipboard Clipboard `json:"clipboard,omitzero"`
}

// Clipboard is what crossed by the clipboard: In from the artist's desk, Out to it.
type Clipboard struct {
	In  Crossed `json:"in,omitzero"`
	Out Crossed `json:"out,omitzero"`
}

// Crossed counts contents by their kind.
type Crossed struct {
	Text Count `json:"text,omitzero"`
	HTML Count `json:"html,omitzero"`
	PNG  Count `json:"png,omitzero"`
}

// Contents are the counts by their kind's name.
func (c Crossed) Contents() map[string]Count {
	return map[string]Count{"text": c.Text, "html": c.HTML, "png": c.PNG}
}

// Valid tells whether the counts can be true.
func (c Clipboard) Valid() bool {
	for _, way := range []Crossed{c.In, c.Out} {
		for _, n := range way.Contents() {
			if n.N < 0 || n.Bytes < 0 || n.N > maxCrossed || n.Bytes > maxCrossed {
				return false
			}
		}
	}
	return true
}

// maxCrossed bounds a count, so that the sum of many is a number still.
const maxCrossed = 1 << 50

// Count is how many contents there were, and their bytes together.
type Count struct {
	N     int64 `json:"n"`
	Bytes int64 `json:"bytes"`
}

// ReadHealth reads one Health within MaxHealth bytes.
func ReadHealth(r io.Reader) (Health, error) {
	var h Health
	if _, err := read(r, MaxHealth, &h); err != nil {
		return Health{}, fmt.Errorf("read the streamer's health: %w", err)
	}
	return h, nil
}
