package congestion

import "time"

// When packets against loss are worth sending, and how many.
const (
	repairFrom  = 0.005                 // of the packets lost
	repairTrip  = 16 * time.Millisecond // a shorter one brings what is asked for again within a frame's time
	repairShare = 2.5                   // times the loss: worth what it takes from the picture
	repairRoom  = 0.9                   // of the rate: what the picture leaves of that is free
	// What is lost because too much was sent is not mended by sending more.
	repairCalm  = 3 * time.Second // after such a cut
	repairQueue = 60 * time.Millisecond
)

// Repair is what part of the packets is lost, and how many may be sent against that for each of the picture's: none where asking again is quick, or the loss
// is our own doing.
func (r *Control) Repair(now time.Time) (loss, share float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	loss, ok := r.loss.share(now)
	ours := now.Sub(r.filledAt) < repairCalm || r.queue > repairQueue
	if !ok || ours || loss < repairFrom || r.rtt < repairTrip {
		return 0, 0
	}
	picture := max(r.gone.Kbps(now)-r.extra.Kbps(now), 1)
	return loss, min(max(r.kbps*repairRoom/picture-1, loss*repairShare), 1)
}
