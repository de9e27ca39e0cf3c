package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/noded/proof"
	"easel/noded/stream/contract"
)

// host is a machine in memory: containers, streamers and mounts that outlive a manager, as the real ones
// outlive noded.
type host struct {
	t   *testing.T
	run string

	encoders encoders

	mu       sync.Mutex
	nextPID  int
	boxes    map[string]*box
	procs    map[Worker]*proc
	mounts   map[string]string // target → user
	profiles map[string]bool   // users who have one
	healths  map[string]contract.Health
	notices  map[string]contract.Notice
	policies map[string]contract.Policy
	spoken   chan struct{} // closed when a health changes
	image    bool
	memory   int64
	disk     int64
	busy     map[uint16]bool
	oom      bool
	hangs    bool // containerd does
	mute     bool // streamers start and never get ready
	failing  map[string]error
	began    map[string]int // how often each kind of thing was made
	streamed []WorkerSpec
	graphics
}

type box struct {
	c       Container
	pid     int
	home    string // user whose home is in it
	awake   bool
	running bool
	code    uint32
	ended   chan struct{}
}

type proc struct {
	cgroup string
	ended  chan struct{}
}

func newHost(t *testing.T) *host {
	return &host{
		t: t, run: t.TempDir(), nextPID: 100, boxes: map[string]*box{}, procs: map[Worker]*proc{}, mounts: map[string]string{}, profiles: map[string]bool{},
		healths: map[string]contract.Health{}, spoken: make(chan struct{}), image: true, memory: 64 << 30, disk: 100 << 30,
		busy: map[uint16]bool{}, notices: map[string]contract.Notice{}, policies: map[string]contract.Policy{}, failing: map[string]error{}, began: map[string]int{}, graphics: newGraphics(),
	}
}

func (h *host) doing(what string) error {
	h.began[what]++
	return h.failing[what]
}

// times is how often a kind of thing was made.
func (h *host) times(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.began[what]
}

func (h *host) PrepareDirs(_ context.Context, c Container) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("dirs"); err != nil {
		return err
	}
	if err := os.MkdirAll(c.RunDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(c.RunDir+"/xauthority", xauthority("MIT-MAGIC-COOKIE-1", "0123456789abcdef"), 0o600)
}

func xauthority(name, data string) []byte {
	out := []byte{0xff, 0xff}
	for _, field := range []string{"", "0", name, data} {
		out = binary.BigEndian.AppendUint16(out, uint16(len(field)))
		out = append(out, field...)
	}
	return out
}

func (h *host) RemoveDirs(_ context.Context, runDir string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for target := range h.mounts {
		if filepath.Dir(target) == runDir {
			h.t.Errorf("%s was removed while a home was mounted in it", runDir)
		}
	}
	return os.RemoveAll(runDir)
}

func (h *host) Create(_ context.Context, c Container) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("container"); err != nil {
		return err
	}
	h.expectDevices(c)
	if h.boxes[c.ID] == nil {
		h.boxes[c.ID] = &box{c: c, ended: make(chan struct{})}
	}
	return nil
}

func (h *host) Start(_ context.Context, c Container) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("task"); err != nil {
		return 0, err
	}
	b := h.boxes[c.ID]
	switch {
	case b == nil:
		return 0, errors.New("no such container")
	case h.mounts[c.Home] == "" && c.Warmth == Cold:
		return 0, errors.New("its home is not mounted")
	case !b.running && b.pid == 0:
		h.nextPID++
		b.pid, b.running = h.nextPID, true
	}
	return b.pid, nil
}

func (h *host) AttachHome(_ context.Context, c Container) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("attach"); err != nil {
		return err
	}
	b := h.boxes[c.ID]
	switch {
	case b == nil || !b.running:
		return errors.New("the container does not run")
	case h.mounts[c.Home] == "":
		return errors.New("the home is not mounted on the host")
	case b.home != "" && b.home != h.mounts[c.Home]:
		h.t.Errorf("%s's home came into %s's container", h.mounts[c.Home], b.home)
	}
	b.home = h.mounts[c.Home]
	return nil
}

func (h *host) Wake(_ context.Context, id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("wake"); err != nil {
		return err
	}
	b := h.boxes[id]
	switch {
	case b == nil || !b.running:
		return errors.New("the container does not run")
	case b.home == "":
		h.t.Error("a container was woken before its home was in it")
	}
	b.awake = true
	dir := filepath.Join(h.run, "s", id, "worker")
	if health, ok := h.healths[dir]; ok {
		h.healths[dir] = h.healthOf(id, health.Seq+1)
		h.spoke()
	}
	return nil
}

