package runtime

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

type guestFacts struct {
	Status   map[string]string
	UIDMap   string `json:"uid_map"`
	GIDMap   string `json:"gid_map"`
	Env      []string
	Links    map[string]string
	Mounts   string
	Limits   string
	IPC      string
	PID, SID int
	Devices  []string
	Writes   map[string]string
	Cookie   int
}

func TestContainerHasNoPrivileges(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	var f guestFacts
	tell(t, c, "facts", &f)

	want := map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2", "Groups": "",
		"Uid": "1000\t1000\t1000\t1000", "Gid": "1000\t1000\t1000\t1000",
	}
	for key, value := range want {
		if f.Status[key] != value {
			t.Errorf("%s is %q, want %q", key, f.Status[key], value)
		}
	}
	ids := fmt.Sprintf("0 %d 65536", c.UIDBase)
	if strings.Join(strings.Fields(f.UIDMap), " ") != ids || strings.Join(strings.Fields(f.GIDMap), " ") != ids {
		t.Errorf("uids %q, gids %q, want %q", f.UIDMap, f.GIDMap, ids)
	}
	if len(f.Links) != 1 || !strings.Contains(f.Links["lo"], "up") {
		t.Errorf("network interfaces %v, want lo alone, and up", f.Links)
	}
	if f.PID != 1 {
		t.Errorf("init's pid is %d", f.PID)
	}
	for _, env := range []string{"HOME=/home/artist", "EASEL_WIDTH=1280", "EASEL_HEIGHT=720", "LANG=C.UTF-8"} {
		if !slices.Contains(f.Env, env) {
			t.Errorf("environment lacks %s: %v", env, f.Env)
		}
	}
	if f.Cookie != 45 {
		t.Errorf("the X cookie file reads as %d bytes, want 45", f.Cookie)
	}
}

func TestContainerCannotCallWhatItDoesNotNeed(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	var f guestFacts
	tell(t, c, "facts", &f)
	var calls map[string]string
	tell(t, c, "calls", &calls)
	for call, answer := range calls {
		needed := call == "socket unix" || call == "socket inet"
		if needed != (answer == "allowed") {
			t.Errorf("%s: %s", call, answer)
		}
	}
	if len(calls) < 15 {
		t.Errorf("only %d calls were tried", len(calls))
	}
	allowed := []string{"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero", "core", "console"}
	for _, device := range f.Devices {
		if !slices.Contains(allowed, device) {
			t.Errorf("/dev/%s is in the container", device)
		}
	}
}

func TestContainerWritesWhereItMayOnly(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	var f guestFacts
	tell(t, c, "facts", &f)
	for dir, answer := range f.Writes {
		may := slices.Contains([]string{"/home/artist", "/tmp", "/run", "/dev/shm", "/run/easel/edge", "/tmp/.X11-unix"}, dir)
		if may != (answer == "ok") {
			t.Errorf("writing to %s: %s", dir, answer)
		}
	}
	for line := range strings.Lines(f.Mounts) {
		at := strings.Fields(line)
		options := strings.Split(at[3], ",")
		writable := slices.Contains(options, "rw") && !strings.HasPrefix(at[1], "/proc") && at[2] != "devtmpfs" // single device nodes
		if writable && !slices.Contains(options, "nosuid") {
			t.Errorf("%s is mounted %s", at[1], at[3])
		}
		if strings.Contains(line, "cgroup") {
			t.Errorf("control groups are mounted: %s", line)
		}
	}
}

// Whatever a container fills, it reaches an end, and the host's disk is not what ended it.
func TestContainerCannotFillWhatItWritesTo(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, func(c *Container) { c.Limits.Memory = 1 << 30 })
	for dir, limit := range map[string]int{"/tmp": 256 << 20, "/run": 16 << 20, "/run/easel/edge": 64 << 10, "/tmp/.X11-unix": 64 << 10, "/dev/shm": 512 << 20, "/home/artist": 512 << 20} {
		var got struct {
			N     int
			Error string
		}
		tell(t, c, "fill "+dir+"/big", &got)
		if got.N > limit || !strings.Contains(got.Error, "no space left") {
			t.Errorf("%s took %d bytes (limit %d): %s", dir, got.N, limit, got.Error)
		}
	}
	var got struct {
		N     int
		Error string
	}
	tell(t, c, "files /run/easel/edge", &got)
	if got.N > 64 || !strings.Contains(got.Error, "no space left") {
		t.Errorf("%d files in the edge directory: %s", got.N, got.Error)
	}
}

func TestForkBombIsBounded(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	var got struct {
		N     int
		Error string
	}
	tell(t, c, "fork", &got)
	if got.N >= int(c.Limits.PIDs) || !strings.Contains(got.Error, "temporarily unavailable") {
		t.Errorf("%d processes, then %q", got.N, got.Error)
	}
	inside, err := r.Processes(c.ID, c.Cgroup)
	if err != nil || len(inside) < got.N || inside[1] == 0 {
		t.Errorf("%d processes seen from the host, init %d, %v", len(inside), inside[1], err)
	}
	begin := time.Now()
	const grace = time.Minute
	if err := r.Remove(t.Context(), c.ID, grace); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > grace {
		t.Errorf("ending it took %v", took)
	}
}

