package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// worker starts the guest as c's worker, listening in the worker directory.
func worker(t *testing.T, r *Runtime, c Container, initPID int) (WorkerSpec, Worker) {
	t.Helper()
	spec := WorkerSpec{
		ID: c.ID, Path: shared.path("guest"), Args: []string{"worker"},
		UID: c.UIDBase + workerUID, GID: c.UIDBase + workerUID,
		Cgroup: c.Cgroup + "/streamer", IPCPID: initPID,
		Config:  []byte(filepath.Join(c.RunDir, "worker/streamer.sock") + "\n"),
		LogPath: shared.path("logs/" + c.ID + ".worker"),
		Limits:  Limits{Memory: 128 << 20, CPUs: 1, PIDs: 64, CPUSet: c.Limits.CPUSet},
	}
	w, err := r.StartWorker(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.KillWorker(context.Background(), spec.Cgroup, w); err != nil {
			t.Error(err)
		}
		if r.WorkerAlive(w) {
			t.Error("the worker lives on")
		}
	})
	return spec, w
}

func askWorker(t *testing.T, c Container, order string, answer any) {
	t.Helper()
	if err := order1(t.Context(), filepath.Join(c.RunDir, "worker"), "streamer.sock", order, answer); err != nil {
		log, _ := os.ReadFile(shared.path("logs/" + c.ID + ".worker"))
		t.Fatalf("asking the worker %q: %v\n%s", order, err, log)
	}
}

func TestWorkerIsUnprivilegedAndInTheContainersIPC(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	_, w := worker(t, r, c, pid)
	var inside, f guestFacts
	tell(t, c, "facts", &inside)
	askWorker(t, c, "facts", &f)
	uid := strings.Repeat("\t"+fmt.Sprint(c.UIDBase+workerUID), 4)[1:]
	for key, value := range map[string]string{
		"Uid": uid, "Gid": uid, "Groups": "", "NoNewPrivs": "1", "Seccomp": "2",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
	} {
		if f.Status[key] != value {
			t.Errorf("%s is %q, want %q", key, f.Status[key], value)
		}
	}
	if f.IPC != inside.IPC || f.IPC == "" {
		t.Errorf("IPC namespace %s, the container's is %s", f.IPC, inside.IPC)
	}
	if own, _ := os.Readlink("/proc/self/ns/ipc"); own == f.IPC {
		t.Error("it is the host's IPC namespace")
	}
	if f.PID != w.PID || f.SID != w.PID {
		t.Errorf("pid %d, session %d, want %d for both", f.PID, f.SID, w.PID)
	}
	if in, err := r.groups.Has(c.Cgroup+"/streamer", w.PID); !in || err != nil {
		t.Errorf("not in its control group: %v", err)
	}
	for _, env := range f.Env {
		if !strings.HasPrefix(env, "PATH=") && !strings.HasPrefix(env, "LANG=") {
			t.Errorf("has %s in its environment", env)
		}
	}
	for _, limit := range []string{"Max core file size        0 ", "Max file size             67108864 ", "Max open files            1024 "} {
		if !strings.Contains(f.Limits, limit) {
			t.Errorf("limits lack %q:\n%s", limit, f.Limits)
		}
	}
	var made, found any
	tell(t, c, "shm make 77", &made)
	askWorker(t, c, "shm get 77", &found)
	if made != found {
		t.Errorf("shared memory %v in the container, %v in the worker", made, found)
	}
}

func TestWorkerCannotReachOthers(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	_, w := worker(t, r, c, pid)
	var calls map[string]string
	askWorker(t, c, "calls", &calls)
	for _, call := range []string{"unshare", "bpf", "userfaultfd", "io_uring", "keyctl", "perf", "ptrace", "mount", "open_tree", "setuid", "mknod"} {
		if answer := calls[call]; !strings.Contains(answer, "operation not permitted") {
			t.Errorf("%s: %q", call, answer)
		}
	}
	if calls["socket inet"] != "allowed" {
		t.Errorf("it cannot send its stream: %s", calls["socket inet"])
	}
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", w.PID))
	if err != nil || strings.TrimSpace(string(score)) != "400" {
		t.Errorf("oom_score_adj %q, %v", score, err)
	}
}

func TestWorkersEndIsSeen(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	_, w := worker(t, r, c, pid)
	if !r.WorkerAlive(w) || r.WorkerAlive(Worker{PID: w.PID, Start: w.Start + 1}) || r.WorkerAlive(Worker{}) {
		t.Error("a worker is told from another process by its start")
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.WaitWorker(short, w); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a live one: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.WaitWorker(t.Context(), w) }()
	askWorker(t, c, "exit 3", new(string))
	select {
	case err := <-ended:
		if err != nil || r.WorkerAlive(w) {
			t.Errorf("%v, alive %v", err, r.WorkerAlive(w))
		}
	case <-time.After(10 * time.Second):
		t.Fatal("its end is not seen")
	}
	if _, err := os.Stat("/proc/" + fmt.Sprint(w.PID)); err == nil {
		t.Error("it is a zombie")
	}
}

// A daemon that starts anew is not its workers' parent.
func TestEndOfAWorkerThatIsNotOurChildIsSeen(t *testing.T) {
	r := dial(t)
	out, err := exec.Command("sh", "-c", "setsid sleep 1 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for _, d := range strings.TrimSpace(string(out)) {
		pid = pid*10 + int(d-'0')
	}
	start, err := startTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.WaitWorker(ctx, Worker{PID: pid, Start: start}); err != nil {
		t.Error(err)
	}
}

