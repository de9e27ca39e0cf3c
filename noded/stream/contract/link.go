package contract

// Link is how the way to the viewer that a session's picture is made for is at the moment; zero while there is none.
type Link struct {
	RTT    float64 `json:"rtt"`    // ms
	Loss   float64 `json:"loss"`   // of the packets, of late, 0 to 1
	Target float64 `json:"target"` // kbit/s that may be sent
	Acked  float64 `json:"acked"`  // kbit/s that the viewer has confirmed of late
	Scale  float64 `json:"scale"`  // of the video's sides beside the screen's
}

// Bounds of a link's figures: what is beyond nobody can have measured.
const (
	maxLinkRTT  = 3_600_000
	maxLinkKbps = 1e9
)

// Valid tells whether such a link can be.
func (l Link) Valid() bool {
	between := func(v, most float64) bool { return v >= 0 && v <= most } // not a number is neither
	return between(l.RTT, maxLinkRTT) && between(l.Loss, 1) && between(l.Target, maxLinkKbps) && between(l.Acked, maxLinkKbps) && between(l.Scale, 1)
}
