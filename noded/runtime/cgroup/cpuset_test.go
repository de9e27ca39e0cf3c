package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListsOfProcessors(t *testing.T) {
	for in, want := range map[string]string{"0": "0", "0-3": "0-3", "3,1,2": "1-3", "0-1,4-7,9": "0-1,4-7,9", " 5 , 7": "5,7"} {
		set, err := parseCPUs(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		var cpus []int
		for n, in := range set {
			if in {
				cpus = append(cpus, n)
			}
		}
		if got := formatCPUs(cpus); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "x", "3-1", "-1", "0-99999999", "1,,2", "0-"} {
		if _, err := parseCPUs(in); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	f.Add("0-15,32-47")
	f.Fuzz(func(t *testing.T, list string) {
		if set, err := parseCPUs(list); err == nil && (len(set) == 0 || len(set) > mostCPUs) {
			t.Fatalf("%q has %d processors", list, len(set))
		}
	})
}

// A process that is born in the group has its processors and no others, on the kernel that runs the test.
func TestProcessesArePinned(t *testing.T) {
	tree, path := testGroup(t)
	all, err := tree.Usable("/", "0-16383")
	if err != nil {
		t.Fatal(err)
	}
	one, _, _ := strings.Cut(all[strings.LastIndexAny(all, ",-")+1:], ",")
	if err := tree.Limit(path, Limits{CPUSet: one}); err != nil {
		t.Fatal(err)
	}
	if usable, err := tree.Usable(path+"/deeper", "0-16383"); err != nil || usable != one {
		t.Errorf("groups below can have %q, %v; want %s", usable, err, one)
	}
	status := bornIn(t, tree, path, "/bin/cat", "/proc/self/status")
	if !strings.Contains(status, "\nCpus_allowed_list:\t"+one+"\n") {
		t.Errorf("pinned to %s, it says\n%s", one, status)
	}
	if err := tree.Limit(path, Limits{CPUSet: all}); err != nil {
		t.Errorf("to all again: %v", err)
	}
}

func TestProcessorsThatAreNotThereAreNamed(t *testing.T) {
	tree, path := testGroup(t)
	if _, err := tree.Usable(path, "16000-16001"); err == nil || !strings.Contains(err.Error(), "16000-16001") {
		t.Errorf("%v", err)
	}
	if _, err := (&Tree{v1: map[string]string{}}).Usable("/easel", "0"); !errors.Is(err, ErrNoCPUSet) {
		t.Errorf("a kernel without cpusets: %v", err)
	}
}

func TestV2PinsWithTheControllerOnAllTheWay(t *testing.T) {
	tree, dir := plainV2(t, "/easel/s1/streamer", map[string]string{"cpuset.cpus": ""})
	for _, at := range []string{"", "easel", "easel/s1"} {
		if err := os.WriteFile(filepath.Join(tree.v2, at, "cgroup.subtree_control"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tree.v2, "cpuset.cpus.effective"), []byte("0-7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cpus, err := tree.Usable("/easel/s1/streamer", "4-11")
	if err != nil || cpus != "4-7" {
		t.Fatalf("%q, %v", cpus, err)
	}
	if err := tree.Limit("/easel/s1/streamer", Limits{CPUSet: cpus}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "cpuset.cpus")); err != nil || string(got) != "4-7" {
		t.Errorf("%q, %v", got, err)
	}
	for _, at := range []string{"", "easel", "easel/s1"} {
		if got, err := os.ReadFile(filepath.Join(tree.v2, at, "cgroup.subtree_control")); err != nil || string(got) != "+cpuset" {
			t.Errorf("%q: %q, %v", at, got, err)
		}
	}
}
