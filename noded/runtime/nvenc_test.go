package runtime

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/codec/nvenctest"
)

// The driver's user half runs in the confined worker: what it does to the process (address space, threads, files) must be let through. The double
// does what of it can be done without a card.
func TestConfinedWorkerEncodesByNVENC(t *testing.T) {
	r := dial(t)
	d := nvenctest.Build(t)
	d.OpenToAll()
	streamer := shared.path("streamer")
	if out, err := exec.Command("go", "build", "-o", streamer, "../cmd/streamer").CombinedOutput(); err != nil {
		t.Fatalf("build the streamer: %v\n%s", err, out)
	}
	c, pid := started(t, r, nil)
	log := shared.path("logs/" + c.ID + ".probe")
	spec := WorkerSpec{
		ID: c.ID, Path: streamer, Args: []string{"probe", "--encoder", "nvenc", "--device", nvenctest.MIG, "--libraries", d.Libraries},
		UID: c.UIDBase + workerUID, GID: c.UIDBase + workerUID, Cgroup: c.Cgroup + "/streamer", IPCPID: pid, LogPath: log,
		Limits: Limits{Memory: 1 << 30, CPUs: 2, PIDs: 256, CPUSet: c.Limits.CPUSet},
	}
	w, err := r.StartWorker(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.KillWorker(context.Background(), spec.Cgroup, w); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.WaitWorker(ctx, w); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	p, err := contract.ReadProbed(text)
	if err != nil || !p.OK || p.Formats[0].Encoder != "NVENC (Double of a MIG device)" || p.Formats[0].Decoder == "" {
		t.Errorf("the probe says %s (%v)", text, err)
	}
}
