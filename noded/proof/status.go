package proof

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/stream/contract"
)

// Reinstall is how an operator mends what the processor's encoders lack.
const Reinstall = "install easel-node again with its libraries (apt-get install --reinstall easel-node; libx264, libvpx, libaom, libyuv and libavcodec), then see what \"noded doctor\" says of codecs"

// Troubles say what is not as it should be, and what to do: nothing when all is proven.
func (p *Prover) Troubles() []string {
	var failed, unseen, out []string
	cards := map[string][]string{}
	software := 0
	for _, one := range p.Proofs() {
		switch {
		case one.Card != "" && !one.Proven():
			cards[one.Card] = append(cards[one.Card], one.Format+": "+one.Why())
		case one.Card != "":
		case one.Error != "":
			failed = append(failed, one.Format+": "+one.Why())
		case !one.Proven():
			unseen = append(unseen, one.Format+": "+one.Why())
		}
		if one.Card == "" {
			software++
		}
	}
	switch {
	case len(failed) > 0 && len(failed) == software:
		out = append(out, fmt.Sprintf("encoders: none works on this node, so every viewer falls back to VNC (%s); %s", failed[0], Reinstall))
	case len(failed) > 0:
		out = append(out, fmt.Sprintf("encoders: not offered, as they failed their proof: %s; %s", strings.Join(failed, "; "), Reinstall))
	}
	if len(unseen) > 0 {
		out = append(out, fmt.Sprintf("encoders: offered, but not proven: %s; %s", strings.Join(unseen, "; "), Reinstall))
	}
	for _, card := range slices.Sorted(maps.Keys(cards)) {
		out = append(out, fmt.Sprintf("encoder of %s: the processor stands in: %s; see that /dev/nvidia* may be opened by all (o+rw), and that libnvidia-encode1 is of the driver's version",
			card, strings.Join(cards[card], "; ")))
	}
	return out
}

// Why says why it is not proven, "" when it is.
func (p Proof) Why() string {
	for _, text := range []string{p.Error, p.Unseen, p.Untried} {
		if text != "" {
			return text
		}
	}
	return ""
}

// Describe and Collect make a Prover a prometheus.Collector.
func (p *Prover) Describe(to chan<- *prometheus.Desc) {
	to <- provenDesc
	to <- decibelsDesc
	to <- worstDesc
}

var (
	labels       = []string{"kind", "card", "format"}
	provenDesc   = prometheus.NewDesc("easel_encoder_proven", "1 for an encoder whose pictures a decoder was seen to decode, 0 for one that failed or could not be tried.", labels, nil)
	decibelsDesc = prometheus.NewDesc("easel_encoder_proof_decibels", "How near the decoded picture came to the one that was encoded.", labels, nil)
	worstDesc    = prometheus.NewDesc("easel_encoder_proof_levels", "By how many of 256 levels the worst patch of the decoded picture was off.", labels, nil)
)

// Collect tells what is known.
func (p *Prover) Collect(to chan<- prometheus.Metric) {
	for _, one := range p.Proofs() {
		kind := contract.X264
		if one.Card != "" {
			kind = contract.NVENC
		}
		tell := func(d *prometheus.Desc, v float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, kind, one.Card, one.Format)
		}
		if !one.Proven() {
			tell(provenDesc, 0)
			continue
		}
		tell(provenDesc, 1)
		tell(decibelsDesc, one.PSNR)
		tell(worstDesc, float64(one.Worst))
	}
}
