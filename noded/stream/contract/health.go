package contract

import (
	"bytes"
	"encoding/json"
	"errors"
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
	Seq      uint64             `json:"seq"`
	Ready    bool               `json:"ready"`
	Viewers  int                `json:"viewers"`
	Guests   Guests             `json:"guests"` // among the viewers
	Path     string             `json:"path"`
	GIMP     GIMP               `json:"gimp"`
	XPID     int                `json:"x_pid"`
	Services map[string]Service `json:"services"`
	OpenCL   OpenCL             `json:"opencl"`
	Degraded []string           `json:"degraded"`
	Error    string             `json:"error"`
	// Encoder is what makes the picture, for people; "" until somebody watches. Fallbacks counts how often a worse one had to take over.
	Encoder   string `json:"encoder"`
	Fallbacks int    `json:"fallbacks"`
}

// ReadHealth reads one Health strictly and within MaxHealth bytes.
func ReadHealth(r io.Reader) (Health, error) {
	var h Health
	b, err := io.ReadAll(io.LimitReader(r, MaxHealth+1))
	if err != nil {
		return h, fmt.Errorf("read the streamer's health: %w", err)
	}
	if len(b) > MaxHealth {
		return h, fmt.Errorf("read the streamer's health: longer than %d bytes", MaxHealth)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return h, fmt.Errorf("read the streamer's health: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return h, errors.New("read the streamer's health: something follows the JSON document")
	}
	return h, nil
}
