package session

import (
	"time"

	"easel/noded/stream/contract"
)

// Settings is what may change while the node runs. Sessions that there are keep what they were made with, but for the policy.
type Settings struct {
	Max          int
	Limits       Limits // of each session
	Pin          bool   // sessions to the processors near their card
	Image        string // default reference
	Grace        time.Duration
	StartTimeout time.Duration
	LogLevel     string // of the streamers
	Policy       contract.Policy
}

// settings is what is in force; it is replaced, never changed.
type settings struct {
	Settings
	admission Admission
}

func (o *Options) settings() *settings {
	return &settings{admission: o.Admission, Settings: Settings{
		Max: o.Admission.Max, Limits: o.Admission.Limits, Pin: o.Admission.Pin, Image: o.Image, Grace: o.Grace, StartTimeout: o.StartTimeout, LogLevel: o.LogLevel,
		Policy: o.Policy,
	}}
}

func (m *Manager) settings() *settings { return m.inForce.Load() }

// Configure brings other settings into force.
func (m *Manager) Configure(s Settings) {
	next := &settings{Settings: s, admission: m.settings().admission}
	next.admission.Max, next.admission.Limits, next.admission.Pin = s.Max, s.Limits, s.Pin
	m.inForce.Store(next)
	m.bell.ring()
}
