package deptest_test

import (
	"slices"
	"testing"

	"easel/integration/deptest"
)

// rule forbids packages below from, tests included, to depend on packages below to, directly or through others.
type rule struct {
	from, to string
	except   []string // packages below from that may
	allow    []string // packages below to that may be depended on
	why      string
}

const partsOfTheStream = "a part of the stream knows neither the others nor who binds them"

var rules = []rule{
	{from: "easel/pkg", to: "easel/noded", why: "pkg is what both daemons share: it imports neither"},
	{from: "easel/pkg", to: "easel/coordinator", why: "pkg is what both daemons share: it imports neither"},
	{from: "easel/pkg", to: "easel/images", why: "pkg is below the image"},
	{from: "easel/noded", to: "easel/coordinator", why: "the daemons know each other by pkg/api alone"},
	{from: "easel/coordinator", to: "easel/noded", why: "the daemons know each other by pkg/api alone"},
	{from: "easel/coordinator", to: "easel/images", why: "images are the node's"},
	{from: "easel/coordinator", to: "github.com/containerd/containerd/v2", why: "containers are the node's"},
	{from: "easel/images", to: "easel/noded", why: "the image is made without a node"},
	{from: "easel/images", to: "easel/coordinator", why: "the image is made without a coordinator"},
	{from: "easel/noded", to: "k8s.io", why: "Kubernetes is the coordinator's adapter: no node needs it"},
	{from: "easel/noded", to: "github.com/virtual-kubelet", why: "Kubernetes is the coordinator's adapter: no node needs it"},
	{
		from: "easel/noded", to: "easel/pkg/codec",
		except: []string{"easel/noded/cmd/streamer", "easel/noded/stream"},
		allow:  []string{"easel/pkg/codec/nvenctest"}, // compiles a driver for tests, links nothing
		why:    "a codec's fault may end one stream, never a node: only the streamer links them",
	},
	{
		from: "easel/noded", to: "easel/noded/stream",
		except: []string{"easel/noded/cmd/streamer", "easel/noded/stream"},
		allow:  []string{"easel/noded/stream/contract"},
		why:    "what a session container says is parsed by the streamer, never by the root daemon",
	},
	{
		from: "easel/noded/stream/tile", to: "easel/noded/stream",
		allow: []string{"easel/noded/stream/tile"},
		why:   partsOfTheStream,
	},
	{
		from: "easel/noded/stream/clipboard", to: "easel/noded/stream",
		allow: []string{"easel/noded/stream/clipboard", "easel/noded/stream/contract"},
		why:   partsOfTheStream,
	},
	{
		from: "easel/noded/stream/congestion", to: "easel",
		allow: []string{"easel/noded/stream/congestion"},
		why:   "the rate control is arithmetic on what it is told",
	},
	{
		from: "easel/noded/stream/rtpsend", to: "easel",
		allow: []string{"easel/noded/stream/congestion", "easel/noded/stream/rtpsend"},
		why:   "the sending side of RTP knows frames and packets, not where they come from",
	},
	{
		from: "easel/noded/stream/input", to: "easel/noded/stream",
		allow: []string{"easel/noded/stream/input"},
		why:   partsOfTheStream,
	},
	{
		from: "easel/noded/stream/sound", to: "easel/noded/stream",
		allow: []string{"easel/noded/stream/sound", "easel/noded/stream/contract"},
		why:   partsOfTheStream,
	},
	{from: "easel/coordinator", to: "easel/pkg/codec", why: "only the streamer links codecs"},
	{from: "easel/images", to: "easel/pkg/codec", why: "only the streamer links codecs"},
}

// binaries says which cgo packages of ours each shipped binary may link.
var binaries = []struct {
	path string
	cgo  []string
}{
	{path: "easel/noded/cmd/noded"},
	{path: "easel/noded/cmd/streamer", cgo: []string{"easel/pkg/codec", "easel/pkg/display", "easel/noded/stream"}},
	{path: "easel/coordinator/cmd/coordinator"},
	{path: "easel/images/gimp/init"},
}

func load(t *testing.T) map[string]*deptest.Package {
	t.Helper()
	packages, err := deptest.Load(t.Context(), "../..", "./...")
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func TestArrowsGoOneWay(t *testing.T) {
	packages := load(t)
	for _, r := range rules {
		for _, p := range packages {
			if !deptest.Under(p.ImportPath, r.from) || slices.ContainsFunc(r.except, func(e string) bool { return deptest.Under(p.ImportPath, e) }) {
				continue
			}
			for _, d := range reach(packages, p) {
				if deptest.Under(d, r.to) && !slices.ContainsFunc(r.allow, func(a string) bool { return deptest.Under(d, a) }) {
					t.Errorf("%s depends on %s: %s", p.ImportPath, d, r.why)
				}
			}
		}
	}
}

// reach is everything p's own files depend on, and what its tests import directly with what is below that.
func reach(packages map[string]*deptest.Package, p *deptest.Package) []string {
	all := slices.Clone(p.Deps)
	for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
		if i == p.ImportPath {
			continue
		}
		all = append(all, i)
		if q := packages[i]; q != nil {
			all = append(all, q.Deps...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestOnlyTheStreamerLinksCgoOfOurs(t *testing.T) {
	packages := load(t)
	for _, b := range binaries {
		main := packages[b.path]
		if main == nil {
			t.Errorf("%s is not there: a binary moved, so this list and ARCHITECTURE.md must follow", b.path)
			continue
		}
		for _, d := range append(main.Deps, b.path) {
			p := packages[d]
			if p == nil || len(p.CgoFiles) == 0 || !deptest.Under(d, "easel") {
				continue
			}
			if !slices.ContainsFunc(b.cgo, func(ok string) bool { return deptest.Under(d, ok) }) {
				t.Errorf("%s links cgo package %s: codecs and other C are the streamer's alone", b.path, d)
			}
		}
	}
}

func TestPkgImportsOnlyPkgOfOurs(t *testing.T) {
	for _, p := range load(t) {
		if !deptest.Under(p.ImportPath, "easel/pkg") {
			continue
		}
		for _, i := range p.Imports {
			if deptest.Under(i, "easel") && !deptest.Under(i, "easel/pkg") {
				t.Errorf("%s imports %s: pkg stands on nothing of ours but pkg", p.ImportPath, i)
			}
		}
	}
}

func TestIntegrationIsNotImported(t *testing.T) {
	for _, p := range load(t) {
		if deptest.Under(p.ImportPath, "easel/integration") {
			continue
		}
		for _, i := range p.Imports {
			if deptest.Under(i, "easel/integration") {
				t.Errorf("%s imports %s: the tests' own code is in no product", p.ImportPath, i)
			}
		}
	}
}

// The rules are worth nothing if a broken arrow passes them: this one is broken on purpose.
func TestReachSeesTestImportsAndIndirectOnes(t *testing.T) {
	packages := map[string]*deptest.Package{
		"easel/pkg/a":       {ImportPath: "easel/pkg/a", XTestImports: []string{"easel/pkg/b"}},
		"easel/pkg/b":       {ImportPath: "easel/pkg/b", Deps: []string{"easel/noded/x"}},
		"easel/noded/x":     {ImportPath: "easel/noded/x"},
		"easel/unreachable": {ImportPath: "easel/unreachable"},
	}
	got := reach(packages, packages["easel/pkg/a"])
	if want := []string{"easel/noded/x", "easel/pkg/b"}; !slices.Equal(got, want) {
		t.Errorf("reach = %v, want %v", got, want)
	}
}
