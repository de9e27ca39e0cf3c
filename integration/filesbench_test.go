package integration

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"easel/integration/browser"
	easelv1 "easel/pkg/api/easel/v1"
)

// BenchmarkLargeFile drops a file of 2 GiB on the picture in Chromium and downloads it again, and tells what memory every process on its way takes for
// that: `go test -run '^$' -bench LargeFile -benchtime 1x ./integration`. It wants 2 GiB of disk for the home, and as much in EASEL_BENCH_DIR for the download.
func BenchmarkLargeFile(b *testing.B) {
	const size = 2 << 30
	w := get(b)
	downloads, err := os.MkdirTemp(os.Getenv("EASEL_BENCH_DIR"), "easel-large-")
	must(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(downloads) })
	must(b, w.chrome.DownloadsTo(downloads))
	s := w.session(b)
	p := w.view(b, s.ID, "", browser.PageOptions{Width: 1280, Height: 800})
	in := w.inspect(b, s.ID)
	source := filepath.Join(b.TempDir(), "large.bin")
	for b.Loop() {
		name := "large " + tag() + ".bin"
		b.Cleanup(func() { _ = os.Remove(homeOf(in, name)) })
		must(b, os.WriteFile(source, nil, 0o600))
		must(b, os.Truncate(source, size)) // it has no blocks: reading it costs no disk
		dropped := filepath.Join(filepath.Dir(source), name)
		must(b, os.Rename(source, dropped))

		up := watchMemory(b, w, in)
		must(b, p.Drop(600, 400, dropped))
		eventually(b, 9*time.Minute, "the file is in the home", func() error { return hasBytes(homeOf(in, name), size) })
		up.tell(b, "up", size)
		must(b, os.Remove(dropped))

		must(b, p.Do("document.querySelector('#files').click()"))
		must(b, p.Until(30*time.Second, fmt.Sprintf("document.querySelector('#files-list bdi')?.textContent === %q", name)))
		down := watchMemory(b, w, in)
		must(b, p.Do("document.querySelector('#files-list li button').click(); document.querySelector('#files-close').click()"))
		eventually(b, 9*time.Minute, "the file is downloaded", func() error { return hasBytes(filepath.Join(downloads, name), size) })
		down.tell(b, "down", size)
		must(b, os.Remove(filepath.Join(downloads, name)))
		must(b, os.Remove(homeOf(in, name)))
	}
}

func hasBytes(path string, size int64) error {
	at, err := os.Stat(path)
	if err == nil && at.Size() != size {
		err = fmt.Errorf("it has %d bytes of %d", at.Size(), size)
	}
	return err
}

// memoryWatch is what processes held when it began, by role, in kB.
type memoryWatch struct {
	began  time.Time
	pids   map[string][]int
	before map[string]footprint
}

// footprint is a process's own memory: resident now and at most, and its share of what several hold.
type footprint struct{ rss, most, pss int }

// watchMemory begins to watch what is on the way of a file, and forgets what it has held at most before.
func watchMemory(b *testing.B, w *world, in *easelv1.Session) *memoryWatch {
	b.Helper()
	m := &memoryWatch{pids: browserProcesses(b), before: map[string]footprint{}}
	m.pids["noded"] = []int{w.stack.Noded.PID()}
	m.pids["streamer"] = []int{int(in.GetPids().GetStreamer())}
	m.pids["file server"] = []int{fileServer(b, int(in.GetPids().GetGimp()))}
	for role, pids := range m.pids {
		for _, pid := range pids {
			must(b, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)) // proc(5): the peak is the present
		}
		m.before[role] = heldBy(b, pids)
	}
	m.began = time.Now()
	return m
}

// tell says what was held since then.
func (m *memoryWatch) tell(b *testing.B, way string, size int) {
	b.Helper()
	took := time.Since(m.began)
	b.ReportMetric(float64(size)/(1<<20)/took.Seconds(), way+"-MiB/s")
	for _, role := range slices.Sorted(maps.Keys(m.pids)) {
		before, now := m.before[role], heldBy(b, m.pids[role])
		b.Logf("%s, %s: %.1f MB before, %.1f at most, %.1f after; PSS %.1f before, %.1f after", way, role,
			mb(before.rss), mb(now.most), mb(now.rss), mb(before.pss), mb(now.pss))
		b.ReportMetric(mb(now.most-before.rss), way+"-"+strings.ReplaceAll(role, " ", "-")+"-MB-more")
	}
}

func mb(kB int) float64 { return float64(kB) * 1024 / 1e6 }

// heldBy adds up what processes hold.
func heldBy(b *testing.B, pids []int) (all footprint) {
	b.Helper()
	for _, pid := range pids {
		all.rss += kBOf(b, pid, "status", "VmRSS:")
		all.most += kBOf(b, pid, "status", "VmHWM:")
		all.pss += kBOf(b, pid, "smaps_rollup", "Pss:")
	}
	return all
}

// kBOf is a figure of a process's, in kB.
func kBOf(b *testing.B, pid int, file, name string) int {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	must(b, err)
	_, rest, _ := strings.Cut(string(text), "\n"+name)
	n, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	must(b, err)
	return n
}

// fileServer is the process that serves the home of the session whose GIMP is given.
func fileServer(b *testing.B, gimp int) int {
	b.Helper()
	namespace := func(pid string) string {
		at, _ := os.Readlink("/proc/" + pid + "/ns/pid")
		return at
	}
	for pid, args := range processes() {
		if len(args) > 1 && args[1] == "files" && namespace(pid) == namespace(strconv.Itoa(gimp)) {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	b.Fatal("the session has no file server")
	return 0
}

// browserProcesses are those of the browsers that this process has started, by what they do.
func browserProcesses(b *testing.B) map[string][]int {
	b.Helper()
	roles := map[string][]int{}
	for pid, args := range processes() {
		n, _ := strconv.Atoi(pid)
		if len(args) == 0 || !strings.Contains(args[0], "chromium") || !descends(n) {
			continue
		}
		role := "browser"
		for _, a := range args {
			if kind, ok := strings.CutPrefix(a, "--type="); ok {
				role = kind
			}
		}
		switch role {
		case "browser", "renderer", "utility": // the network is a utility
			roles["Chromium's "+role] = append(roles["Chromium's "+role], n)
		}
	}
	return roles
}

// descends tells whether a process comes from this one.
func descends(pid int) bool {
	for pid > 1 && pid != os.Getpid() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			return false
		}
	}
	return pid == os.Getpid()
}

// processes are this machine's, with their arguments.
func processes() map[string][]string {
	all := map[string][]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, at := range files {
		if line, err := os.ReadFile(at); err == nil {
			all[filepath.Base(filepath.Dir(at))] = strings.FieldsFunc(string(line), func(r rune) bool { return r == 0 || r == ' ' }) // Chromium writes its children's anew
		}
	}
	return all
}
