package clipboard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"easel/pkg/display"
)

// Messages of the clipboard channel (ARCHITECTURE.md, "Clipboard"). Both sides send them, but for those that say otherwise.
const (
	Offer = 1  // what was copied on this side
	Taken = 2  // to the viewer: what it offered is on the session's clipboard
	Fetch = 3  // asks for one content of the other side's offer
	Data  = 4  // a part of it
	End   = 5  // its end
	Stop  = 6  // it is not wanted any more
	Ways  = 7  // to the viewer: which ways are open
	Got   = 8  // to the viewer: a DATA message of its has come
	Asked = 9  // to the viewer: an application of the session's asks about its offer, for the first time
	Has   = 10 // to the viewer: an application has one content of it, whole, for the first time
	Past  = 11 // to the viewer: an application has done what a key that pastes told it; Serial is that of the key

	HeaderBytes = 8
	// MaxMessage bounds a message: a large one would hold up what other channels have to say.
	MaxMessage = 16 << 10
)

// How a content ended.
const (
	Whole    = 0
	Gone     = 1 // there is no such content, or no more
	TooLarge = 2
	Refused  = 3 // by the operator's policy
	Late     = 4 // who has it does not hand it over
	Broken   = 5 // it is not what it is said to be
)

const (
	InOpen, OutOpen = 1, 2 // ways of a policy
	Dear            = 1    // of an offer: its picture will take long to make
	Answers         = 1    // of a policy: each DATA message is answered by GOT
	Numbers         = 2    // of a policy: fetches are told apart by numbers, and ASKED and HAS are said
)

// Message is one message. What holds the formats of OFFER and TAKEN, the ways of POLICY, and else the format; How the outcome of END
// and the flags of OFFER and POLICY. Number tells one fetch of a content from the next: FETCH says it, and what belongs to it repeats it. It is 0
// where the viewer knows of none.
type Message struct {
	Kind, What, How, Number uint8
	Serial                  uint32 // of the offer; in PAST the number of a reliable message of the hand's
	Data                    []byte
}

// Append writes a message as it goes over the wire.
func (m Message) Append(b []byte) []byte {
	b = append(b, m.Kind, m.What, m.How, m.Number)
	b = binary.LittleEndian.AppendUint32(b, m.Serial)
	return append(b, m.Data...)
}

func (m Message) Format() display.Format { return display.Format(m.What) }

// Parse reads a message of a viewer's.
func Parse(b []byte) (Message, error) {
	if len(b) < HeaderBytes || len(b) > MaxMessage {
		return Message{}, fmt.Errorf("a clipboard message of %d bytes", len(b))
	}
	m := Message{Kind: b[0], What: b[1], How: b[2], Number: b[3], Serial: binary.LittleEndian.Uint32(b[4:]), Data: b[HeaderBytes:]}
	if m.Kind != Data && len(m.Data) > 0 || m.Kind == Data && len(m.Data) == 0 {
		return Message{}, fmt.Errorf("a clipboard message of kind %d and %d bytes", m.Kind, len(b))
	}
	if m.Number != 0 && m.Kind == Offer || m.How != 0 && m.Kind != End || m.How > Broken {
		return Message{}, errors.New("a clipboard message with bits that have no meaning")
	}
	switch m.Kind {
	case Offer:
		if !display.Formats(m.What).Valid() {
			return Message{}, fmt.Errorf("a clipboard offer of formats %#x", m.What)
		}
	case Fetch, Data, End, Stop:
		if !m.Format().Valid() {
			return Message{}, fmt.Errorf("a clipboard message of %s", m.Format())
		}
	default:
		return Message{}, fmt.Errorf("a clipboard message of kind %d", m.Kind)
	}
	return m, nil
}
