package rtpsend

import "sync"

// unacked knows which RTP packets the viewer has not said to have. It is safe for several goroutines.
type unacked struct {
	mu    sync.Mutex
	bits  [1 << 16 / 64]uint64
	count int
}

// sent notes that a packet goes out.
func (u *unacked) sent(seq uint16) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if bit := uint64(1) << (seq % 64); u.bits[seq/64]&bit == 0 {
		u.bits[seq/64] |= bit
		u.count++
	}
}

// arrived notes that a packet, or one sent again for it, has arrived.
func (u *unacked) arrived(seq uint16) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if bit := uint64(1) << (seq % 64); u.bits[seq/64]&bit != 0 {
		u.bits[seq/64] &^= bit
		u.count--
	}
}

// none tells whether the viewer has everything.
func (u *unacked) none() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count == 0
}