func TestKillWorkerTakesStraysToo(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	spec, w := worker(t, r, c, pid)
	var got struct{ N int }
	askWorker(t, c, "fork", &got)
	if got.N == 0 || got.N > 64 {
		t.Errorf("%d children", got.N)
	}
	for range 2 { // unrecorded: all that is known is the group
		if err := r.KillWorker(t.Context(), spec.Cgroup, Worker{}); err != nil {
			t.Fatal(err)
		}
	}
	if r.WorkerAlive(w) {
		t.Error("it lives")
	}
	if names, err := r.groups.Children(c.Cgroup); err != nil || slices.Contains(names, "streamer") {
		t.Errorf("its group is there: %v, %v", names, err)
	}
}

// The daemon dies between the start of a worker and its configuration: the worker reads the end of the pipe and goes.
func TestWorkerWithoutConfigurationEnds(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	spec, _ := worker(t, r, c, pid)
	spec.Config = nil
	w, err := r.StartWorker(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.WaitWorker(ctx, w); err != nil {
		t.Error(err)
	}
}

func TestWorkerIsRefusedWithAReason(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	good, _ := worker(t, r, c, pid)
	cases := map[string]struct {
		change func(*WorkerSpec)
		says   string
	}{
		"no such program":         {func(s *WorkerSpec) { s.Path = "/absent/streamer" }, "/absent/streamer"},
		"another's process":       {func(s *WorkerSpec) { s.IPCPID = os.Getpid() }, "the container has ended"},
		"a process that is gone":  {func(s *WorkerSpec) { s.IPCPID = gonePID(t) }, "finding the container's init"},
		"a configuration too big": {func(s *WorkerSpec) { s.Config = make([]byte, maxConfig+1) }, "more than"},
		"a log that is a link":    {func(s *WorkerSpec) { s.LogPath = link(t, "/etc/passwd") }, "opening its log"},
	}
	for name, test := range cases {
		spec := good
		test.change(&spec)
		if w, err := r.StartWorker(t.Context(), spec); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || strings.Contains(string(text), shared.group) {
		t.Errorf("we are in a worker's group ourselves: %s %v", text, err)
	}
}

func gonePID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func link(t *testing.T, to string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
	return at
}

// What a started worker inherits would outlive us in it: nothing but its three streams.
func TestWorkerInheritsNoDescriptor(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	secret, err := os.Open("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	_, w := worker(t, r, c, pid)
	askWorker(t, c, "facts", new(any))
	ours := openFiles(t, os.Getpid())
	for _, file := range openFiles(t, w.PID) {
		own := file == "/dev/null" || strings.HasPrefix(file, "anon_inode:") || strings.HasPrefix(file, "/sys/fs/cgroup/")
		if !own && slices.Contains(ours, file) {
			t.Errorf("has our %s open", file)
		}
	}
}

func openFiles(t *testing.T, pid int) []string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			files = append(files, to)
		}
	}
	return files
}

// The threads that started workers are gone: one that stayed would hold a session's group and namespaces.
func TestStartingThreadsEnd(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	spec, _ := worker(t, r, c, pid)
	spec.Config = nil
	for range 8 {
		w, err := r.StartWorker(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.WaitWorker(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	own, err := os.Readlink("/proc/self/ns/ipc")
	if err != nil {
		t.Fatal(err)
	}
	strays := 0
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		strays = 0
		threads, _ := filepath.Glob("/proc/self/task/*/ns/ipc")
		for _, thread := range threads {
			if ns, err := os.Readlink(thread); err == nil && ns != own {
				strays++
			}
		}
		if strays == 0 {
			return
		}
	}
	t.Errorf("%d threads are still in the container's namespace", strays)
}

// starterEnv makes a child of this test program start one worker and die by SIGKILL, as a daemon may at any moment.
const starterEnv = "EASEL_RUNTIME_TEST_STARTER"

func TestWorkerOutlivesWhoStartedIt(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	spec, w := worker(t, r, c, pid)
	if err := r.KillWorker(t.Context(), spec.Cgroup, w); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.RunDir, "worker/streamer.sock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	starter := exec.Command(os.Args[0])
	starter.Env = append(os.Environ(), starterEnv+"="+string(asJSON(starterOrder{shared.socket(), shared.namespace(), spec})))
	out, err := starter.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Fatalf("the starter ended with %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &w); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	askWorker(t, c, "facts", new(any))
	if !r.WorkerAlive(w) {
		t.Error("it is not alive to who comes after")
	}
	if err := r.KillWorker(t.Context(), spec.Cgroup, w); err != nil {
		t.Error(err)
	}
}

type starterOrder struct {
	Socket, Namespace string
	Spec              WorkerSpec
}

// startAndDie is the child's whole life.
func startAndDie(order string) error {
	var o starterOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	r, err := Dial(context.Background(), Options{Address: o.Socket, Namespace: o.Namespace})
	if err != nil {
		return err
	}
	w, err := r.StartWorker(context.Background(), o.Spec)
	if err != nil {
		return err
	}
	fmt.Println(string(asJSON(w)))
	return unix.Kill(os.Getpid(), unix.SIGKILL)
}
