package gpustream

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/artist"
	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	easelv1 "easel/pkg/api/easel/v1"
)

// The double of a driver has no OpenCL: GIMP is up without it, and the session says so. Container and streamer run on the card's own processor.
func TestSessionOfACardIsPinnedAndSaysThatItsOpenCLDoesNotWork(t *testing.T) {
	_, library := drivers(t)
	machine := nvmltest.NewMachine(t, nvmltest.A100())
	own := processors(t, os.Getpid())
	near := own[strings.LastIndexAny(own, ",-")+1:]
	machine.Card(0).Place(0, near)
	stack := start(t, machine, library)
	node := artist.Node(stack)
	r, err := node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "ada", Key: "k", Class: gpu.Whole, Encoder: "any"}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := artist.Await(t.Context(), node, r.Msg.GetSession().GetId(), time.Minute, easelv1.State_STATE_READY)
	if err != nil {
		t.Fatal(err)
	}
	for name, pid := range map[string]int32{"GIMP": s.GetPids().GetGimp(), "the streamer": s.GetPids().GetStreamer()} {
		if got := processors(t, int(pid)); got != near {
			t.Errorf("%s may run on processors %s, want %s", name, got, near)
		}
	}
	const why = "no gpu device"
	if !strings.HasPrefix(s.GetOpencl(), "off: ") || !strings.Contains(s.GetOpencl(), why) {
		t.Errorf("OpenCL is %q", s.GetOpencl())
	}
	if !slices.ContainsFunc(s.GetDegraded(), func(d string) bool { return strings.Contains(d, why) }) {
		t.Errorf("degraded is %q", s.GetDegraded())
	}
}

// processors are those that a process may run on.
func processors(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(status), "\nCpus_allowed_list:\t")
	list, _, _ = strings.Cut(list, "\n")
	return list
}
