package contract

import (
	"math"
	"testing"
)

func TestLinkIsBounded(t *testing.T) {
	if !(Link{}).Valid() || !(Link{RTT: 300, Loss: 0.1, Target: 20_000, Acked: 18_000, Scale: 0.5}).Valid() {
		t.Error("a link as it is was refused")
	}
	for _, l := range []Link{{RTT: -1}, {RTT: math.NaN()}, {Loss: 1.1}, {Target: math.Inf(1)}, {Acked: -1}, {Scale: 2}} {
		if l.Valid() {
			t.Errorf("%+v was taken", l)
		}
	}
}
