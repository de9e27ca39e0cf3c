package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"easel/noded/gpu"
)

// fakeHost is a machine where all is well, until a test breaks something.
type fakeHost struct {
	files        map[string]string
	programs     []string
	kernel       string
	overlay      error
	userns       error
	idmap        error
	loop         error
	containerd   string
	containerErr error
	listen       func(network, address string) error
	noded        bool
	notes        []string
	notesErr     error
	disk         uint64
	gpus         gpu.Inventory
	probe        string
	probeErr     error
	nvenc        string // what the probe of a card says
	probes       []string
	clock        bool
}

func (f *fakeHost) ReadFile(path string) ([]byte, error) {
	text, ok := f.files[path]
	if !ok {
		return nil, os.ErrNotExist
	}
	return []byte(text), nil
}

func (f *fakeHost) LookPath(name string) (string, error) {
	if slices.Contains(f.programs, name) {
		return "/sbin/" + name, nil
	}
	return "", errors.New("not found")
}
func (f *fakeHost) Kernel() (string, error)                        { return f.kernel, nil }
func (f *fakeHost) TryOverlay(context.Context, string) error       { return f.overlay }
func (f *fakeHost) TryUserNamespace(context.Context) error         { return f.userns }
func (f *fakeHost) TryIDMappedMount(context.Context, string) error { return f.idmap }
func (f *fakeHost) TryLoop(context.Context) error                  { return f.loop }
func (f *fakeHost) NodedAnswers(string) bool                       { return f.noded }
func (f *fakeHost) DiskFree(string) (uint64, error)                { return f.disk, nil }
func (f *fakeHost) GPUs(string) gpu.Inventory                      { return f.gpus }
func (f *fakeHost) ClockSynchronised() (bool, error)               { return f.clock, nil }
func (f *fakeHost) Listen(network, address string) error           { return f.listen(network, address) }

func (f *fakeHost) Containerd(context.Context, string) (string, error) {
	return f.containerd, f.containerErr
}

func (f *fakeHost) StreamerProbe(_ context.Context, _ string, args ...string) ([]byte, error) {
	f.probes = append(f.probes, strings.Join(args, " "))
	if len(args) > 0 {
		return []byte(f.nvenc), nil
	}
	return []byte(f.probe), f.probeErr
}

const v1Mounts = `30 1 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
31 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 1 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 1 0:30 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
`

func goodHost() *fakeHost {
	return &fakeHost{
		files: map[string]string{
			"/proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno log allow\n",
			"/sys/fs/cgroup/cgroup.controllers":      "cpuset cpu io memory pids\n",
			"/proc/filesystems":                      "nodev\tproc\n\text4\n",
			"/proc/sys/kernel/shmmax":                "18446744073692774399\n",
			"/proc/meminfo":                          "MemTotal:       33554432 kB\nMemAvailable:   16777216 kB\n",
		},
		programs: []string{"mkfs.ext4", "e2fsck"}, kernel: "6.1.0-25-amd64", containerd: "v2.4.2",
		listen: func(string, string) error { return nil }, disk: 100 << 30, gpus: gpu.Inventory{Absent: "no library"},
		probe: `{"kind":"x264","ok":true,"libraries":[],"formats":[{"format":"h264","encoder":"x264 (software)","ms":4.5,"decoder":"libavcodec"}]}`, clock: true,
		nvenc: `{"kind":"nvenc","ok":true,"libraries":[],"formats":[{"format":"h264","encoder":"NVENC (NVIDIA L40S)","ms":2.5,"decoder":"libavcodec"}]}`,
	}
}

func options(h *fakeHost) Options {
	return Options{
		Daemon:     func(context.Context) ([]string, error) { return h.notes, h.notesErr },
		Containerd: "/run/c.sock", Streamer: "/usr/lib/easel/streamer", Listen: []string{"127.0.0.1:8443"}, Gossip: "127.0.0.1:7946", Relay: []string{"127.0.0.1:3478"},
		MediaAddresses: []string{"127.0.0.1"}, MediaPorts: [2]int{50000, 50003}, StateDir: "/state", SessionMemory: 1 << 30, Host: h,
	}
}

