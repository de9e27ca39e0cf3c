package gpu

import "time"

// SetPatience shortens the deadline of calls that are asked without one.
func (h *Host) SetPatience(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.patience = d
}

// Printable is how names of processes are made fit to read.
var Printable = printable
