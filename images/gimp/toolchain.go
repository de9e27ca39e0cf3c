package gimp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"easel/images/gimp/pen"
)

// toolchainResult is a root of the image's suite that holds a compiler.
type toolchainResult struct {
	Packages Lock   `json:"packages"`
	Lock     string `json:"lock"`

	root string
}

// toolchain makes the root in which the pen driver is compiled, so that the driver does not depend on this machine's compiler or headers.
func (b *builder) toolchain(ctx context.Context) (toolchainResult, error) {
	r := b.recipe
	name, err := key("toolchain", struct {
		Suite, Arch           string
		Components, Toolchain []string
		Epoch                 int64
	}{r.Suite, r.Arch, r.components(), r.Toolchain, r.Epoch})
	if err != nil {
		return toolchainResult{}, err
	}
	var result toolchainResult
	ok, err := b.cache.load(name, &result)
	result.root = b.cache.path(name, "root")
	if err != nil || ok && b.fresh(r.ToolchainLock, result.Packages, result.Lock) {
		return result, err
	}
	b.say("toolchain: %d packages named, from %s %s", len(r.Toolchain), r.Mirror, r.Suite)
	result.Lock = r.ToolchainLock.Digest().String()
	err = b.step(name, &result, func(dir string) error {
		tarball := filepath.Join(dir, "root.tar")
		out, err := os.Create(tarball)
		if err != nil {
			return fmt.Errorf("make toolchain: %w", err)
		}
		defer out.Close()
		if err := b.bootstrap(ctx, "toolchain", r.Toolchain, out); err != nil {
			return err
		}
		root := filepath.Join(dir, "root")
		if err := b.unpack(ctx, "toolchain", tarball, root); err != nil {
			return err
		}
		status, err := os.Open(filepath.Join(root, dpkgStatus))
		if err != nil {
			return fmt.Errorf("read toolchain's packages: %w", err)
		}
		defer status.Close()
		packages, err := parseStatus(status)
		if err != nil {
			return err
		}
		result.Packages = Lock{Suite: r.Suite, Arch: r.Arch, Packages: packages}
		result.Packages.sort()
		return os.Remove(tarball)
	})
	return result, err
}

// unpack lays a tar that we made out below root, which must not exist.
func (b *builder) unpack(ctx context.Context, what, tarball, root string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", what, err)
	}
	cmd := b.command(ctx, "tar", "--extract", "--numeric-owner", "--same-permissions", "--file", tarball, "--directory", root)
	if err := b.runNoted(cmd, what, quiet); err != nil {
		return fmt.Errorf("unpack %s: %w", what, err)
	}
	return nil
}

// penFlags compile the driver: hardened, and with no path or time of the build in it.
var penFlags = []string{
	"-std=gnu11", "-O2", "-g0", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden",
	"-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now", "-Wl,--build-id=none",
	"-isystem", "/usr/include/xorg", "-isystem", "/usr/include/pixman-1",
}

const penObject = "easelpen_drv.so"

// pen compiles the driver inside the toolchain's root.
func (b *builder) pen(ctx context.Context, tools toolchainResult) (string, error) {
	sources, err := embeddedTree(pen.Source, "src")
	if err != nil {
		return "", err
	}
	name, err := key("pen", struct {
		Packages []Package
		Flags    []string
		Sources  []embedded
	}{tools.Packages.Packages, penFlags, sources})
	if err != nil {
		return "", err
	}
	object := b.cache.path(name, penObject)
	var done bool
	if ok, err := b.cache.load(name, &done); err != nil || ok {
		return object, err
	}
	b.say("pen: compiling the input driver")
	done = true
	return object, b.step(name, &done, func(dir string) error {
		return b.compile(ctx, tools.root, sources, filepath.Join(dir, penObject))
	})
}

// compile runs the compiler in root, as root's own program sees it: in /build.
func (b *builder) compile(ctx context.Context, root string, sources []embedded, object string) error {
	build := filepath.Join(root, "build")
	if err := os.RemoveAll(build); err != nil {
		return fmt.Errorf("compile pen driver: %w", err)
	}
	defer os.RemoveAll(build)
	if err := os.Mkdir(build, 0o755); err != nil {
		return fmt.Errorf("compile pen driver: %w", err)
	}
	args := append(slices.Clone(penFlags), "-o", penObject)
	for _, s := range sources {
		if err := os.WriteFile(filepath.Join(build, s.Name), s.Text, 0o644); err != nil {
			return fmt.Errorf("compile pen driver: %w", err)
		}
		if filepath.Ext(s.Name) == ".c" {
			args = append(args, s.Name)
		}
	}
	cmd := b.command(ctx, filepath.Join("/usr/bin", "gcc"), args...)
	cmd.Env = []string{"PATH=/usr/bin", "LC_ALL=C.UTF-8", "TMPDIR=/build"}
	cmd.Dir = "/build"
	cmd.SysProcAttr.Chroot = root
	if err := b.runNoted(cmd, "pen", quiet); err != nil {
		return fmt.Errorf("compile pen driver: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(build, penObject))
	if err != nil {
		return fmt.Errorf("compile pen driver: %w", err)
	}
	return os.WriteFile(object, text, 0o644)
}
