package webhook

import (
	"fmt"
	"time"

	"easel/pkg/cluster"
)

// Kinds of calls.
const (
	ScaleUp   = "scale_up"
	ScaleDown = "scale_down"
)

// Figures is the room that the cluster has.
type Figures struct {
	Nodes   int `json:"nodes"`   // in the view
	Serving int `json:"serving"` // of them, that take sessions
	Total   int `json:"total"`   // sessions that those can hold
	Used    int `json:"used"`
	Free    int `json:"free"`
	// Encoders is how many of the free ones have a card's encoder; of a hook for a class with a GPU.
	Encoders int `json:"encoders"`
	Warm     int `json:"warm"` // started before they are asked for
}

// NodeFigures is the room of one node: a receiver that scales down chooses by it which to drain.
type NodeFigures struct {
	Name     string `json:"name"`
	Total    int    `json:"total"`
	Used     int    `json:"used"`
	Draining bool   `json:"draining"`
	Full     string `json:"full,omitempty"`
}

// figuresOf counts the room for a class, "" for all. What a node that takes no sessions has free counts for nothing.
func figuresOf(nodes []cluster.Node, class string) (f Figures, each []NodeFigures) {
	for _, n := range nodes {
		room := roomOf(n.Capacity, class)
		each = append(each, NodeFigures{Name: n.Meta.Name, Total: room.Total, Used: room.Used, Draining: n.Capacity.Draining, Full: n.Capacity.Full})
		f.Nodes++
		if n.Capacity.Draining {
			continue
		}
		f.Serving++
		f.Total += room.Total
		f.Used += room.Used
		if n.Capacity.Full == "" { // a class has no more room than the node
			slots := max(0, n.Capacity.Total-n.Capacity.Used)
			f.Free += min(room.Free(), slots)
			f.Encoders += min(room.Encoders, slots)
		}
		for _, w := range n.Capacity.Warm {
			if class == "" || w.Class == class {
				f.Warm += w.Count
			}
		}
	}
	return f, each
}

func roomOf(c cluster.Capacity, class string) cluster.Room {
	if class == "" {
		return cluster.Room{Total: c.Total, Used: c.Used}
	}
	for _, r := range c.Classes {
		if r.Class == class {
			return r
		}
	}
	return cluster.Room{}
}

// judge watches one hook's conditions. Each must hold for its time before it calls, and calls again only after
// Repeat: room that comes and goes within these makes no noise.
type judge struct {
	hook       Hook
	upSince    time.Time // since when the condition holds; zero when it does not
	downSince  time.Time
	last       string // the kind of the last call, "" when the room has been right since
	lastCalled time.Time
}

// call is what a judge decides to tell.
type call struct{ kind, reason string }

// look returns what to tell now; nil for nothing.
func (j *judge) look(f Figures, now time.Time) *call {
	up := j.hook.ScaleUp.FreeBelow > 0 && f.Free < j.hook.ScaleUp.FreeBelow
	down := j.hook.ScaleDown.FreeAbove > 0 && f.Free > j.hook.ScaleDown.FreeAbove
	j.upSince, j.downSince = since(j.upSince, up, now), since(j.downSince, down, now)
	switch {
	case up && now.Sub(j.upSince) >= j.hook.ScaleUp.For && j.due(ScaleUp, now):
		return j.tell(ScaleUp, fmt.Sprintf("%d sessions are free, fewer than %d, for %s", f.Free, j.hook.ScaleUp.FreeBelow, now.Sub(j.upSince).Round(time.Second)), now)
	case down && now.Sub(j.downSince) >= j.hook.ScaleDown.For && j.due(ScaleDown, now):
		return j.tell(ScaleDown, fmt.Sprintf("%d sessions are free, more than %d, for %s", f.Free, j.hook.ScaleDown.FreeAbove, now.Sub(j.downSince).Round(time.Second)), now)
	}
	return nil
}

func since(before time.Time, holds bool, now time.Time) time.Time {
	switch {
	case !holds:
		return time.Time{}
	case before.IsZero():
		return now
	}
	return before
}

// due keeps calls of one kind Repeat apart; the other kind may follow as soon as its condition has held.
func (j *judge) due(kind string, now time.Time) bool {
	return j.last != kind || now.Sub(j.lastCalled) >= j.hook.Repeat
}

func (j *judge) tell(kind, reason string, now time.Time) *call {
	j.last, j.lastCalled = kind, now
	return &call{kind, reason}
}