// healthOf is what a streamer tells of a container in which all is well.
func (h *host) healthOf(id string, seq uint64) contract.Health {
	health := contract.Health{Seq: seq, Ready: true, XPID: 5, GIMP: contract.GIMP{State: contract.Running, PID: 7, WindowMS: 1}}
	health.Services = map[string]contract.Service{"xorg": {State: contract.Running, PID: 5}, "gimp": {State: contract.Running, PID: 7}}
	if b := h.boxes[id]; h.mute || b != nil && b.c.Warmth == WarmDesktop && !b.awake {
		health.Ready, health.GIMP = false, contract.GIMP{State: contract.Starting}
		health.Services["gimp"] = contract.Service{State: contract.Starting}
	}
	return health
}

func (h *host) HasProfile(user string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.profiles[user], h.failing["profile"]
}

func (h *host) running(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.boxes[id] != nil && h.boxes[id].running
}

func (h *host) Wait(ctx context.Context, id string) (<-chan Exit, error) {
	h.mu.Lock()
	b := h.boxes[id]
	gone, oom := b == nil || b.pid == 0, h.oom
	h.mu.Unlock()
	out := make(chan Exit, 1)
	if gone {
		out <- Exit{Gone: true}
		return out, nil
	}
	go func() {
		defer close(out)
		select {
		case <-b.ended:
			out <- Exit{Code: b.code, OOM: oom}
		case <-ctx.Done():
		}
	}()
	return out, nil
}

// die ends a container's first process.
func (h *host) die(id string, code uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.boxes[id]; b != nil && b.running {
		b.running, b.code = false, code
		close(b.ended)
	}
}

func (h *host) Remove(_ context.Context, id string, _ time.Duration) error {
	h.die(id, 137)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing["remove"]; err != nil {
		return err
	}
	delete(h.boxes, id)
	return nil
}

// hang has containerd answer nothing, as one that was stopped by SIGSTOP, or answer again.
func (h *host) hang(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hangs = is
}

