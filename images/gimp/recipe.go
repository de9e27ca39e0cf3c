// Package gimp holds the recipe of the session image and builds it, so that the same inputs give the same image on any
// machine: Debian packages, a GIMP profile baked ahead of the first start, and our own files (rootfs/, init/, pen/).
//
// The image has three layers, each from its own inputs, so that a change in our files moves kilobytes and not the gigabyte below.
package gimp

import (
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

//go:embed packages.txt
var defaultPackages string

//go:embed toolchain.txt
var defaultToolchain string

// Recipe says what the image is made from. DefaultRecipe fills one for this machine.
type Recipe struct {
	Suite          string   // Debian or Ubuntu suite, such as "trixie"
	Arch           string   // Debian's name of the architecture, such as "amd64"
	Mirror         string   // archive to take packages from, such as "http://mirror.example/debian"
	SecurityMirror string   // archive of Debian's security updates; empty: none. Ubuntu's are in Mirror.
	Components     []string // empty: "main", and "universe" too of an Ubuntu archive, where GIMP lies
	Packages       []string // what the image holds, without dependencies
	Toolchain      []string // what compiles our C
	Lock           Lock     // package versions the image is expected to have
	ToolchainLock  Lock     // the same for the toolchain
	Epoch          int64    // no file in the image is newer (Unix seconds)
}

// epoch is a fixed moment: it must not depend on when or where the image is built.
const epoch = 1763000000 // 2025-11-13

// DefaultRecipe is Debian 13 from the mirror that this machine's own apt uses. Where apt names none, the recipe has none, and needs one
// before it can be built.
func DefaultRecipe() (Recipe, error) {
	mirror, security, err := hostMirrors("/etc/apt")
	if err != nil {
		return Recipe{}, err
	}
	image, err := ParseLock(strings.NewReader(embeddedLock))
	if err != nil {
		return Recipe{}, fmt.Errorf("read built-in packages.lock: %w", err)
	}
	toolchain, err := ParseLock(strings.NewReader(embeddedToolchainLock))
	if err != nil {
		return Recipe{}, fmt.Errorf("read built-in toolchain.lock: %w", err)
	}
	return Recipe{
		Suite: "trixie", Arch: debianArch(), Mirror: mirror, SecurityMirror: security,
		Packages: ParsePackages(defaultPackages), Toolchain: ParsePackages(defaultToolchain),
		Lock: image, ToolchainLock: toolchain, Epoch: epoch,
	}, nil
}

// ParsePackages reads a package list: one name a line, "#" begins a comment.
func ParsePackages(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		names = append(names, strings.Fields(line)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var (
	suiteName   = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,40}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?$`) // Debian policy 5.6.1
	mirrorURL   = regexp.MustCompile(`^(https?|file)://[A-Za-z0-9._~:/@%\[\]-]+$`)
)

// validate refuses what would reach mmdebstrap's command line as something else than it is.
func (r Recipe) validate() error {
	if !suiteName.MatchString(r.Suite) {
		return fmt.Errorf("suite %q is not a suite's name: try \"trixie\"", r.Suite)
	}
	if !suiteName.MatchString(r.Arch) {
		return fmt.Errorf("architecture %q is not a Debian architecture: try \"amd64\"", r.Arch)
	}
	if r.Mirror == "" {
		return errors.New("no mirror: this machine's apt sources name no archive that ends in /debian: name one with --mirror")
	}
	if !mirrorURL.MatchString(r.Mirror) {
		return fmt.Errorf("mirror %q is not an http, https or file URL of a package archive", r.Mirror)
	}
	if r.SecurityMirror != "" && !mirrorURL.MatchString(r.SecurityMirror) {
		return fmt.Errorf("security mirror %q is not an http, https or file URL of a package archive", r.SecurityMirror)
	}
	if len(r.Packages) == 0 || len(r.Toolchain) == 0 {
		return errors.New("recipe names no packages, or none to compile with")
	}
	for _, c := range r.Components {
		if !suiteName.MatchString(c) {
			return fmt.Errorf("component %q is not a component's name: try \"main\"", c)
		}
	}
	for _, p := range slices.Concat(r.Packages, r.Toolchain) {
		if !packageName.MatchString(p) {
			return fmt.Errorf("package %q is not a package's name", p)
		}
	}
	if r.Epoch <= 0 {
		return errors.New("recipe needs an epoch: the newest time that a file in the image may have")
	}
	return nil
}

// ubuntu says whether the packages come from an Ubuntu archive.
func (r Recipe) ubuntu() bool { return strings.HasSuffix(strings.TrimRight(r.Mirror, "/"), "/ubuntu") }

func (r Recipe) components() []string {
	switch {
	case len(r.Components) > 0:
		return r.Components
	case r.ubuntu():
		return []string{"main", "universe"}
	default:
		return []string{"main"}
	}
}

// sources is the recipe's archives as apt's one-line entries.
func (r Recipe) sources() []string {
	components := strings.Join(r.components(), " ")
	lines := []string{
		fmt.Sprintf("deb %s %s %s", r.Mirror, r.Suite, components),
		fmt.Sprintf("deb %s %s-updates %s", r.Mirror, r.Suite, components),
	}
	security := r.SecurityMirror
	if r.ubuntu() {
		security = r.Mirror
	}
	if security != "" {
		lines = append(lines, fmt.Sprintf("deb %s %s-security %s", security, r.Suite, components))
	}
	return lines
}

// debianArch is Debian's name of the architecture that this program was built for.
func debianArch() string {
	switch runtime.GOARCH {
	case "arm":
		return "armhf"
	case "386":
		return "i386"
	case "ppc64le":
		return "ppc64el"
	default:
		return runtime.GOARCH
	}
}
