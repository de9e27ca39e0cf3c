package cluster

import (
	"time"
	"unique"
)

// received is a node's record as it came, never changed. Every member keeps one of every node, so it is small: only
// who places sessions keeps what it says laid out.
type received struct {
	seq    uint64 // 0 when there is none
	wire   unique.Handle[string]
	seen   int64     // milliseconds since the epoch, by this machine's clock
	rec    *Capacity // nil on other nodes
	passed bool      // it was gossiped on
}

func newReceived(rec *Capacity, wire []byte, now time.Time) received {
	return received{seq: rec.Seq, wire: unique.Make(string(wire)), seen: now.UnixMilli(), rec: rec}
}

// capacity is what the record says.
func (r received) capacity() *Capacity {
	if r.rec != nil || r.seq == 0 {
		return r.rec
	}
	rec, err := decodeCapacity([]byte(r.wire.Value()), time.Now())
	if err != nil { // it was decoded when it came
		return &Capacity{}
	}
	return rec
}

// message is the record as it is sent on.
func (r received) message(kind byte) []byte { return append([]byte{kind}, r.wire.Value()...) }
