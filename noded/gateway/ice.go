package gateway

import (
	"encoding/json"
	"net/http"

	"easel/noded/relay"
)

// iceDocument is what a viewer needs to reach the session's picture where the network lets nothing direct through.
type iceDocument struct {
	ICEServers []relay.ICEServer `json:"iceServers"`
	Relay      string            `json:"relay"` // its generation
}

func (g *Gateway) ice(w http.ResponseWriter, r *http.Request) {
	s, ok := g.usable(w, r.PathValue("id"))
	if !ok {
		return
	}
	document := iceDocument{ICEServers: []relay.ICEServer{}, Relay: g.relayGeneration()}
	if g.Relay != nil {
		document.ICEServers = g.Relay.Servers(s.ID)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // it holds a secret
	_ = json.NewEncoder(w).Encode(document)     // the viewer may be gone
}

// relayGeneration is "" when there is no relay.
func (g *Gateway) relayGeneration() string {
	if g.Relay == nil {
		return ""
	}
	return g.Relay.Generation()
}