func TestEachCheckFindsWhatItIsFor(t *testing.T) {
	broken := errors.New("operation not permitted")
	cases := []struct {
		name  string
		spoil func(*fakeHost)
		check string
		want  Status
		says  string
	}{
		{"old kernel", func(h *fakeHost) { h.kernel = "5.10.0-30-amd64" }, "kernel", Fail, "5.19"},
		{"kernel at the limit", func(h *fakeHost) { h.kernel = "5.19.0" }, "kernel", OK, ""},
		{"kernel with an odd name", func(h *fakeHost) { h.kernel = "custom" }, "kernel", Warn, "custom"},
		{"no overlayfs", func(h *fakeHost) { h.overlay = broken }, "overlayfs", Fail, "modprobe overlay"},
		{"no user namespaces", func(h *fakeHost) { h.userns = broken; h.files["/proc/sys/user/max_user_namespaces"] = "0\n" }, "user namespaces", Fail, "is 0"},
		{"no idmapped mounts", func(h *fakeHost) { h.idmap = broken }, "idmapped mounts", Fail, "ext4"},
		{"no seccomp", func(h *fakeHost) { delete(h.files, "/proc/sys/kernel/seccomp/actions_avail") }, "seccomp", Fail, "CONFIG_SECCOMP_FILTER"},
		{"cgroup v2 without io", func(h *fakeHost) { h.files["/sys/fs/cgroup/cgroup.controllers"] = "cpu memory pids" }, "cgroups", Fail, "io"},
		{"cgroup v1", func(h *fakeHost) { v1(h, v1Mounts) }, "cgroups", OK, "v1"},
		{"cgroup v1 without memory", func(h *fakeHost) { v1(h, strings.ReplaceAll(v1Mounts, "memory", "freezer")) }, "cgroups", Fail, "memory"},
		{"no loop devices", func(h *fakeHost) { h.loop = broken }, "loop devices", Fail, "modprobe loop"},
		{"no e2fsprogs", func(h *fakeHost) { h.programs = nil }, "home volumes", Fail, "apt-get install e2fsprogs"},
		{"ext4 not loaded", func(h *fakeHost) { h.files["/proc/filesystems"] = "xfs" }, "home volumes", Warn, "modprobe ext4"},
		{"little shared memory", func(h *fakeHost) { h.files["/proc/sys/kernel/shmmax"] = "33554432" }, "shared memory", Fail, "sysctl -w kernel.shmmax"},
		{"no containerd", func(h *fakeHost) { h.containerErr = broken }, "containerd", Fail, "systemctl start easel-containerd"},
		{"Debian 12's containerd", func(h *fakeHost) { h.containerd = "1.6.20~ds1" }, "containerd", Fail, "containerd.address"},
		{"a daemon that is well", func(h *fakeHost) { h.noded = true }, "daemon", OK, "takes sessions"},
		{"a daemon cut off", func(h *fakeHost) { h.noded, h.notes = true, []string{"no coordinator is in sight"} }, "daemon", Warn, "no coordinator is in sight"},
		{"a daemon that is stuck", func(h *fakeHost) { h.noded, h.notesErr = true, broken }, "daemon", Warn, "does not say"},
		{"port taken by a stranger", taken("tcp"), "ports", Fail, "ss -tulpn"},
		{"port taken by our noded", func(h *fakeHost) { taken("tcp")(h); h.noded = true }, "ports", OK, "noded that runs"},
		{"media ports all taken", taken("udp"), "media ports", Fail, "widen"},
		{"media address not ours", func(h *fakeHost) {
			h.listen = func(string, string) error {
				return &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
			}
		}, "media ports", Fail, "ip address"},
		{"most media ports taken", func(h *fakeHost) {
			h.listen = func(network, address string) error {
				if strings.HasSuffix(address, ":50003") {
					return nil
				}
				return syscall.EADDRINUSE
			}
		}, "media ports", Warn, "3 of 4"},
		{"disk full", func(h *fakeHost) { h.disk = 1 << 30 }, "disk", Fail, "1.0 GiB"},
		{"disk nearly full", func(h *fakeHost) { h.disk = 5 << 30 }, "disk", Warn, "5.0 GiB"},
		{"no room for one session", func(h *fakeHost) { h.files["/proc/meminfo"] = "MemAvailable: 524288 kB\n" }, "memory", Fail, "512 MiB"},
		{"room for two sessions", func(h *fakeHost) { h.files["/proc/meminfo"] = "MemAvailable: 2097152 kB\n" }, "memory", Warn, "only 2 sessions"},
		{"meminfo without the line", func(h *fakeHost) { h.files["/proc/meminfo"] = "" }, "memory", Warn, "MemAvailable"},
		{"no GPU library", func(*fakeHost) {}, "gpu", OK, "CPU node"},
		{"broken GPU driver", func(h *fakeHost) { h.gpus = gpu.Inventory{Absent: "Driver/library version mismatch", Broken: true} }, "gpu", Warn, "nvidia-smi"},
		{"a GPU", func(h *fakeHost) {
			h.gpus = gpu.Inventory{Driver: "570", Cards: []gpu.Card{{Model: "NVIDIA H200", Memory: 141 << 30}}}
		}, "gpu", OK, "H200, 141.0 GiB, has no encoder"},
		{"a GPU that encodes", func(h *fakeHost) {
			h.gpus = gpu.Inventory{Cards: []gpu.Card{{Model: "NVIDIA L40S", Engines: gpu.Engines{Encode: []string{"h264", "hevc"}}}}}
		}, "gpu", OK, "encodes h264, hevc"},
		{"a faulty GPU", func(h *fakeHost) {
			h.gpus = gpu.Inventory{Cards: []gpu.Card{{Model: "NVIDIA L40S", Index: 3, Faults: []gpu.Fault{{Code: "lost", Text: "it has fallen off the bus"}}}}}
		}, "gpu", Warn, "card 3 (): it has fallen off the bus"},
		{"codec that fails", func(h *fakeHost) {
			h.probe = `{"kind":"x264","ok":false,"formats":[],"libraries":[],"error":"no slices"}`
		}, "codecs", Fail, "no slices"},
		{"a card that encodes", func(h *fakeHost) {
			h.gpus = gpu.Inventory{Cards: []gpu.Card{{UUID: "GPU-1", Model: "NVIDIA L40S", Engines: gpu.Engines{Encode: []string{"h264"}}}}}
		}, "codecs", OK, "x264 (software): h264 4.5 ms; one picture by NVENC (NVIDIA L40S): h264 2.5 ms"},
		{"a card whose encoder fails", func(h *fakeHost) {
			h.gpus = gpu.Inventory{Cards: []gpu.Card{{UUID: "GPU-1", Index: 2, Engines: gpu.Engines{Encode: []string{"h264"}}}}}
			h.nvenc = `{"kind":"nvenc","ok":false,"formats":[],"libraries":[],"error":"start CUDA: no permission"}`
		}, "codecs", Warn, "probe --encoder nvenc --device GPU-1"},
		{"a codec of several that fails", func(h *fakeHost) {
			h.probe = `{"kind":"x264","ok":true,"libraries":[],"formats":[{"format":"h264","decoder":"libavcodec","ms":4},{"format":"vp9","error":"libvpx does not decode it"}]}`
		}, "codecs", Warn, "vp9: libvpx does not decode it"},
		{"no decoder", func(h *fakeHost) {
			h.probe = `{"kind":"x264","ok":true,"libraries":[],"formats":[{"format":"h264","ms":4,"unseen":"libavcodec.so.59: cannot open"},{"format":"vp9","decoder":"libvpx","ms":9.5}]}`
		}, "codecs", Warn, "vp9 9.5 ms; h264: libavcodec.so.59: cannot open"},
		{"probe that says rubbish", func(h *fakeHost) { h.probe = "Segmentation fault" }, "codecs", Fail, "no JSON"},
		{"no streamer", func(h *fakeHost) { h.probeErr = os.ErrNotExist }, "codecs", Fail, "--reinstall easel-node"},
		{"clock adrift", func(h *fakeHost) { h.clock = false }, "clock", Warn, "timesyncd"},
	}
	tested := map[string]bool{}
	for _, c := range cases {
		tested[c.check] = true
		t.Run(c.name, func(t *testing.T) {
			h := goodHost()
			c.spoil(h)
			for _, r := range Examine(t.Context(), options(h)) {
				text := r.Found + "\n" + r.Means + "\n" + r.Mend
				switch {
				case r.Name == c.check && r.Status != c.want:
					t.Errorf("%s is %s, want %s: %s", r.Name, r.Status, c.want, text)
				case r.Name == c.check && !strings.Contains(text, c.says):
					t.Errorf("%s says %q, want %q in it", r.Name, text, c.says)
				case r.Status == Fail && r.Mend == "":
					t.Errorf("%s fails and does not say how to mend it", r.Name)
				}
			}
		})
	}
	for _, c := range checks {
		if !tested[c.name] {
			t.Errorf("no case breaks the check %q", c.name)
		}
	}
}

