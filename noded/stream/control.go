package stream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/contract"
	"easel/pkg/display"
)

// maxControl and maxClientStats bound what a viewer may say on the control channel, in bytes.
const (
	maxControl     = 16 << 10
	maxClientStats = 8 << 10
)

// Kinds of control message from a viewer.
const (
	controlSeen    = "seen"
	controlResize  = "resize"
	controlQuality = "quality"
	controlPing    = "ping"
	controlBeat    = "beat"
	controlClient  = "client"
	controlWatch   = "watch"
	controlAudio   = "audio"
	controlHand    = "hand"
	controlLatency = "latency"
	controlResume  = "resume"
)

// errUnknownControl is a control message of a kind that this version does not know; newer viewers may send such.
var errUnknownControl = errors.New("unknown kind of control message")

// controlMessage is one message of the control channel from the viewer, whichever fields its kind has.
type controlMessage struct {
	T     string          `json:"t"`
	RTP   uint32          `json:"rtp"`
	W     float64         `json:"w"`
	H     float64         `json:"h"`
	Scale float64         `json:"scale"`
	Value string          `json:"value"`
	ID    json.RawMessage `json:"id"`
	On    bool            `json:"on"`
	To    string          `json:"to"`
	Stats json.RawMessage `json:"stats"`
	beatTold
	resumeTold
	// Stages is what the viewer has measured since it last told.
	Stages map[string]contract.Histogram `json:"stages"`
}

// parseControl reads one control message.
func parseControl(b []byte) (controlMessage, error) {
	var m controlMessage
	if len(b) > maxControl {
		return m, fmt.Errorf("read a control message: %d bytes, at most %d are taken", len(b), maxControl)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&m); err != nil {
		return controlMessage{}, fmt.Errorf("read a control message: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return controlMessage{}, errors.New("read a control message: something follows the JSON document")
	}
	switch m.T {
	case controlSeen, controlResize, controlWatch, controlAudio:
	case controlQuality:
		if _, ok := qualities[m.Value]; !ok {
			return controlMessage{}, fmt.Errorf("read a control message: there is no quality %.20q", m.Value)
		}
	case controlPing:
		if len(m.ID) > 64 {
			return controlMessage{}, errors.New("read a control message: the ping's id is longer than 64 bytes")
		}
	case controlBeat:
		if err := m.beatTold.check(); err != nil {
			return controlMessage{}, fmt.Errorf("read a control message: %w", err)
		}
	case controlResume:
		if err := m.resumeTold.check(); err != nil {
			return controlMessage{}, fmt.Errorf("read a control message: %w", err)
		}
	case controlHand:
		if m.To == "" || len(m.To) > contract.MaxViewer {
			return controlMessage{}, errors.New("read a control message: the hand goes to nobody")
		}
	case controlLatency:
		if err := checkStages(m.Stages); err != nil {
			return controlMessage{}, fmt.Errorf("read a control message: %w", err)
		}
	case controlClient:
		if len(m.Stats) > maxClientStats {
			return controlMessage{}, fmt.Errorf("read a control message: %d bytes of stats", len(m.Stats))
		}
	default:
		return controlMessage{}, fmt.Errorf("%w: %.20q", errUnknownControl, m.T)
	}
	return m, nil
}

// maxPixels bounds a screen's area.
const maxPixels = display.MaxPixels

// screenSize makes a size that a screen may have of what a viewer asked for: whole, even, within bounds.
func screenSize(w, h float64) contract.Size {
	side := func(v float64) int {
		if !(v >= contract.MinSide) { // NaN as well
			return contract.MinSide
		}
		return int(min(v, contract.MaxSide)) &^ 1
	}
	s := contract.Size{Width: side(w), Height: side(h)}
	if s.Width*s.Height > maxPixels {
		s.Height = max(maxPixels/s.Width&^1, contract.MinSide)
	}
	return s
}

// screenOf tells the size of a screen and of its video.
func screenOf(size image.Point, by congestion.Scale) screenMessage {
	m := screenMessage{T: "screen", W: size.X, H: size.Y}
	if by != congestion.Whole {
		video := by.Of(even(size))
		m.Video = &videoSize{video.X, video.Y}
	}
	return m
}

// Control messages to the viewer.
type (
	screenMessage struct {
		T     string     `json:"t"`
		W     int        `json:"w"`
		H     int        `json:"h"`
		Video *videoSize `json:"video,omitempty"` // where it is not the screen's
	}
	videoSize struct {
		W int `json:"w"`
		H int `json:"h"`
	}
	cursorMessage struct {
		T   string `json:"t"`
		ID  uint32 `json:"id"`
		X   int    `json:"x"`
		Y   int    `json:"y"`
		W   int    `json:"w"`
		H   int    `json:"h"`
		PNG string `json:"png"` // empty for a cursor that shows nothing
	}
	knownCursor struct {
		T  string `json:"t"`
		ID uint32 `json:"id"`
	}
	gimpMessage struct {
		T        string `json:"t"`
		State    string `json:"state"`
		Restarts int    `json:"restarts"`
	}
	// filesMessage says that which way files may cross has changed.
	filesMessage struct {
		T string `json:"t"`
	}
	// audioMessage says whether there is sound to be heard.
	audioMessage struct {
		T  string `json:"t"`
		On bool   `json:"on"`
	}
	pongMessage struct {
		T  string          `json:"t"`
		ID json.RawMessage `json:"id"`
		At float64         `json:"at"` // the node's time, ms
	}
	byeMessage struct {
		T      string `json:"t"`
		Reason string `json:"reason,omitempty"`
	}
	// noticeMessage is what the node has to say. LeftMS is how long it is until it happens, as viewers' clocks may be wrong.
	noticeMessage struct {
		T      string    `json:"t"`
		Text   string    `json:"text"` // "" takes back the one before
		Until  time.Time `json:"until,omitzero"`
		LeftMS int64     `json:"left_ms"`
	}
	statsMessage struct {
		T string `json:"t"`
		Stats
	}
)

func noticeOf(n contract.Notice) noticeMessage {
	return noticeMessage{T: "notice", Text: n.Text, Until: n.Until, LeftMS: n.Left(time.Now()).Milliseconds()}
}

func cursorFull(c display.Cursor) cursorMessage {
	return cursorMessage{T: "cursor", ID: c.ID, X: c.HotX, Y: c.HotY, W: c.Width, H: c.Height, PNG: base64.StdEncoding.EncodeToString(c.PNG)}
}
