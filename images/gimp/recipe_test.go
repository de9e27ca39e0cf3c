package gimp

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func validRecipe() Recipe {
	return Recipe{
		Suite: "trixie", Arch: "amd64", Mirror: "http://mirror.example/debian", SecurityMirror: "http://mirror.example/debian-security",
		Packages: []string{"gimp"}, Toolchain: []string{"gcc"}, Epoch: epoch,
	}
}

func TestPackageListIgnoresCommentsAndOrder(t *testing.T) {
	got := ParsePackages("# two\nopenbox # wm\n\n gimp\nopenbox\n")
	if want := []string{"gimp", "openbox"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestDefaultRecipeIsBuildableWithAMirror(t *testing.T) {
	r, err := DefaultRecipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Mirror = "http://mirror.example/debian"
	if err := r.validate(); err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"gimp", "xserver-xorg-core", "openbox", "pulseaudio", "tigervnc-scraping-server", "fonts-noto-cjk"} {
		if !slices.Contains(r.Packages, must) {
			t.Errorf("image lacks %s", must)
		}
	}
	if r.Lock.Suite != "trixie" || len(r.Lock.Packages) < 100 || len(r.ToolchainLock.Packages) < 50 {
		t.Errorf("built-in locks are empty: %d and %d packages", len(r.Lock.Packages), len(r.ToolchainLock.Packages))
	}
}

func TestRecipeRefusesWhatIsNoName(t *testing.T) {
	for name, spoil := range map[string]func(*Recipe){
		"suite":              func(r *Recipe) { r.Suite = "--hook=evil" },
		"architecture":       func(r *Recipe) { r.Arch = "" },
		"no mirror":          func(r *Recipe) { r.Mirror = "" },
		"mirror":             func(r *Recipe) { r.Mirror = "http://m/ debian [trusted=yes]" },
		"security mirror":    func(r *Recipe) { r.SecurityMirror = "copy:/etc" },
		"component":          func(r *Recipe) { r.Components = []string{"main contrib"} },
		"package":            func(r *Recipe) { r.Packages = []string{"gimp,--hook"} },
		"toolchain package":  func(r *Recipe) { r.Toolchain = []string{"?essential"} },
		"nothing to install": func(r *Recipe) { r.Packages = nil },
		"epoch":              func(r *Recipe) { r.Epoch = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			r := validRecipe()
			if err := r.validate(); err != nil {
				t.Fatal(err)
			}
			spoil(&r)
			if err := r.validate(); err == nil {
				t.Fatalf("%+v was taken", r)
			}
		})
	}
}

func TestSourcesOfDebianAndUbuntu(t *testing.T) {
	r := validRecipe()
	want := "deb http://mirror.example/debian trixie main\ndeb http://mirror.example/debian trixie-updates main\n" +
		"deb http://mirror.example/debian-security trixie-security main"
	if got := strings.Join(r.sources(), "\n"); got != want {
		t.Errorf("Debian:\n%s\nwant\n%s", got, want)
	}
	r.Suite, r.Mirror = "plucky", "http://mirror.example/ubuntu"
	want = "deb http://mirror.example/ubuntu plucky main universe\ndeb http://mirror.example/ubuntu plucky-updates main universe\n" +
		"deb http://mirror.example/ubuntu plucky-security main universe"
	if got := strings.Join(r.sources(), "\n"); got != want {
		t.Errorf("Ubuntu:\n%s\nwant\n%s", got, want)
	}
}

func TestMirrorIsFoundInEitherFormOfAptSources(t *testing.T) {
	for _, c := range []struct{ name, file, text, mirror, security string }{
		{
			"one line", "sources.list",
			"# deb http://old.example/debian buster main\ndeb [arch=amd64 signed-by=/k] http://a.example/debian/ bookworm main contrib\n" +
				"deb-src http://src.example/debian bookworm main\ndeb http://s.example/debian-security bookworm-security main\n",
			"http://a.example/debian", "http://s.example/debian-security",
		},
		{
			"deb822", "sources.list.d/debian.sources",
			"Types: deb\n# a comment\nURIs: http://a.example/debian\nSuites: bookworm\n  bookworm-updates\nComponents: main\n\n" +
				"Types: deb deb-src\nURIs: http://s.example/debian-security/\nSuites: bookworm-security\nComponents: main\n",
			"http://a.example/debian", "http://s.example/debian-security",
		},
		{"switched off", "sources.list.d/debian.sources", "Types: deb\nEnabled: no\nURIs: http://a.example/debian\nSuites: x\n", "", ""},
		{"only sources", "sources.list.d/debian.sources", "Types: deb-src\nURIs: http://a.example/debian\nSuites: x\n", "", ""},
		{"other archives", "sources.list", "deb http://a.example/node nodistro main\n", "", ""},
		{"nothing", "preferences", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, c.file)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			mirror, security, err := hostMirrors(dir)
			if err != nil {
				t.Fatal(err)
			}
			if mirror != c.mirror || security != c.security {
				t.Errorf("got %q and %q, want %q and %q", mirror, security, c.mirror, c.security)
			}
		})
	}
}
