package gpu

import (
	"maps"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells Prometheus what the last look found; a scrape asks no card.
type collector struct {
	host *Host

	cards, use, encoderUse, encoderSessions, used, total, temperature, fault, xids *prometheus.Desc
}

// Register adds the cards' metrics. Their labels are the cards of the host, which are few.
func (h *Host) Register(r prometheus.Registerer) {
	card := []string{"card"}
	r.MustRegister(&collector{
		host:            h,
		cards:           prometheus.NewDesc("easel_gpu_cards", "Cards, by model and by whether they are well.", []string{"model", "state"}, nil),
		use:             prometheus.NewDesc("easel_gpu_use_ratio", "Part of the time in which a card computed or drew; not of cards in MIG mode.", card, nil),
		encoderUse:      prometheus.NewDesc("easel_gpu_encoder_use_ratio", "Part of the time in which a card's NVENC encoded.", card, nil),
		encoderSessions: prometheus.NewDesc("easel_gpu_encoder_streams", "Streams that a card's NVENC encodes, Easel's or not.", card, nil),
		used:            prometheus.NewDesc("easel_gpu_memory_used_bytes", "Memory of a card that is taken, without the driver's own part.", card, nil),
		total:           prometheus.NewDesc("easel_gpu_memory_bytes", "Memory of a card.", card, nil),
		temperature:     prometheus.NewDesc("easel_gpu_temperature_celsius", "Temperature of a card.", card, nil),
		fault:           prometheus.NewDesc("easel_gpu_fault", "1 for each kind of fault that a card has: lost, asking, xid, ecc, thermal.", []string{"card", "code"}, nil),
		xids:            prometheus.NewDesc("easel_gpu_xid_total", "XID errors that the driver reported of a card, a program's own among them.", []string{"card", "xid"}, nil),
	})
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.cards, c.use, c.encoderUse, c.encoderSessions, c.used, c.total, c.temperature, c.fault, c.xids} {
		out <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	// known leaves out what the driver does not say: 0 would be a lie.
	known := func(d *prometheus.Desc, n int, unit float64, card string) {
		if n >= 0 {
			gauge(d, float64(n)*unit, card)
		}
	}
	inv, loads := c.host.Inventory(), c.host.Loads()
	count := map[[2]string]int{}
	for _, card := range inv.Cards {
		state := "well"
		if _, ok := card.Well(); !ok {
			state = "faulty"
		}
		count[[2]string{card.Model, state}]++
		if card.UUID == "" {
			continue
		}
		codes := map[string]bool{}
		for _, f := range card.Faults {
			if !codes[f.Code] {
				codes[f.Code] = true
				gauge(c.fault, 1, card.UUID, f.Code)
			}
		}
		gauge(c.total, float64(card.Memory), card.UUID)
		l, ok := loads[card.UUID]
		if !ok || l.Memory.Total == 0 { // it was not asked
			continue
		}
		known(c.use, l.GPU, 0.01, card.UUID)
		known(c.encoderUse, l.Encoder, 0.01, card.UUID)
		known(c.encoderSessions, l.Sessions, 1, card.UUID)
		known(c.temperature, l.Temperature, 1, card.UUID)
		gauge(c.used, float64(l.Memory.Used), card.UUID)
	}
	for key, n := range c.host.xidCounts() {
		out <- prometheus.MustNewConstMetric(c.xids, prometheus.CounterValue, n, key.card, strconv.FormatUint(key.code, 10))
	}
	for key, n := range count {
		gauge(c.cards, float64(n), key[0], key[1])
	}
}

func (h *Host) xidCounts() map[xidOf]float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.xidCount)
}
