package placement

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"easel/pkg/cluster"
)

// Filter says why a node cannot take a session, "" when it can.
type Filter func(Request, cluster.Node) string

// Score tells how well a node suits, more is better. An earlier score outweighs every later one.
type Score func(Request, cluster.Node) float64

// hasImage trusts a node that tells of no image at all to know what it can run.
func hasImage(req Request, n cluster.Node) string {
	if req.Image == "" || len(n.Capacity.Images) == 0 || slices.Contains(n.Capacity.Images, req.Image) {
		return ""
	}
	return "it does not have the image " + req.Image
}

// saysItHasRoom puts nodes last that were full, draining or just starting: the record may be older than
// the session that ended a moment ago, and the node itself says best why it refuses.
func saysItHasRoom(_ Request, n cluster.Node) float64 {
	switch {
	case n.Capacity.Draining:
		return 0
	case n.Capacity.Full != "" || n.Capacity.Used >= n.Capacity.Total:
		return 1
	}
	return 2
}

// freeShare is the free part of a node in tenths, so that nodes about equally full leave the choice to
// the scores after it.
func freeShare(_ Request, n cluster.Node) float64 {
	if n.Capacity.Total <= 0 {
		return 0
	}
	return math.Floor(10 * float64(n.Capacity.Total-n.Capacity.Used) / float64(n.Capacity.Total))
}

// affinity sends the same user and key to the same node from every coordinator (rendezvous hashing), so
// that two that are asked at once agree.
func affinity(req Request, n cluster.Node) float64 {
	sum := sha256.Sum256([]byte(req.User + "\x00" + req.Key + "\x00" + n.Meta.Name))
	return float64(binary.BigEndian.Uint64(sum[:]) >> 11) // exact: 53 bits
}
