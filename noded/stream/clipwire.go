package stream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"easel/pkg/display"
)

// Messages of the clipboard channel (ARCHITECTURE.md, "Clipboard"). Both sides send them, but for those that say otherwise.
const (
	clipOffer  = 1 // what was copied on this side
	clipTaken  = 2 // to the viewer: what it offered is on the session's clipboard
	clipFetch  = 3 // asks for one content of the other side's offer
	clipData   = 4 // a part of it
	clipEnd    = 5 // its end
	clipStop   = 6 // it is not wanted any more
	clipPolicy = 7 // to the viewer: which ways are open

	clipHeader = 8
	// maxClipMessage bounds a message: a large one would hold up what other channels have to say.
	maxClipMessage = 16 << 10
)

// How a content ended.
const (
	clipWhole    = 0
	clipGone     = 1 // there is no such content, or no more
	clipTooLarge = 2
	clipRefused  = 3 // by the operator's policy
	clipLate     = 4 // who has it does not hand it over
	clipBroken   = 5 // it is not what it is said to be
)

const (
	clipInOpen, clipOutOpen = 1, 2 // ways of a policy
	clipDear                = 1    // of an offer: its picture will take long to make
)

// clipMessage is one message. What holds the formats of OFFER and TAKEN, the ways of POLICY, and else the format; How the outcome of END
// and the flags of OFFER.
type clipMessage struct {
	Kind, What, How uint8
	Serial          uint32 // of the offer
	Data            []byte
}

func (m clipMessage) append(b []byte) []byte {
	b = append(b, m.Kind, m.What, m.How, 0)
	b = binary.LittleEndian.AppendUint32(b, m.Serial)
	return append(b, m.Data...)
}

func (m clipMessage) format() display.Format { return display.Format(m.What) }

// parseClip reads a message of a viewer's.
func parseClip(b []byte) (clipMessage, error) {
	if len(b) < clipHeader || len(b) > maxClipMessage {
		return clipMessage{}, fmt.Errorf("a clipboard message of %d bytes", len(b))
	}
	m := clipMessage{Kind: b[0], What: b[1], How: b[2], Serial: binary.LittleEndian.Uint32(b[4:]), Data: b[clipHeader:]}
	if m.Kind != clipData && len(m.Data) > 0 || m.Kind == clipData && len(m.Data) == 0 {
		return clipMessage{}, fmt.Errorf("a clipboard message of kind %d and %d bytes", m.Kind, len(b))
	}
	if b[3] != 0 || m.How != 0 && m.Kind != clipEnd || m.How > clipBroken {
		return clipMessage{}, errors.New("a clipboard message with bits that have no meaning")
	}
	switch m.Kind {
	case clipOffer:
		if !display.Formats(m.What).Valid() {
			return clipMessage{}, fmt.Errorf("a clipboard offer of formats %#x", m.What)
		}
	case clipFetch, clipData, clipEnd, clipStop:
		if !m.format().Valid() {
			return clipMessage{}, fmt.Errorf("a clipboard message of %s", m.format())
		}
	default:
		return clipMessage{}, fmt.Errorf("a clipboard message of kind %d", m.Kind)
	}
	return m, nil
}
