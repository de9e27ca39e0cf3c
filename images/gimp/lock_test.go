package gimp

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func lockOf(packages ...Package) Lock {
	l := Lock{Suite: "trixie", Arch: "amd64", Packages: packages}
	l.sort()
	return l
}

func TestLockReadsWhatItWrote(t *testing.T) {
	l := lockOf(Package{"openbox", "3.6.1-12", "amd64"}, Package{"gimp", "3.0.4-3+deb13u1", "amd64"}, Package{"gimp-data", "3.0.4-3", "all"})
	var text bytes.Buffer
	if err := l.Write(&text); err != nil {
		t.Fatal(err)
	}
	back, err := ParseLock(&text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, l) {
		t.Errorf("got %+v, want %+v", back, l)
	}
	if back.Digest() != l.Digest() {
		t.Error("the same lock has two digests")
	}
}

func TestLockRefusesNonsense(t *testing.T) {
	for _, text := range []string{
		"suite trixie\narch amd64\ngimp 3.0.4\n", "gimp 1 amd64\ngimp 2 amd64\n", "suite a\nsuite b\n", "-o 1 all\n", "gimp 1 amd64 extra\n",
		strings.Repeat("x", 1<<17),
	} {
		if l, err := ParseLock(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q was taken as %+v", text, l)
		}
	}
}

func TestDriftNamesEachDifference(t *testing.T) {
	lock := lockOf(Package{"gimp", "3.0.4-3", "amd64"}, Package{"openbox", "3.6", "amd64"}, Package{"perl", "5.40", "amd64"})
	got := lockOf(Package{"gimp", "3.0.6-1", "amd64"}, Package{"openbox", "3.6", "amd64"}, Package{"zlib1g", "1.3", "amd64"})
	var lines []string
	for _, c := range lock.Drift(got) {
		lines = append(lines, c.String())
	}
	want := []string{"gimp: 3.0.4-3 → 3.0.6-1", "perl: gone, was 5.40", "zlib1g: new, 1.3"}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
	if d := lock.Drift(lock); len(d) != 0 {
		t.Errorf("a lock drifts from itself: %v", d)
	}
}

func TestStatusGivesInstalledPackagesOnly(t *testing.T) {
	got, err := parseStatus(strings.NewReader("Package: gimp\nStatus: install ok installed\nVersion: 3.0.4-3\nArchitecture: amd64\nDescription: x\n more: text\n\n" +
		"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\nPackage: last\nStatus: install ok installed\nArchitecture: all\nVersion: 2"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []Package{{"gimp", "3.0.4-3", "amd64"}, {"last", "2", "all"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCachedPackagesServeUntilTheLockMovesAwayFromThem(t *testing.T) {
	old, moved := lockOf(Package{"gimp", "1", "amd64"}), lockOf(Package{"gimp", "2", "amd64"})
	for _, c := range []struct {
		name      string
		lock, got Lock
		under     Lock
		refresh   bool
		want      bool
	}{
		{"as locked", old, old, old, false, true},
		{"drifted, lock unchanged", old, moved, old, false, true},
		{"lock renewed from these packages", moved, moved, old, false, true},
		{"lock renewed, packages are the old", moved, old, old, false, false},
		{"asked for anew", old, old, old, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &builder{options: Options{Refresh: c.refresh}}
			if got := b.fresh(c.lock, c.got, c.under.Digest().String()); got != c.want {
				t.Errorf("fresh: %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzLock(f *testing.F) {
	f.Add("suite trixie\narch amd64\ngimp 3.0.4-3 amd64\n")
	f.Add("# nothing\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLock(strings.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := l.Write(&again); err != nil {
			t.Fatal(err)
		}
		if l.Suite == "" || l.Arch == "" {
			return // Write is for locks that name both
		}
		back, err := ParseLock(&again)
		if err != nil || !reflect.DeepEqual(back, l) {
			t.Fatalf("%q: got %+v (%v), want %+v", text, back, err, l)
		}
	})
}
