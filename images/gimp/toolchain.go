package gimp

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"easel/images/gimp/pen"
	"easel/images/gimp/vnc"
)

// toolchainResult is a root of the image's suite that holds a compiler.
type toolchainResult struct {
	Packages Lock   `json:"packages"`
	Lock     string `json:"lock"`

	root string
}

// toolchain makes the root in which our C is compiled, so that it does not depend on this machine's compiler or headers.
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

// cFlags compile what we have in C: hardened, and with no path or time of the build in it.
var cFlags = []string{
	"-std=gnu11", "-O2", "-g0", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden",
	"-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now", "-Wl,--build-id=none",
}

// object is a shared object of ours, compiled from C.
type object struct {
	step   string // that makes it
	path   string // in the image
	source embed.FS
	flags  []string // beside cFlags
	libs   []string
}

// objects are those of the image.
func objects() []object {
	return []object{
		{step: "pen", path: "usr/lib/easel/xorg/input/easelpen_drv.so", source: pen.Source, flags: []string{"-isystem", "/usr/include/xorg", "-isystem", "/usr/include/pixman-1"}},
		{step: "vnc", path: "usr/lib/easel/vncsteady.so", source: vnc.Source, libs: []string{"-lX11"}},
	}
}

// objects compiles them inside the toolchain's root, and says which file here goes where in the image.
func (b *builder) objects(ctx context.Context, tools toolchainResult) (map[string]string, error) {
	files := map[string]string{}
	for _, o := range objects() {
		file, err := b.object(ctx, tools, o)
		if err != nil {
			return nil, err
		}
		files[o.path] = file
	}
	return files, nil
}

func (b *builder) object(ctx context.Context, tools toolchainResult, o object) (string, error) {
	sources, err := embeddedTree(o.source, "src")
	if err != nil {
		return "", err
	}
	name, err := key(o.step, struct {
		Packages    []Package
		Flags, Libs []string
		Sources     []embedded
	}{tools.Packages.Packages, slices.Concat(cFlags, o.flags), o.libs, sources})
	if err != nil {
		return "", err
	}
	file := b.cache.path(name, path.Base(o.path))
	var done bool
	if ok, err := b.cache.load(name, &done); err != nil || ok {
		return file, err
	}
	b.say("%s: compiling %s", o.step, path.Base(o.path))
	done = true
	return file, b.step(name, &done, func(dir string) error {
		if err := b.compile(ctx, tools.root, o, sources, filepath.Join(dir, path.Base(o.path))); err != nil {
			return fmt.Errorf("compile %s: %w", path.Base(o.path), err)
		}
		return nil
	})
}

// compile runs the compiler in root, as root's own program sees it: in /build.
func (b *builder) compile(ctx context.Context, root string, o object, sources []embedded, file string) error {
	build := filepath.Join(root, "build")
	if err := os.RemoveAll(build); err != nil {
		return err
	}
	defer os.RemoveAll(build)
	if err := os.Mkdir(build, 0o755); err != nil {
		return err
	}
	args := slices.Concat(cFlags, o.flags, []string{"-o", path.Base(o.path)})
	for _, s := range sources {
		if err := os.WriteFile(filepath.Join(build, s.Name), s.Text, 0o644); err != nil {
			return err
		}
		if filepath.Ext(s.Name) == ".c" {
			args = append(args, s.Name)
		}
	}
	cmd := b.command(ctx, filepath.Join("/usr/bin", "gcc"), append(args, o.libs...)...)
	cmd.Env = []string{"PATH=/usr/bin", "LC_ALL=C.UTF-8", "TMPDIR=/build"}
	cmd.Dir = "/build"
	cmd.SysProcAttr.Chroot = root
	if err := b.runNoted(cmd, o.step, quiet); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(build, path.Base(o.path)))
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}