func v1(h *fakeHost, mounts string) {
	delete(h.files, "/sys/fs/cgroup/cgroup.controllers")
	h.files["/proc/self/mountinfo"] = mounts
}

func taken(network string) func(*fakeHost) {
	return func(h *fakeHost) {
		h.listen = func(n, _ string) error {
			if n == network {
				return syscall.EADDRINUSE
			}
			return nil
		}
	}
}

func TestGoodHostHasNoWarning(t *testing.T) {
	var out bytes.Buffer
	good, err := Run(t.Context(), options(goodHost()), &out)
	if err != nil || !good {
		t.Errorf("ok = %v, err = %v\n%s", good, err, out.String())
	}
	if !strings.Contains(out.String(), "18 ok, 0 warnings, 0 failures") {
		t.Errorf("output:\n%s", out.String())
	}
}

func TestJSONSaysFailedAndWhy(t *testing.T) {
	h := goodHost()
	h.loop = errors.New("none")
	o := options(h)
	o.JSON = true
	var out bytes.Buffer
	good, err := Run(t.Context(), o, &out)
	if err != nil || good {
		t.Errorf("ok = %v, err = %v, want a failure", good, err)
	}
	var doc struct {
		OK     bool
		Checks []Result
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(doc.Checks, func(r Result) bool { return r.Name == "loop devices" })
	if doc.OK || len(doc.Checks) != len(checks) || i < 0 || doc.Checks[i].Mend == "" {
		t.Errorf("document: %s", out.String())
	}
}

// The tries themselves, on this machine: CI is a host that carries sessions, so each must succeed here and leave nothing.
func TestTriesSucceedOnAHostThatCarriesSessions(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces and mounts: run it as root (sudo make unit)")
	}
	dir := t.TempDir()
	for name, try := range map[string]func() error{
		"overlay":         func() error { return machine{}.TryOverlay(t.Context(), dir) },
		"user namespace":  func() error { return machine{}.TryUserNamespace(t.Context()) },
		"idmapped mount":  func() error { return machine{}.TryIDMappedMount(t.Context(), filepath.Join(dir, "not", "yet")) },
		"loop":            func() error { return machine{}.TryLoop(t.Context()) },
		"listen":          func() error { return machine{}.Listen("udp", "127.0.0.1:0") },
		"disk":            func() error { _, err := machine{}.DiskFree(filepath.Join(dir, "not", "yet")); return err },
		"clock":           func() error { _, err := machine{}.ClockSynchronised(); return err },
		"kernel's answer": func() error { _, err := machine{}.Kernel(); return err },
	} {
		if err := try(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left in %s: %v", dir, left)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left below %s", dir)
	}
}

