package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// MaxPolicy bounds the document, in bytes.
const MaxPolicy = 1 << 10

// Ways of the clipboard, and of files: in is from the artist's desk to the session.
const (
	ClipboardBoth = "both"
	ClipboardIn   = "in"
	ClipboardOut  = "out"
	ClipboardOff  = "off"
)

// Whether the session's sound may be heard.
const (
	AudioOn  = "on"
	AudioOff = "off"
)

// Policy is what the operator lets cross a session's edge. It may change while the session lives.
type Policy struct {
	Clipboard string `json:"clipboard"`        // "" is both
	Audio     string `json:"audio"`            // "" is on
	Guests    int    `json:"guests,omitempty"` // that may watch beside the owner
	Files     string `json:"files,omitempty"`  // "" is both. noded keeps to it; the streamer tells the viewer that it has changed
}

// TakesIn tells whether what was copied on the artist's desk may reach the session.
func (p Policy) TakesIn() bool {
	return p.Clipboard == "" || p.Clipboard == ClipboardBoth || p.Clipboard == ClipboardIn
}

// LetsOut tells whether what was copied in the session may reach the artist's desk.
func (p Policy) LetsOut() bool {
	return p.Clipboard == "" || p.Clipboard == ClipboardBoth || p.Clipboard == ClipboardOut
}

// HasSound tells whether the session's sound may be heard.
func (p Policy) HasSound() bool { return p.Audio == "" || p.Audio == AudioOn }

// Validate says what is wrong with the policy.
func (p Policy) Validate() error {
	if p.Guests < 0 || p.Guests > MaxGuests {
		return fmt.Errorf("guests: %d is outside 0 to %d", p.Guests, MaxGuests)
	}
	for what, way := range map[string]string{"clipboard": p.Clipboard, "files": p.Files} {
		switch way {
		case "", ClipboardBoth, ClipboardIn, ClipboardOut, ClipboardOff:
		default:
			return fmt.Errorf("%s: %.20q: want both, in, out or off", what, way)
		}
	}
	switch p.Audio {
	case "", AudioOn, AudioOff:
		return nil
	}
	return fmt.Errorf("audio: %.20q: want on or off", p.Audio)
}

// ReadPolicy reads one Policy and checks it. whole tells whether that was all of it: a newer noded may know more.
func ReadPolicy(r io.Reader) (p Policy, whole bool, err error) {
	b, err := read(r, MaxPolicy, &p)
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return Policy{}, false, fmt.Errorf("read a policy: %w", err)
	}
	strict := json.NewDecoder(bytes.NewReader(b))
	strict.DisallowUnknownFields()
	return p, strict.Decode(&Policy{}) == nil, nil
}
