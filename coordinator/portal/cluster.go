package portal

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"easel/coordinator/api"
	"easel/coordinator/auth"
	"easel/coordinator/events"
	"easel/coordinator/placement"
	easelv1 "easel/pkg/api/easel/v1"
)

// Bounds of what the cluster's page shows.
const (
	shownEvents   = 40
	shownSessions = 200
)

// clusterData is the cluster at a glance.
type clusterData struct {
	Places   []placeData
	Total    totals
	Classes  []api.Room // with a GPU, over all nodes
	Sessions []api.Session
	More     int // sessions that are not shown
	Silent   []string
	Events   []events.Event
}

// placeData is the nodes of one region and zone.
type placeData struct {
	Name  string
	Nodes []nodeData
}

type nodeData struct {
	api.Node
	Sessions int // that people have there
	Lost     int // of them, given up
}

type totals struct {
	Nodes, Serving, Used, Room, Warm, WarmWanted, Sessions, Connected, LostSessions, Cards, Unhealthy int
}

// clusterPage is for operators: nodes, sessions, warm pools and what happened of late.
func (p *Portal) clusterPage(w http.ResponseWriter, r *http.Request) error {
	who, err := p.administrator(r)
	if err != nil {
		return err
	}
	data, err := p.clusterNow(r.Context(), who)
	if err != nil {
		return err
	}
	return p.show(w, http.StatusOK, "cluster", page{Title: "Cluster", Who: who, At: "cluster", Data: data})
}

// clusterFragment is the part of it that the script keeps fresh.
func (p *Portal) clusterFragment(w http.ResponseWriter, r *http.Request) error {
	who, err := p.administrator(r)
	if err != nil {
		return p.refuseFragment(w, err)
	}
	data, err := p.clusterNow(r.Context(), who)
	if err != nil {
		return err
	}
	return p.freshPart(w, r, "cluster", "cluster", data)
}

// refuseFragment tells the script, which follows no redirect, that nobody is signed in.
func (p *Portal) refuseFragment(w http.ResponseWriter, err error) error {
	if err == errNoPage {
		return err
	}
	w.Header().Set("WWW-Authenticate", "Cookie")
	http.Error(w, "sign in", http.StatusUnauthorized)
	return nil
}

// freshPart answers with a part of a page, or that it is as the browser has it.
func (p *Portal) freshPart(w http.ResponseWriter, r *http.Request, name, part string, data any) error {
	var out bytes.Buffer
	if err := p.pages[name].ExecuteTemplate(&out, part, data); err != nil {
		return err
	}
	sum := sha256.Sum256(out.Bytes())
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", "private, no-cache")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the browser may be gone: nothing is left to tell it
	return nil
}

func (p *Portal) clusterNow(ctx context.Context, who auth.Who) (clusterData, error) {
	list, err := p.Backend.ListSessions(ctx, who, true, false)
	if err != nil {
		return clusterData{}, err
	}
	d := clusterData{Sessions: list.Sessions, Silent: list.Unreachable, Events: p.Backend.RecentEvents(shownEvents)}
	d.count(p.Backend.ListNodes(ctx))
	if len(d.Sessions) > shownSessions {
		d.More = len(d.Sessions) - shownSessions
		d.Sessions = d.Sessions[:shownSessions]
	}
	return d, nil
}

// count puts the nodes where they stand and adds all up.
func (d *clusterData) count(nodes []api.Node) {
	sessions, lost := map[string]int{}, map[string]int{}
	for _, s := range d.Sessions {
		d.Total.Sessions++
		sessions[s.Node]++
		switch s.State {
		case "lost":
			lost[s.Node]++
			d.Total.LostSessions++
		case "connected":
			d.Total.Connected++
		}
	}
	places := map[string]*placeData{}
	for _, n := range nodes {
		name := strings.Trim(n.Region+" · "+n.Zone, " ·")
		if places[name] == nil {
			places[name] = &placeData{Name: name}
		}
		places[name].Nodes = append(places[name].Nodes, nodeData{Node: n, Sessions: sessions[n.Name], Lost: lost[n.Name]})
		d.Total.Nodes++
		d.Total.Used += n.Used
		d.Total.Room += n.Total
		if n.Reachable && !n.Draining {
			d.Total.Serving++
		}
		d.addGPUs(n)
		for _, pool := range n.Pools {
			d.Total.Warm += pool.Warm
			d.Total.WarmWanted += pool.Want
		}
	}
	for _, place := range places {
		d.Places = append(d.Places, *place)
	}
	slices.SortFunc(d.Places, func(a, b placeData) int { return cmp.Compare(a.Name, b.Name) })
}

// addGPUs counts a node's cards and the room of its classes with one.
func (d *clusterData) addGPUs(n api.Node) {
	for _, c := range n.Cards {
		d.Total.Cards += c.Count
		d.Total.Unhealthy += c.Unhealthy
	}
	for _, r := range n.Classes {
		if r.Class == placement.ClassNone {
			continue
		}
		i, found := slices.BinarySearchFunc(d.Classes, r.Class, func(have api.Room, class string) int { return cmp.Compare(have.Class, class) })
		if !found {
			d.Classes = slices.Insert(d.Classes, i, api.Room{Class: r.Class})
		}
		d.Classes[i].Total += r.Total
		d.Classes[i].Used += r.Used
		d.Classes[i].Encoders += r.Encoders
	}
}

// Standing is how the node is, in one word that the style knows.
func (n nodeData) Standing() string {
	switch {
	case n.Node.Lost:
		return "lost"
	case !n.Reachable:
		return "silent"
	case n.Duty == "draining", n.Duty == "cordoned":
		return n.Duty
	case n.Isolated:
		return "isolated"
	case n.Draining:
		return "refusing"
	case n.Full != "":
		return "full"
	}
	return "serving"
}

// setDuty answers the buttons of a node.
func (p *Portal) setDuty(duty easelv1.Duty) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := p.administrator(r)
		if err != nil {
			return err
		}
		req := api.DutyRequest{Reason: strings.TrimSpace(r.PostFormValue("reason"))}
		if _, err := p.Backend.SetDuty(r.Context(), who, r.PathValue("name"), duty, req); err != nil {
			return err
		}
		http.Redirect(w, r, "/admin/cluster", http.StatusSeeOther)
		return nil
	}
}