// A card without an encoder is not even asked, nor one that is not well; one that is divided is asked by its first part.
func TestOnlyCardsThatEncodeAreProbed(t *testing.T) {
	h, encode := goodHost(), gpu.Engines{Encode: []string{"h264", "av1"}}
	mig := gpu.MIG{Capable: true, Enabled: true}
	h.gpus = gpu.Inventory{Cards: []gpu.Card{
		{UUID: "GPU-h100", Model: "NVIDIA H100"},
		{UUID: "GPU-sick", Engines: encode, Faults: []gpu.Fault{{Code: "xid"}}},
		{UUID: "GPU-empty", Engines: encode, MIG: mig},
		{UUID: "GPU-parts", Engines: encode, MIG: mig, Instances: []gpu.Instance{{UUID: "MIG-1"}, {UUID: "MIG-2"}}},
		{UUID: "GPU-l40s", Engines: encode},
	}}
	o := options(h)
	o.GPULibrary = "/opt/driver/libnvidia-ml.so.1"
	checkCodecs(t.Context(), h, o)
	want := []string{"", "--encoder nvenc --device MIG-1 --libraries /opt/driver", "--encoder nvenc --device GPU-l40s --libraries /opt/driver"}
	if !slices.Equal(h.probes, want) {
		t.Errorf("the probes were %q, want %q", h.probes, want)
	}
}

func TestListenOnATakenPortFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := (machine{}).Listen("tcp", l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("err = %v, want EADDRINUSE", err)
	}
}

func TestStreamerProbeKeepsTheAnswerOfAProbeThatFailed(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out, err := machine{}.StreamerProbe(t.Context(), script("says", `echo '{"ok":false}'; exit 1`))
	if err != nil || !strings.Contains(string(out), "false") {
		t.Errorf("out = %q, err = %v", out, err)
	}
	_, err = machine{}.StreamerProbe(t.Context(), script("dies", `echo "libx264.so.164: cannot open" >&2; exit 127`))
	if err == nil || !strings.Contains(err.Error(), "libx264") {
		t.Errorf("err = %v, want the library's name", err)
	}
}
