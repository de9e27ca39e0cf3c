package gimp

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

//go:embed packages.lock
var embeddedLock string

//go:embed toolchain.lock
var embeddedToolchainLock string

// Lock records which package versions a suite gave, so that a change of the mirror is seen and not guessed.
type Lock struct {
	Suite    string
	Arch     string
	Packages []Package // sorted by name
}

// Package is one installed Debian package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"` // the package's own: "all" or the suite's
}

// ParseLock reads what Lock.Write wrote: "suite NAME", "arch NAME", then "name version arch" lines; "#" begins a comment.
func ParseLock(r io.Reader) (Lock, error) {
	var l Lock
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case len(f) == 2 && f[0] == "suite" && l.Suite == "":
			l.Suite = f[1]
		case len(f) == 2 && f[0] == "arch" && l.Arch == "":
			l.Arch = f[1]
		case len(f) == 3 && packageName.MatchString(f[0]):
			l.Packages = append(l.Packages, Package{Name: f[0], Version: f[1], Arch: f[2]})
		default:
			return Lock{}, fmt.Errorf("line %d: %q is not \"name version arch\"", n, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return Lock{}, err
	}
	l.sort()
	for i := 1; i < len(l.Packages); i++ {
		if l.Packages[i].key() == l.Packages[i-1].key() {
			return Lock{}, fmt.Errorf("package %s is named twice", l.Packages[i].Name)
		}
	}
	return l, nil
}

// Write renders the lock in the form that ParseLock reads, the same bytes for the same packages.
func (l Lock) Write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Package versions of the image, written by \"noded image build --refresh --write-locks\".\n")
	fmt.Fprintf(&b, "suite %s\narch %s\n", l.Suite, l.Arch)
	for _, p := range l.Packages {
		fmt.Fprintf(&b, "%s %s %s\n", p.Name, p.Version, p.Arch)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Digest names the lock's content.
func (l Lock) Digest() digest.Digest {
	d := digest.Canonical.Digester()
	_ = l.Write(d.Hash()) // a hash takes every write
	return d.Digest()
}

func (l *Lock) sort() {
	slices.SortFunc(l.Packages, func(a, b Package) int { return strings.Compare(a.key(), b.key()) })
}

// key tells packages apart: under multi-arch one name can be installed for two architectures.
func (p Package) key() string { return p.Name + "\x00" + p.Arch }

// Change is one difference between a lock and what was installed; an empty Was or Is means absent.
type Change struct{ Name, Was, Is string }

func (c Change) String() string {
	switch {
	case c.Was == "":
		return fmt.Sprintf("%s: new, %s", c.Name, c.Is)
	case c.Is == "":
		return fmt.Sprintf("%s: gone, was %s", c.Name, c.Was)
	default:
		return fmt.Sprintf("%s: %s → %s", c.Name, c.Was, c.Is)
	}
}

// Drift lists in which packages got differs from the lock, by name.
func (l Lock) Drift(got Lock) []Change {
	changes := []Change{}
	was := map[string]Package{}
	for _, p := range l.Packages {
		was[p.key()] = p
	}
	for _, p := range got.Packages {
		old, known := was[p.key()]
		delete(was, p.key())
		if !known || old.Version != p.Version {
			changes = append(changes, Change{Name: p.Name, Was: old.Version, Is: p.Version})
		}
	}
	for _, p := range was {
		changes = append(changes, Change{Name: p.Name, Was: p.Version})
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Name+a.Is, b.Name+b.Is) })
	return changes
}

// parseStatus reads dpkg's status file: which packages are installed.
func parseStatus(r io.Reader) ([]Package, error) {
	var (
		found     []Package
		p         Package
		installed bool
	)
	flush := func() {
		if installed && p.Name != "" {
			found = append(found, p)
		}
		p, installed = Package{}, false
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "":
			flush()
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Arch = value
		case "Status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read dpkg status: %w", err)
	}
	flush()
	return found, nil
}
