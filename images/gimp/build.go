package gimp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Progress is told what a long step is doing, one line at a time, from any goroutine.
type Progress func(line string)

// Options says where and how to build; none of them changes the image, but for InitBinary's content.
type Options struct {
	Cache      string   // directory that keeps what was built, such as /var/cache/easel
	InitBinary string   // easel-init, built static
	Progress   Progress // may be nil
	Locked     bool     // fail when a package differs from the lock
	Refresh    bool     // take packages from the mirror anew, whatever is cached
}

// Built is a finished image: an OCI image layout on disk.
type Built struct {
	Digest    digest.Digest // of the manifest: names the image
	Layout    string        // OCI image layout directory
	Layers    []Layer       // lowest first
	Packages  Lock          // what is installed
	Toolchain Lock          // what compiled our C
	Drift     []Change      // how both differ from the recipe's locks
}

// ErrDrift says that a locked build met other package versions than the lock's.
var ErrDrift = errors.New("packages differ from the lock")

// builder is one build.
type builder struct {
	recipe   Recipe
	options  Options
	cache    cache
	work     string // temporary, below the cache so that results are renamed and not copied
	progress Progress
	started  time.Time
}

// Build makes the image, or finds it in the cache. It needs root: packages are installed in a chroot.
func Build(ctx context.Context, recipe Recipe, options Options) (Built, error) {
	if err := recipe.validate(); err != nil {
		return Built{}, fmt.Errorf("build image: %w", err)
	}
	if options.Cache == "" || options.InitBinary == "" {
		return Built{}, errors.New("build image: needs a cache directory and the easel-init binary")
	}
	if os.Geteuid() != 0 {
		return Built{}, errors.New("build image: packages are installed in a chroot, which needs root: try sudo")
	}
	b := &builder{recipe: recipe, options: options, cache: cache{filepath.Join(options.Cache, "image")}, progress: options.Progress, started: time.Now()}
	if b.progress == nil {
		b.progress = func(string) {}
	}
	if err := os.MkdirAll(b.cache.dir, 0o755); err != nil {
		return Built{}, fmt.Errorf("build image: make its cache: %w", err)
	}
	unlock, err := b.cache.lock(ctx, func() { b.say("waiting for another build of the image") })
	if err != nil {
		return Built{}, fmt.Errorf("build image: %w", err)
	}
	defer unlock()
	if err := b.clearWork(); err != nil {
		return Built{}, fmt.Errorf("build image: %w", err)
	}
	defer os.RemoveAll(b.work)
	built, err := b.build(ctx)
	if ctx.Err() != nil {
		return Built{}, fmt.Errorf("build image: given up: %w", context.Cause(ctx))
	}
	if err == nil {
		err = b.cache.prune(time.Now().Add(-cacheAge))
	}
	if err != nil {
		return Built{}, fmt.Errorf("build image: %w", err)
	}
	return built, nil
}

// clearWork makes the build's temporary directory and takes away what a killed build left. The cache is locked.
func (b *builder) clearWork() error {
	left, err := filepath.Glob(b.cache.path("work-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove what an earlier build left: %w", err)
		}
	}
	b.work, err = os.MkdirTemp(b.cache.dir, "work-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	// mmdebstrap drops to other users inside.
	return os.Chmod(b.work, 0o755)
}

func (b *builder) build(ctx context.Context) (Built, error) {
	var (
		base    baseResult
		profile builtLayer
		files   builtLayer
		tools   toolchainResult
	)
	steps, stepCtx := errgroup.WithContext(ctx)
	steps.Go(func() (err error) {
		if base, err = b.base(stepCtx); err != nil {
			return err
		}
		profile, err = b.profile(stepCtx, base)
		return err
	})
	steps.Go(func() (err error) {
		if tools, err = b.toolchain(stepCtx); err != nil {
			return err
		}
		compiled, err := b.objects(stepCtx, tools)
		if err != nil {
			return err
		}
		files, err = b.files(compiled)
		return err
	})
	if err := steps.Wait(); err != nil {
		return Built{}, err
	}
	built := Built{Layers: []Layer{base.Layer, profile.Layer, files.Layer}, Packages: base.Packages, Toolchain: tools.Packages}
	built.Drift = append(b.drift(b.recipe.Lock, base.Packages), b.drift(b.recipe.ToolchainLock, tools.Packages)...)
	if err := b.reportDrift(built.Drift); err != nil {
		return Built{}, err
	}
	err := b.layout(&built, []builtLayer{{base.Layer, base.file}, profile, files})
	return built, err
}

// drift compares with the lock, if the lock speaks of this suite and architecture at all.
func (b *builder) drift(lock, got Lock) []Change {
	if lock.Suite != b.recipe.Suite || lock.Arch != b.recipe.Arch {
		return []Change{{Name: "lock", Was: "for " + lock.Suite + " " + lock.Arch, Is: "building " + b.recipe.Suite + " " + b.recipe.Arch}}
	}
	return lock.Drift(got)
}

func (b *builder) reportDrift(changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	b.say("warning: %d packages differ from the lock (to renew it: noded image build --refresh --write-locks DIR):", len(changes))
	for i, c := range changes {
		if i == 20 {
			b.say("  … and %d more", len(changes)-i)
			break
		}
		b.say("  %s", c)
	}
	if b.options.Locked {
		return fmt.Errorf("%w: %d of them, first %s: renew the lock with --refresh --write-locks, or build without --locked", ErrDrift, len(changes), changes[0])
	}
	return nil
}

// say passes on one line of progress with the time since the build began.
func (b *builder) say(format string, args ...any) {
	b.progress(fmt.Sprintf("image %4.0fs  ", time.Since(b.started).Seconds()) + fmt.Sprintf(format, args...))
}
