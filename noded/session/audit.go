package session

import "easel/noded/stream/contract"

// auditClipboard writes down, and counts, what crossed by the clipboard: whose session, which way, what kind, how much; never what it was. It
// is the node that writes, from what the streamer counts: a session that floods its own log hides nothing. Contents that cross within one
// answer of the streamer's make one line. What crossed while no daemon ran is in the sum that is written when the session is taken up.
func (k *keeper) auditClipboard(before *contract.Health, h contract.Health) {
	taken := before == nil
	if taken {
		before = &contract.Health{}
	}
	if before.Clipboard == h.Clipboard {
		return
	}
	user := ""
	if r, err := k.store.Get(k.id); err == nil {
		user = r.User
	}
	for _, way := range []struct {
		name        string
		before, now contract.Crossed
	}{{"in", before.Clipboard.In, h.Clipboard.In}, {"out", before.Clipboard.Out, h.Clipboard.Out}} {
		known := way.before.Contents()
		for kind, now := range way.now.Contents() {
			n := known[kind]
			if now.N < n.N || now.Bytes < n.Bytes { // a new streamer counts from 0
				n = contract.Count{}
			}
			if now.N == n.N {
				continue
			}
			contents, bytes := now.N-n.N, now.Bytes-n.Bytes
			if taken {
				k.log.Info("clipboard crossed, since the streamer began", "user", user, "direction", way.name, "kind", kind, "contents", contents, "bytes", bytes)
				continue
			}
			k.log.Info("clipboard crossed", "user", user, "direction", way.name, "kind", kind, "contents", contents, "bytes", bytes)
			k.metrics.clipboard.WithLabelValues(way.name, kind).Add(float64(contents))
			k.metrics.clipboardBytes.WithLabelValues(way.name, kind).Add(float64(bytes))
		}
	}
}

// auditHand writes down who has the hand: a guest, by the id that the log of links to the session has too, or the owner again.
func (k *keeper) auditHand(before *contract.Health, h contract.Health) {
	if before == nil {
		before = &contract.Health{}
	}
	if before.Hand == h.Hand {
		return
	}
	user := ""
	if r, err := k.store.Get(k.id); err == nil {
		user = r.User
	}
	if h.Hand == "" {
		k.log.Info("the hand is the owner's again", "user", user, "from", before.Hand)
		return
	}
	k.metrics.handsGiven.Inc()
	k.log.Info("the hand was given to a guest", "user", user, "guest", h.Hand)
}
