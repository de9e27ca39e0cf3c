package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"easel/coordinator/nodetest"
	"easel/pkg/cluster"
)

// withGPUs gives the node an H100 in parts, which cannot encode, and an L40S that two share.
func (s *site) withGPUs() {
	s.node.SetSlices(nodetest.Slice{ID: "MIG-1", Class: "1g.10gb"}, nodetest.Slice{ID: "GPU-2#1", Class: "shared", Encoder: true}, nodetest.Slice{ID: "GPU-2#2", Class: "shared", Encoder: true})
	s.node.Tell(func(c *cluster.Capacity) {
		c.Classes = []cluster.Room{{Class: "none", Total: 8}, {Class: "1g.10gb", Total: 1}, {Class: "shared", Total: 3, Used: 1, Encoders: 2}}
		c.GPUs = []cluster.GPU{{Model: "NVIDIA H100 80GB HBM3", Count: 1}, {Model: "NVIDIA L40S", Count: 2, Unhealthy: 1, Encoder: true}}
	})
}

func TestArtistChoosesTheClass(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	if p := ada.get("/"); strings.Contains(p.text, "<select") {
		t.Error("a choice is offered where there is none")
	}
	s.withGPUs()
	p := ada.get("/")
	ada.want(p, http.StatusOK, `<option value="none">No GPU (8 free)</option>`, `<option value="shared hardware">Shared GPU (2 free)</option>`,
		`<option value="1g.10gb any">GPU part 1g.10gb, picture by the processor (1 free)</option>`, "no video encoder to give")
	if got := p.Header.Get("Content-Security-Policy"); !strings.Contains(got, "connect-src 'self' "+s.node.URL+";") {
		t.Errorf("the page may reach %s", got)
	}
	for _, tt := range []struct{ key, choice, gpu string }{
		{"a", "shared hardware", "GPU-2#1"}, {"b", "1g.10gb any", "MIG-1"}, {"c", "none", ""}, {"d", "", ""},
	} {
		ada.post("/sessions", url.Values{"key": {tt.key}, "class": {tt.choice}})
		for _, have := range s.node.Sessions() {
			if have.GetKey() == "portal-"+tt.key && have.GetGpu() != tt.gpu {
				t.Errorf("%q gave %q, want %q", tt.choice, have.GetGpu(), tt.gpu)
			}
		}
	}
	if n := s.node.Living(); n != 4 {
		t.Errorf("%d sessions live, want 4", n)
	}
	ada.want(ada.get("/"), http.StatusOK, "· Shared GPU", "· GPU part 1g.10gb")
	bob := s.as("bob")
	bob.want(bob.post("/sessions", url.Values{"class": {"1g.10gb"}}), http.StatusServiceUnavailable, "1g.10gb") // hardware is the default
	bob.want(bob.post("/sessions", url.Values{"class": {"shared software"}}), http.StatusBadRequest, "hardware")
	bob.want(bob.post("/sessions", url.Values{"class": {"whole any"}}), http.StatusServiceUnavailable, "no sessions of class")
}

// TestTheOnlyClassIsAskedFor: who may have one class alone need not choose, and is not asked to have none.
func TestTheOnlyClassIsAskedFor(t *testing.T) {
	s := start(t)
	s.node.Tell(func(c *cluster.Capacity) { c.Classes = []cluster.Room{{Class: "shared", Total: 2, Encoders: 2}} })
	ada := s.as("ada")
	ada.want(ada.get("/"), http.StatusOK, `<input type="hidden" name="class" value="shared hardware">`)
}

// TestLostSessionKeepsItsChoice: who took the processor's picture is not refused it when the node is lost.
func TestLostSessionKeepsItsChoice(t *testing.T) {
	s := start(t)
	s.withGPUs()
	ada := s.as("ada")
	open := strings.TrimSuffix(ada.post("/sessions", url.Values{"key": {"k"}, "class": {"1g.10gb any"}}).leadsTo(), "ing")
	s.view.lost.Store(true)
	s.node.Break(1000)
	ada.get(open)
	s.view.ahead.Store(int64(time.Minute))
	ada.want(ada.get(open), http.StatusOK, "machine is lost")
	other := nodetest.Start(t, "node-b", s.cluster)
	other.SetSlices(nodetest.Slice{ID: "MIG-9", Class: "1g.10gb"})
	other.Tell(func(c *cluster.Capacity) {
		c.Classes = []cluster.Room{{Class: "none", Total: 8}, {Class: "1g.10gb", Total: 1}}
		c.GPUs = []cluster.GPU{{Model: "NVIDIA H100 80GB HBM3", Count: 1}}
	})
	s.view.Members = nodetest.Members{other}
	s.view.lost.Store(false)
	ada.post(strings.TrimSuffix(open, "open")+"again", nil)
	if got := other.Sessions(); len(got) != 1 || got[0].GetGpu() != "MIG-9" {
		t.Errorf("placed again: %v", got)
	}
}

func TestClusterPageShowsCardsAndClasses(t *testing.T) {
	s := start(t)
	s.withGPUs()
	root := s.as("root")
	root.want(root.get("/admin/cluster"), http.StatusOK, "NVIDIA H100 80GB HBM3", "no encoder", "NVIDIA L40S", "1 unhealthy", "2 free with encoder",
		"Graphics cards", "GPU part 1g.10gb", "1 of 3")
}
