package placement

import (
	"encoding/json"
	"testing"

	"easel/pkg/cluster"
)

// What browsers report is checked, remembered and decided on; whatever it is, every node gets a total that orders.
func FuzzPings(f *testing.F) {
	f.Add(`{"n0":12.5,"n1":3}`, "198.51.100.7")
	f.Add(`{"n0":1e-9,"x":10000}`, "2001:db8::1%eth0")
	f.Add(`{"n0":-1}`, "")
	nodes := world(20)
	router := NewRouter(RouterOptions{Config: Defaults(), Members: static(nodes)})
	clients := NewClients(paris{}, nil)
	f.Fuzz(func(t *testing.T, report, address string) {
		req := Request{User: "ada", Key: "1"}
		if json.Unmarshal([]byte(report), &req.Pings) != nil || CheckPings(req.Pings) != nil {
			return
		}
		clients.Complete(&req, address)
		for _, e := range explained(router, req) {
			for _, s := range e.Scores {
				if !(s.Value >= 0 && s.Value <= 1) {
					t.Errorf("%s: %s is %v", e.Node, s.Name, s.Value)
				}
			}
		}
		if best := router.Route(&req, 1); len(best) != 1 {
			t.Errorf("%d candidates", len(best))
		}
	})
}

// Records come from the network: one that lies may win, but no decision fails by it.
func FuzzCapacity(f *testing.F) {
	f.Add(8, 3, float32(0.5), "gimp", "ready", 2, float32(48), float32(2), "shared", 1)
	f.Add(-1, 1<<30, float32(-7), "", "", -5, float32(91), float32(1e30), "", -1)
	f.Fuzz(func(t *testing.T, total, used int, load float32, image, kind string, warm int, latitude, longitude float32, class string, free int) {
		n := node("a", total, used, at(latitude, longitude), busy(load))
		n.Capacity.Classes = []cluster.Room{{Class: class, Total: total, Used: used, Encoders: free}, {Class: "none", Total: free, Used: used}}
		n.Capacity.GPUs = []cluster.GPU{{Model: kind, Count: total, Unhealthy: used, Encoder: true}}
		n.Capacity.Warm = []cluster.Warm{{Image: image, Kind: kind, Count: warm}}
		r := NewRouter(RouterOptions{Config: Defaults(), Members: static{n, node("b", 8, 1)}})
		req := Request{Image: image, Class: class, Place: cluster.Place{Latitude: longitude, Longitude: latitude}}
		if got := r.Route(&req, maxCandidates); len(got) > 2 {
			t.Errorf("%d candidates of two nodes", len(got))
		}
		got := explained(r, req)
		if len(got) != 2 {
			t.Errorf("%d nodes explained", len(got))
		}
		for _, e := range got {
			for _, s := range e.Scores {
				if !(s.Value >= 0 && s.Value <= 1) {
					t.Errorf("%s: %s is %v", e.Node, s.Name, s.Value)
				}
			}
		}
		for _, c := range r.Choices("ada", "user") {
			if c.Free < 0 || c.Total < 0 {
				t.Errorf("a choice is %+v", c)
			}
		}
	})
}
