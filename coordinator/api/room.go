package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/placement"
)

// maxClasses bounds the classes that are told of: their names come from nodes.
const maxClasses = 64

// roomCollector tells Prometheus what the nodes in the view have room for, by class.
type roomCollector struct {
	nodes Nodes
	room  *prometheus.Desc
	cards *prometheus.Desc
}

func newRoomCollector(nodes Nodes) roomCollector {
	return roomCollector{
		nodes: nodes,
		room: prometheus.NewDesc("easel_coordinator_room",
			"Sessions of a class that the nodes in the view can hold, hold and have free; encoders are those of the free ones with a card's encoder.",
			[]string{"class", "state"}, nil),
		cards: prometheus.NewDesc("easel_coordinator_cards", "Graphics cards of the nodes in the view, by whether they are well.", []string{"state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c roomCollector) Describe(out chan<- *prometheus.Desc) { out <- c.room; out <- c.cards }

// Collect implements prometheus.Collector.
func (c roomCollector) Collect(out chan<- prometheus.Metric) {
	type room struct{ total, used, free, encoders int }
	classes, well, unhealthy := map[string]room{}, 0, 0
	for _, n := range c.nodes.Nodes() {
		for _, r := range n.Capacity.Classes {
			name := r.Class
			if name == "" {
				name = placement.ClassNone
			}
			have, known := classes[name]
			if !known && len(classes) >= maxClasses {
				continue
			}
			have.total, have.used = have.total+r.Total, have.used+r.Used
			if !n.Capacity.Draining && n.Capacity.Full == "" {
				slots := max(0, n.Capacity.Total-n.Capacity.Used) // a class has no more room than its node
				have.free, have.encoders = have.free+min(r.Free(), slots), have.encoders+min(r.Encoders, slots)
			}
			classes[name] = have
		}
		for _, g := range n.Capacity.GPUs {
			well, unhealthy = well+g.Count-g.Unhealthy, unhealthy+g.Unhealthy
		}
	}
	tell := func(d *prometheus.Desc, value int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	for class, r := range classes {
		tell(c.room, r.total, class, "total")
		tell(c.room, r.used, class, "used")
		tell(c.room, r.free, class, "free")
		tell(c.room, r.encoders, class, "encoders")
	}
	tell(c.cards, well, "well")
	tell(c.cards, unhealthy, "unhealthy")
}
