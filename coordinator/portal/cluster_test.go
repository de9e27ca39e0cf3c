package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

func TestClusterPageShowsNodesPoolsSessionsAndEvents(t *testing.T) {
	s := start(t)
	s.node.Tell(func(c *cluster.Capacity) {
		c.Used, c.Load = 3, cluster.Load{CPUs: 16, CPU: .25, MemoryTotal: 64 << 30, MemoryFree: 32 << 30}
	})
	s.as("ada").post("/sessions", url.Values{"key": {"k"}})
	root := s.as("root")
	root.want(root.get("/admin/cluster"), http.StatusOK,
		"node-a", "3 of 8", "Warm, ready", "1 of 2", "25 %", "32.0 GiB", "ada", `data-fragment="/fragment/cluster"`, `data-state="serving"`, "Nothing since")
	p := root.get("/fragment/cluster")
	root.want(p, http.StatusOK, "node-a")
	if strings.Contains(p.text, "<html") {
		t.Error("the fragment is a whole page")
	}
	root.want(root.get("/fragment/cluster", "If-None-Match", p.Header.Get("ETag")), http.StatusNotModified)

	root.wantRedirect(root.post("/admin/nodes/node-a/drain", nil), "/admin/cluster")
	if o := s.node.Order(); o.GetDuty() != easelv1.Duty_DUTY_DRAINING || time.Until(o.GetDeadline().AsTime()) < 29*time.Minute {
		t.Fatalf("the node was told %v", o)
	}
	root.want(root.get("/admin/cluster"), http.StatusOK, `data-state="draining"`, "drained by root", "Take sessions again")
	root.wantRedirect(root.post("/admin/nodes/node-a/uncordon", nil), "/admin/cluster")
	root.want(root.get("/admin/cluster"), http.StatusOK, `data-state="serving"`, "set to serve by root")

	s.view.lost.Store(true)
	s.node.Break(1000)
	s.view.ahead.Store(int64(time.Minute))
	root.want(root.get("/admin/cluster"), http.StatusOK, `data-state="lost"`, "1 session is lost", "has not been heard of")
}

// TestArtistReadsTheNoticeInTheList: who has no viewer open learns of a drain here.
func TestArtistReadsTheNoticeInTheList(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	id := strings.Split(ada.post("/sessions", url.Values{"key": {"k"}}).leadsTo(), "/")[2]
	s.node.SetNotice(id, "Save your work: a new <kernel>", time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC))
	ada.want(ada.get("/"), http.StatusOK, "Save your work: a new &lt;kernel&gt;", "2 Jan 2026, 03:04 UTC")
}

func TestClusterPageIsForAdministrators(t *testing.T) {
	s := start(t)
	ada, stranger := s.as("ada"), s.stranger()
	for _, path := range []string{"/admin/cluster", "/fragment/cluster"} {
		ada.want(ada.get(path), http.StatusNotFound)
	}
	stranger.want(stranger.get("/fragment/cluster"), http.StatusUnauthorized)
	for _, duty := range []string{"drain", "cordon", "uncordon"} {
		ada.want(ada.post("/admin/nodes/node-a/"+duty, nil), http.StatusNotFound)
		root := s.as("root")
		root.want(root.post("/admin/nodes/node-a/"+duty, nil, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
		root.want(root.post("/admin/nodes/nowhere/"+duty, nil), http.StatusNotFound)
	}
	if s.node.Order() != nil {
		t.Error("somebody else set a node's duty")
	}
}