// answers returns when containerd does, or with ctx's error.
func (h *host) answers(ctx context.Context) error {
	for {
		h.mu.Lock()
		hangs := h.hangs
		h.mu.Unlock()
		if !hangs {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (h *host) List(ctx context.Context) ([]string, error) {
	if err := h.answers(ctx); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.boxes)), h.failing["list"]
}

func (h *host) Image(ctx context.Context, _ string) (string, bool, error) {
	if err := h.answers(ctx); err != nil {
		return "", false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return "sha256:0", h.image, h.failing["image"]
}

func (h *host) Processes(id, _ string) (map[int]int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.boxes[id]
	if b == nil {
		return nil, errors.New("no such container")
	}
	return map[int]int{1: b.pid, 5: b.pid + 5, 7: b.pid + 7}, nil
}

func (h *host) OutOfMemory(ctx context.Context, _ string) (bool, error) {
	if err := h.answers(ctx); err != nil {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.oom, nil
}

func (h *host) Usage(string) (Usage, error) { return Usage{Memory: 100 << 20, CPU: 1}, nil }

func (h *host) Cgroups() ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for _, p := range h.procs {
		ids = append(ids, filepath.Base(filepath.Dir(p.cgroup)))
	}
	return ids, nil
}

func (h *host) RemoveCgroup(ctx context.Context, cgroup string) error {
	return h.KillWorker(ctx, cgroup, Worker{})
}

func (h *host) StartWorker(_ context.Context, spec WorkerSpec) (Worker, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("streamer"); err != nil {
		return Worker{}, err
	}
	if b := h.boxes[spec.ID]; b != nil && !b.running {
		return Worker{}, errors.New("no such process") // whose IPC namespace it would join
	} else if b != nil && spec.CPUSet != b.c.Limits.CPUSet {
		h.t.Errorf("a streamer on processors %q beside a container on %q", spec.CPUSet, b.c.Limits.CPUSet)
	}
	for _, p := range h.procs {
		if p.cgroup == spec.Cgroup {
			h.t.Errorf("two streamers in %s", spec.Cgroup)
		}
	}
	h.nextPID++
	w := Worker{PID: h.nextPID, Start: uint64(h.nextPID)}
	h.procs[w] = &proc{cgroup: spec.Cgroup, ended: make(chan struct{})}
	h.streamed = append(h.streamed, spec)
	dir := filepath.Join(h.run, "s", spec.ID, "worker")
	h.healths[dir] = h.healthOf(spec.ID, 2)
	delete(h.notices, dir) // a new streamer knows nothing
	delete(h.policies, dir)
	h.spoke()
	return w, nil
}

func (h *host) WorkerAlive(w Worker) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.procs[w] != nil
}

func (h *host) WaitWorker(ctx context.Context, w Worker) error {
	h.mu.Lock()
	p := h.procs[w]
	h.mu.Unlock()
	if p == nil {
		return nil
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *host) KillWorker(_ context.Context, cgroup string, _ Worker) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w, p := range h.procs {
		if strings.HasPrefix(p.cgroup+"/", cgroup+"/") {
			close(p.ended)
			delete(h.procs, w)
		}
	}
	return nil
}

func (h *host) Open(_ context.Context, user, target string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("home"); err != nil {
		return err
	}
	h.mounts[target] = user
	h.profiles[user] = true
	return nil
}

func (h *host) Close(_ context.Context, user, target string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mounts[target] == user {
		delete(h.mounts, target)
	}
	return nil
}

func (h *host) Sweep(_ context.Context, keep func(string) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for target := range h.mounts {
		if !keep(target) {
			delete(h.mounts, target)
		}
	}
	return nil
}

func (h *host) spoke() {
	close(h.spoken)
	h.spoken = make(chan struct{})
}

// say changes what a session's streamer tells of it.
func (h *host) say(id string, change func(*contract.Health)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	dir := filepath.Join(h.run, "s", id, "worker")
	health, ok := h.healths[dir]
	if !ok {
		h.t.Errorf("session %s has no streamer", id)
		return
	}
	change(&health)
	health.Seq++
	h.healths[dir] = health
	h.spoke()
}

func (h *host) Watch(ctx context.Context, dir string, after uint64) (contract.Health, error) {
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	for {
		h.mu.Lock()
		health, spoken := h.healths[dir], h.spoken
		h.mu.Unlock()
		if health.Seq > after {
			return health, nil
		}
		select {
		case <-spoken:
		case <-ctx.Done():
			return contract.Health{}, ctx.Err()
		case <-timer.C:
			if health.Seq == 0 {
				return contract.Health{}, errors.New("no streamer")
			}
			return health, nil
		}
	}
}

func (h *host) Notify(_ context.Context, dir string, n contract.Notice) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("notice"); err != nil {
		return err
	}
	h.notices[dir] = n
	return nil
}

func (h *host) SetPolicy(_ context.Context, dir string, p contract.Policy) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("policy"); err != nil {
		return err
	}
	h.policies[dir] = p
	return nil
}

// policy is what a session's streamer was told last.
func (h *host) policy(id string) contract.Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.policies[filepath.Join(h.run, "s", id, "worker")]
}

// notice is what a session's artist was told last.
func (h *host) notice(id string) contract.Notice {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.notices[filepath.Join(h.run, "s", id, "worker")]
}

func (h *host) MemAvailable() (int64, error) { return h.memory, nil }
func (h *host) DiskFree() (int64, error)     { return h.disk, nil }
func (h *host) PortFree(port uint16) bool    { return !h.busy[port] }

// leftovers names everything on the host.
func (h *host) leftovers() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var left []string
	for id := range h.boxes {
		left = append(left, "container "+id)
	}
	for _, p := range h.procs {
		left = append(left, "process in "+p.cgroup)
	}
	for target := range h.mounts {
		left = append(left, "mount "+target)
	}
	for id := range h.prepared {
		left = append(left, "devices of "+id)
	}
	dirs, _ := filepath.Glob(h.run + "/s/*")
	return append(left, dirs...)
}

// encoders are proven but for those that failed.
type encoders struct {
	mu     sync.Mutex
	failed map[string][]contract.FailedEncoder // by card
}

func (e *encoders) Failed(_ context.Context, card string) []contract.FailedEncoder {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed[card]
}

func (e *encoders) Proofs() []proof.Proof {
	return []proof.Proof{{ProbedFormat: contract.ProbedFormat{Format: "h264", Encoder: "x264 (software)", Decoder: "libavcodec", PSNR: 40, Worst: 2, MS: 5}}}
}

func (e *encoders) Troubles() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for card, failed := range e.failed {
		out = append(out, fmt.Sprintf("encoders: %d of %q failed", len(failed), card))
	}
	return out
}
