package packages_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// buildDeadline bounds making the fresh root: a download of some 50 MB.
const buildDeadline = 10 * time.Minute

// freshRoot unpacks a Debian that has systemd and what the packages depend on, and nothing of Easel. Its tar is cached by
// what it is made of.
func freshRoot(t *testing.T, depends []string) string {
	t.Helper()
	cache := os.Getenv("EASEL_CACHE")
	if cache == "" {
		cache = "/var/cache/easel"
	}
	sources := aptSources(t)
	include := strings.Join(append([]string{"systemd"}, depends...), ",")
	key := sha256.New()
	fmt.Fprintln(key, suite(t), include)
	for _, s := range sources {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		key.Write(text)
	}
	tar := filepath.Join(cache, "package-roots", fmt.Sprintf("%x.tar", key.Sum(nil)[:12]))
	if _, err := os.Stat(tar); errors.Is(err, fs.ErrNotExist) {
		makeRoot(t, tar, include, sources)
	}
	root, err := os.MkdirTemp("", "easel-packages-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	command(t, "tar", "--extract", "--file", tar, "--directory", root, "--exclude", "./dev/*", "--numeric-owner")
	// The maintainer scripts write to it; a device node would need more than a test should have.
	if err := os.WriteFile(filepath.Join(root, "dev", "null"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "dev", "urandom"), []byte(strings.Repeat("not a device, ", 10)), 0o444); err != nil {
		t.Fatal(err)
	}
	return root
}

func makeRoot(t *testing.T, tar, include string, sources []string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(tar), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildDeadline)
	defer cancel()
	began := time.Now()
	half := tar + ".half.tar"
	args := append([]string{"--variant=minbase", "--include=" + include, suite(t), half}, sources...)
	out, err := exec.CommandContext(ctx, "mmdebstrap", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("make a fresh Debian root: %v\n%s", err, out)
	}
	if err := os.Rename(half, tar); err != nil {
		t.Fatal(err)
	}
	t.Logf("made %s in %s", tar, time.Since(began).Round(time.Second))
}

// aptSources are the files that say where this machine has its packages from: the root has them from there too.
func aptSources(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Size() > 0 {
				found = append(found, f)
			}
		}
	}
	if len(found) == 0 {
		t.Fatal("this machine has no apt sources in /etc/apt, so no fresh root can be made")
	}
	return found
}

func suite(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("/etc/os-release names no suite")
	}
	return string(m[1])
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	// A chroot's programs are where Debian has them, and its maintainer scripts ask nothing.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tree lists every path below root with type, mode and owner, less what dpkg and systemd-analyze keep and write for themselves.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	own := []string{"/var/lib/dpkg", "/var/log", "/var/cache/ldconfig", "/var/cache/debconf", "/dev", "/run/systemd"}
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if slices.Contains(own, name) {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found[name] = describe(info)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