func TestMemoryIsBoundedAndItsEndIsTold(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	var answer string
	tell(t, c, "memory", &answer)
	if !strings.Contains(answer, "killed") {
		t.Errorf("a child that ate memory ended with %q", answer)
	}
	status, err := r.Task(t.Context(), c.ID)
	if err != nil || !status.Running || !status.OOM {
		t.Errorf("after its child was killed: %+v, %v", status, err)
	}
	exits, err := r.Wait(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = order1(t.Context(), c.RunDir+"/edge", "init.sock", "eat", new(any)) }()
	if exit := ended(t, exits); exit.Code != 137 || !exit.OOM {
		t.Errorf("init that ate memory: %+v", exit)
	}
	memory, cpu, err := r.Usage(c.Cgroup)
	if err != nil || cpu == 0 {
		t.Errorf("usage %d bytes, %v s, %v", memory, cpu, err)
	}
}

func TestExitCodeIsTold(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	exits, err := r.Wait(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	tell(t, c, "exit 7", new(string))
	if exit := ended(t, exits); exit.Code != 7 || exit.OOM || exit.Gone {
		t.Errorf("%+v", exit)
	}
	if status, err := r.Task(t.Context(), c.ID); err != nil || status.Running || !status.Exists || status.ExitCode != 7 {
		t.Errorf("%+v, %v", status, err)
	}
	late, err := r.Wait(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if exit := ended(t, late); exit.Code != 7 {
		t.Errorf("asked afterwards: %+v", exit)
	}
}

func TestRemoveEndsWhatListensToTermAndWhatDoesNot(t *testing.T) {
	r := dial(t)
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			c, _ := started(t, r, nil)
			tell(t, c, "facts", new(any))
			if deaf {
				tell(t, c, "ignore-term", new(string))
			}
			grace := time.Minute
			if deaf {
				grace = time.Second
			}
			begin := time.Now()
			if err := r.Remove(t.Context(), c.ID, grace); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); deaf != (took >= grace) {
				t.Errorf("took %v", took)
			}
			if err := r.Remove(t.Context(), c.ID, grace); err != nil {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

func TestEverythingMayBeDoneTwice(t *testing.T) {
	r := dial(t)
	c := newSession(t, r, nil)
	cookie, err := os.ReadFile(c.RunDir + "/xauthority")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PrepareDirs(c); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(c.RunDir + "/xauthority"); err != nil || string(again) != string(cookie) {
		t.Errorf("the cookie changed: %v", err)
	}
	var pids [2]int
	for i := range pids {
		if err := r.CreateContainer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if pids[i], err = r.StartTask(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if pids[0] != pids[1] || pids[0] == 0 {
		t.Errorf("pids %v", pids)
	}
	ids, err := r.Sessions(t.Context())
	if err != nil || !slices.Equal(ids, []string{c.ID}) {
		t.Errorf("sessions %v, %v", ids, err)
	}
	tell(t, c, "exit 0", new(string))
	exits, err := r.Wait(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	ended(t, exits)
	if pid, err := r.StartTask(t.Context(), c); err != nil || pid == pids[0] {
		t.Errorf("started again after its end: pid %d, %v", pid, err)
	}
	for range 2 {
		if err := r.Remove(t.Context(), c.ID, 0); err != nil {
			t.Error(err)
		}
		if err := r.RemoveDirs(c.RunDir); err != nil {
			t.Error(err)
		}
	}
}

func TestAbsentSessionIsTold(t *testing.T) {
	r := dial(t)
	if status, err := r.Task(t.Context(), "sabsent"); err != nil || status.Exists || status.Running {
		t.Errorf("%+v, %v", status, err)
	}
	exits, err := r.Wait(t.Context(), "sabsent")
	if err != nil {
		t.Fatal(err)
	}
	if exit := ended(t, exits); !exit.Gone {
		t.Errorf("%+v", exit)
	}
	if _, ok, err := r.Image(t.Context(), "easel.local/absent:1"); ok || err != nil {
		t.Errorf("image: %v, %v", ok, err)
	}
	digest, ok, err := r.Image(t.Context(), testImage)
	if !ok || err != nil || !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(digest) {
		t.Errorf("image: %q, %v, %v", digest, ok, err)
	}
	c := newSession(t, r, func(c *Container) { c.Image = "easel.local/absent:1" })
	if err := r.CreateContainer(t.Context(), c); err == nil || !strings.Contains(err.Error(), "noded image build") {
		t.Errorf("an image that is absent: %v", err)
	}
}

// What is printed is kept in two files of a megabyte, however much it is.
func TestOutputIsKeptAndBounded(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	tell(t, c, "print 2000000", new(string))
	tell(t, c, "print 13", new(string))
	total := int64(0)
	for _, path := range []string{c.LogPath, c.LogPath + ".1"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total < 1<<20 || total > 2<<20 {
		t.Errorf("%d bytes kept", total)
	}
}

func TestCreateToStartIsQuick(t *testing.T) {
	r := dial(t)
	var best time.Duration = time.Hour
	for range 3 {
		c := newSession(t, r, nil)
		begin := time.Now()
		if err := r.CreateContainer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := r.StartTask(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		best = min(best, took)
		begin = time.Now()
		if err := r.Remove(t.Context(), c.ID, time.Second); err != nil {
			t.Fatal(err)
		}
		t.Logf("create and start %v, remove %v", took, time.Since(begin))
		if err := r.RemoveDirs(c.RunDir); err != nil {
			t.Fatal(err)
		}
	}
	if best > 3*time.Second {
		t.Errorf("the quickest of three took %v: the root is being chowned, or the machine is very busy", best)
	}
}
