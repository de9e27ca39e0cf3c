// Package packages_test installs the Debian packages that `make packages` builds into a fresh Debian, as an operator would,
// looks at every file, and takes them away again.
package packages_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"easel/noded/runtime"
	"easel/noded/stream/contract"
)

const checkout = "../.."

// build makes the packages and returns their paths: node, coordinator.
func build(t *testing.T) (node, coordinator string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test installs packages into a root of its own: run it as root (sudo make integration)")
	}
	cmd := []string{"-u", "MAKEFLAGS", "-u", "MAKELEVEL", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "make", "-C", checkout, "packages"}
	command(t, "env", cmd...)
	for name, into := range map[string]*string{"easel-node": &node, "easel-coordinator": &coordinator} {
		found, err := filepath.Glob(filepath.Join(checkout, "out", name+"_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("make packages left %v for %s, %v", found, name, err)
		}
		*into = found[0]
	}
	return node, coordinator
}

// dependencies are the names of what the packages depend on.
func dependencies(t *testing.T, debs ...string) []string {
	t.Helper()
	var names []string
	for _, deb := range debs {
		for _, d := range strings.Split(command(t, "dpkg-deb", "--field", deb, "Depends"), ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(d), " ")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestPackagesInstallRunVerifyAndPurgeWithoutLeftovers(t *testing.T) {
	node, coordinator := build(t)
	root := freshRoot(t, dependencies(t, node, coordinator))
	before := tree(t, root)
	for _, deb := range []string{node, coordinator} {
		command(t, "cp", deb, filepath.Join(root, filepath.Base(deb)))
	}
	install := func() {
		command(t, "chroot", root, "dpkg", "--install", "/"+filepath.Base(node), "/"+filepath.Base(coordinator))
	}
	install()

	t.Run("files, users and modes", func(t *testing.T) { checkFiles(t, root) })
	t.Run("binaries find their libraries and run", func(t *testing.T) { checkBinaries(t, root) })
	t.Run("root founds a cluster that the daemon's user can read", func(t *testing.T) { checkInit(t, root) })
	t.Run("units are well formed", func(t *testing.T) { checkUnits(t, root) })
	t.Run("installing again keeps the configuration", func(t *testing.T) {
		config := filepath.Join(root, "etc/easel/noded.yaml")
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		changed := append(text, "# the operator's own line\n"...)
		if err := os.WriteFile(config, changed, 0o640); err != nil {
			t.Fatal(err)
		}
		install()
		if got := read(t, root, "etc/easel/noded.yaml"); got != string(changed) {
			t.Error("the operator's configuration was overwritten")
		}
	})
	t.Run("removal keeps data, purge leaves nothing", func(t *testing.T) {
		// Data as the daemons would leave it.
		for path, text := range map[string]string{"var/lib/easel/noded/noded.db": "x", "var/lib/easel/noded/homes/u.img": "x", "var/lib/easel/containerd/meta.db": "x", "var/lib/easel/coordinator/signing.key": "x", "var/cache/easel/image/x": "x"} {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		command(t, "chroot", root, "dpkg", "--remove", "easel-node", "easel-coordinator")
		for _, kept := range []string{"etc/easel/noded.yaml", "var/lib/easel/noded/homes/u.img", "var/lib/easel/coordinator/signing.key"} {
			read(t, root, kept)
		}
		command(t, "chroot", root, "dpkg", "--purge", "easel-node", "easel-coordinator")
		for _, deb := range []string{node, coordinator} {
			if err := os.Remove(filepath.Join(root, filepath.Base(deb))); err != nil {
				t.Fatal(err)
			}
		}
		compareTrees(t, before, tree(t, root))
		for _, list := range []string{"etc/passwd", "etc/group"} {
			if strings.Contains(read(t, root, list), "easel") {
				t.Errorf("%s still names a user of Easel", list)
			}
		}
	})
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compareTrees reports what is left or lost. Backups of /etc/passwd and its like are the system's own.
func compareTrees(t *testing.T, before, after map[string]string) {
	t.Helper()
	backup := regexp.MustCompile(`^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|^/etc/\.pwd\.lock$`)
	for _, path := range slices.Sorted(maps.Keys(after)) {
		if _, was := before[path]; !was && !backup.MatchString(path) {
			t.Errorf("left behind: %s %s", after[path], path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if _, is := after[path]; !is && !backup.MatchString(path) {
			t.Errorf("lost: %s", path)
		}
	}
}

// coordinatorIDs are the uid and gid that the installation gave the coordinator's user.
func coordinatorIDs(t *testing.T, root string) (uid, gid string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^easel-coordinator:[^:]*:(\d+):(\d+):.*:/var/lib/easel/coordinator:/usr/sbin/nologin$`).FindStringSubmatch(read(t, root, "etc/passwd"))
	if m == nil {
		t.Fatalf("no user easel-coordinator without a shell in\n%s", read(t, root, "etc/passwd"))
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n == 0 || n >= 1000 {
		t.Errorf("the coordinator's uid is %s, want a system user's", m[1])
	}
	return m[1], m[2]
}

func checkFiles(t *testing.T, root string) {
	uid, gid := coordinatorIDs(t, root)
	want := map[string]string{
		"/etc/easel/noded.yaml":                             "-rw-r----- 0:0",
		"/etc/easel/containerd.toml":                        "-rw-r--r-- 0:0",
		"/etc/easel/coordinator.yaml":                       "-rw-r----- 0:" + gid,
		"/var/lib/easel/noded":                              "drwx------ 0:0",
		"/var/lib/easel/containerd":                         "drwx--x--x 0:0",
		"/var/lib/easel/coordinator":                        "drwx------ " + uid + ":" + gid,
		"/usr/sbin/noded":                                   "Lrwxrwxrwx 0:0",
		"/usr/sbin/coordinator":                             "Lrwxrwxrwx 0:0",
		"/usr/lib/systemd/system/easel.slice":               "-rw-r--r-- 0:0",
		"/usr/lib/systemd/system/easel-containerd.service":  "-rw-r--r-- 0:0",
		"/usr/lib/systemd/system/easel-noded.service":       "-rw-r--r-- 0:0",
		"/usr/lib/systemd/system/easel-drain.service":       "-rw-r--r-- 0:0",
		"/usr/lib/systemd/system/easel-coordinator.service": "-rw-r--r-- 0:0",
		"/usr/lib/sysusers.d/easel-coordinator.conf":        "-rw-r--r-- 0:0",
		"/usr/lib/tmpfiles.d/easel-coordinator.conf":        "-rw-r--r-- 0:0",
		"/usr/lib/tmpfiles.d/easel-node.conf":               "-rw-r--r-- 0:0",
		"/usr/share/doc/easel-node/copyright":               "-rw-r--r-- 0:0",
		"/usr/share/doc/easel-node/operators.md":            "-rw-r--r-- 0:0",
		"/usr/share/doc/easel-coordinator/copyright":        "-rw-r--r-- 0:0",
		"/usr/share/doc/easel-coordinator/operators.md":     "-rw-r--r-- 0:0",
	}
	for _, program := range []string{"noded", "streamer", "sessionlog", "easel-init", "coordinator", "containerd", "containerd-shim-runc-v2", "runc"} {
		want["/usr/lib/easel/"+program] = "-rwxr-xr-x 0:0"
	}
	found := tree(t, root)
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got := found[path]; got != want[path] {
			t.Errorf("%s is %q, want %q", path, got, want[path])
		}
	}
	for path, got := range found {
		if strings.HasPrefix(path, "/usr/lib/easel/") && want[path] == "" {
			t.Errorf("%s (%s) is installed, and this list does not know it", path, got)
		}
		if strings.Contains(path, "easel") && (strings.HasPrefix(got, "u") || strings.HasPrefix(got, "g")) {
			t.Errorf("%s is setuid or setgid: %s", path, got)
		}
	}
}

func checkBinaries(t *testing.T, root string) {
	for _, run := range [][]string{
		{"/usr/sbin/noded", "version"},
		{"/usr/sbin/coordinator", "version"},
		{"/usr/lib/easel/containerd", "--version"},
		{"/usr/lib/easel/runc", "--version"},
	} {
		out := command(t, "chroot", append([]string{root}, run...)...)
		if strings.TrimSpace(out) == "" {
			t.Errorf("%v says nothing", run)
		}
	}
	// Encodes and decodes pictures with the libraries that the package's dependencies brought.
	probed, err := contract.ReadProbed([]byte(command(t, "chroot", root, "/usr/lib/easel/streamer", "probe")))
	if err != nil || !probed.OK || len(probed.Formats) != len(contract.SoftwareFormats()) {
		t.Fatalf("the streamer says %+v (%v)", probed, err)
	}
	for _, f := range probed.Formats {
		if f.Error != "" || f.Unseen != "" || f.Decoder == "" {
			t.Errorf("an encoder of the package is not proven: %+v", f)
		}
	}
}

// checkInit does what the operator does first, as root: the daemon, which is another user, must be able to go on from there.
func checkInit(t *testing.T, root string) {
	uid, gid := coordinatorIDs(t, root)
	command(t, "chroot", root, "/usr/sbin/coordinator", "init")
	if token := command(t, "chroot", root, "/usr/sbin/coordinator", "token", "--role", "node"); !strings.Contains(token, "easel-join-1.") {
		t.Errorf("token says %q", token)
	}
	found := tree(t, root)
	for path, mode := range map[string]string{"identity": "drwx------ ", "identity/member.pem": "-rw------- ", "identity/trust.json": "-rw------- ", "coordinator.db": "-rw------- ", "signing.key": "-rw------- "} {
		if got, want := found["/var/lib/easel/coordinator/"+path], mode+uid+":"+gid; got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

func checkUnits(t *testing.T, root string) {
	units := []string{"easel.slice", "easel-containerd.service", "easel-noded.service", "easel-drain.service", "easel-coordinator.service"}
	args := []string{root, "systemd-analyze", "verify", "--man=no"}
	for _, u := range units {
		args = append(args, "/usr/lib/systemd/system/"+u)
	}
	if out := command(t, "chroot", args...); strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
	for unit, settings := range map[string][]string{
		// What the life of sessions and streams through a restart hangs on.
		"easel-containerd.service": {"KillMode=process", "Delegate=yes", "Type=notify", "RuntimeDirectoryPreserve=yes", "Slice=easel.slice"},
		"easel-noded.service":      {"KillMode=process", "Delegate=yes", "Type=notify", "WatchdogSec=30", "RuntimeDirectoryPreserve=yes", "Slice=easel.slice"},
		// Started and stopped with the host, before noded is stopped.
		"easel-drain.service": {"Type=oneshot", "RemainAfterExit=yes", "After=easel-noded.service easel-containerd.service network-online.target"},
		"easel-coordinator.service": {
			"Type=notify", "WatchdogSec=30", "User=easel-coordinator", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes",
		},
	} {
		text := read(t, root, "usr/lib/systemd/system/"+unit)
		for _, s := range settings {
			if !strings.Contains(text, "\n"+s+"\n") {
				t.Errorf("%s lacks %s", unit, s)
			}
		}
	}
	if m := regexp.MustCompile(`(?m)^(PartOf|BindsTo|Requires|Requisite)=`).FindString(read(t, root, "usr/lib/systemd/system/easel-drain.service")); m != "" {
		t.Errorf("easel-drain.service sets %s, so a restart of another unit could end sessions", m)
	}
	// Mounts of their own would hide running sessions' roots and homes from each other's next start.
	for _, unit := range []string{"easel-containerd.service", "easel-noded.service"} {
		text := read(t, root, "usr/lib/systemd/system/"+unit)
		if m := regexp.MustCompile(`(?m)^(Private(Tmp|Devices|Mounts)|Protect\w+|ReadWritePaths|ReadOnlyPaths|InaccessiblePaths|RootDirectory|BindPaths|TemporaryFileSystem)=`).FindString(text); m != "" {
			t.Errorf("%s sets %s, which gives the daemon mounts of its own", unit, m)
		}
	}
}

// The packaged containerd.toml is what the runtime would write, for the packaged paths.
func TestPackagedContainerdConfigIsTheRuntimes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(checkout, "packaging/containerd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	want := runtime.ContainerdConfig("/var/lib/easel/containerd", "/run/easel/containerd", "/run/easel/containerd/containerd.sock")
	if !strings.HasSuffix(string(text), want) {
		t.Errorf("packaging/containerd.toml does not end in what runtime.ContainerdConfig gives:\n%s", want)
	}
}
