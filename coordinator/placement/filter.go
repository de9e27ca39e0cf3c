package placement

import (
	"fmt"
	"slices"
	"strings"

	"easel/pkg/cluster"
)

// filter is one reason for which a node may be left out. passes is asked for every node of every decision
// and so allocates nothing; why puts into words what it found, for who asks.
type filter struct {
	name   string
	passes func(*query, *seat) bool
	why    func(*query, *seat) string
	// passing: what it sees may be over since the node's last record, so that the node is asked after all
	// when too few others pass.
	passing bool
}

var filters = []filter{
	{name: "policy", passes: withinPolicy, why: whyPolicy},
	{name: "image", passes: hasImage, why: whyImage},
	{name: "class", passes: hasClass, why: whyClass},
	{name: "encoder", passes: hasEncoder, why: whyEncoder},
	{name: "health", passes: healthy, why: whyHealth, passing: true},
	{name: "room", passes: hasRoom, why: whyRoom, passing: true},
}

func withinPolicy(q *query, s *seat) bool {
	return !q.barred && (q.regions == nil || slices.Contains(q.regions, s.region))
}

func whyPolicy(q *query, s *seat) string {
	switch {
	case q.barred:
		return fmt.Sprintf("%s may have the classes %s, not %q", q.User, strings.Join(q.policy.Classes, ", "), q.className())
	case s.node.Meta.Place.Region == "":
		return fmt.Sprintf("it tells no region, and %s may be in %s alone", q.User, strings.Join(q.policy.Regions, ", "))
	}
	return fmt.Sprintf("it is in %s, and %s may be in %s alone", s.node.Meta.Place.Region, q.User, strings.Join(q.policy.Regions, ", "))
}

// hasImage trusts a node that tells of no image at all to know what it can run.
func hasImage(q *query, s *seat) bool {
	return q.image == anything || len(s.images) == 0 || slices.Contains(s.images, q.image)
}

func whyImage(q *query, _ *seat) string { return "it does not have the image " + q.Image }

func hasClass(q *query, _ *seat) bool { return q.room != nil }

func whyClass(q *query, s *seat) string {
	var has []string
	for _, r := range s.node.Capacity.Classes {
		has = append(has, r.Class)
	}
	if len(has) == 0 {
		has = []string{ClassNone}
	}
	return fmt.Sprintf("it has no sessions of class %q, only %s", q.className(), strings.Join(has, ", "))
}

// hasEncoder is about the cards that a node has; whether an encoder is free is a matter of room. It keeps a session whose picture the card
// should encode from where the CPU would.
func hasEncoder(q *query, s *seat) bool { return !q.hardware || q.room == nil || s.encoder }

func whyEncoder(q *query, s *seat) string {
	if slices.ContainsFunc(s.node.Capacity.GPUs, func(g cluster.GPU) bool { return g.Encoder }) {
		return fmt.Sprintf("none of its cards with a hardware encoder is well, so the picture of class %s would be encoded by the CPU", q.className())
	}
	return fmt.Sprintf("it has no hardware encoder for class %s, so the picture would be encoded by the CPU; ask with encoder %q to take that", q.className(), Any)
}

func healthy(_ *query, s *seat) bool { return !s.draining && !s.suspect }

func whyHealth(_ *query, s *seat) string {
	if s.suspect {
		return "it has missed heartbeats"
	}
	return "it takes no new sessions: it is draining or cordoned"
}

// hasRoom counts what this coordinator has reserved since the node's last record, and remembers a refusal as long, for some seconds. A node that is full of warm
// sessions has room for who takes one.
func hasRoom(q *query, s *seat) bool {
	if q.refused(s) != nil {
		return false
	}
	return q.free > 0 && !s.full || s.warmFor(q) > 0
}

// refused returns the node's refusal of a moment ago, of anybody or of the class.
func (q *query) refused(s *seat) *refusal {
	if r := s.ledger.refused.Load(); r != nil && q.now.Sub(r.at) < refusalCounts {
		return r
	}
	if q.room == nil {
		return nil
	}
	if r := q.room.tally.refused.Load(); r != nil && q.now.Sub(r.at) < refusalCounts && (q.hardware || r.encoder != Hardware) {
		return r
	}
	return nil
}

func whyRoom(q *query, s *seat) string {
	if r := q.refused(s); r != nil {
		return "it refused a moment ago: " + r.why
	}
	if s.full && s.node.Capacity.Full != "" {
		return s.node.Capacity.Full
	}
	if r := q.room; r != nil {
		free, held := r.total-r.used, r.tally.held()
		if free-held > 0 && q.hardware && r.encoders <= held {
			return fmt.Sprintf("none of the %d free places of class %s has a hardware encoder free; ask with encoder %q to have the picture encoded by the CPU",
				free, q.className(), Any)
		}
		if free < s.total-s.used {
			return fmt.Sprintf("%d of %d sessions of class %s", r.used+held, r.total, q.className())
		}
	}
	used := s.total - q.free
	if pending := s.ledger.held(); pending > 0 {
		return fmt.Sprintf("%d of %d sessions, with %d reserved since its last record", used, s.total, pending)
	}
	return fmt.Sprintf("%d of %d sessions", used, s.total)
}
