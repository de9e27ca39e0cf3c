package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"easel/pkg/problem"
)

// streamerWait bounds a long poll for another streamer. Nothing is said meanwhile: a page that rests costs nothing.
const streamerWait = 5 * time.Minute

// streamer tells which of its streamers a session has, by number; with ?is=NUMBER once it is another. What came from one before has ended, of which
// WebRTC tells nothing.
func (g *Gateway) streamer(w http.ResponseWriter, r *http.Request) {
	is, err := strconv.ParseUint(r.URL.Query().Get("is"), 10, 32)
	waits := r.URL.Query().Has("is")
	if waits && err != nil {
		problem.Write(w, http.StatusBadRequest, "", "is must be the number of the streamer that you know")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), streamerWait)
	defer cancel()
	for {
		s, ok := g.usable(w, r.PathValue("id"))
		if !ok {
			return
		}
		if !waits || uint64(s.StreamerRestarts) != is || ctx.Err() != nil {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(map[string]uint32{"streamer": s.StreamerRestarts}) // the viewer may be gone
			return
		}
		// A streamer that ends leaves nobody connected: that is another state.
		if _, err := g.Sessions.Await(ctx, s.ID, s.State); err != nil {
			problem.Write(w, http.StatusNotFound, "No such session", "the session was forgotten")
			return
		}
	}
}
