package gimp

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// layerFile is the layer in a step's directory.
const layerFile = "layer.tar"

// builtLayer is a layer and its file in the cache.
type builtLayer struct {
	Layer
	file string
}

// baseResult is what the base step made. It is good as long as the lock is the one it was made under, or is met exactly.
type baseResult struct {
	Layer    Layer  `json:"layer"`
	Packages Lock   `json:"packages"`
	Lock     string `json:"lock"`

	file string
}

// fresh says whether packages got under the lock of digest under need not be taken from the mirror again.
func (b *builder) fresh(lock, got Lock, under string) bool {
	if b.options.Refresh {
		return false
	}
	return under == lock.Digest().String() || len(lock.Drift(got)) == 0
}

// base makes the lowest layer: the suite's packages.
func (b *builder) base(ctx context.Context) (baseResult, error) {
	r := b.recipe
	name, err := key("base", struct {
		Suite, Arch, Hook                            string
		Components, Packages, Emptied, Dropped, Libs []string
		Locales                                      []string
		Epoch                                        int64
		Security                                     bool
	}{r.Suite, r.Arch, localeHook, r.components(), r.Packages, emptiedTrees, droppedFiles, droppedLibraries, keptLocales, r.Epoch, r.SecurityMirror != ""})
	if err != nil {
		return baseResult{}, err
	}
	var result baseResult
	ok, err := b.cache.load(name, &result)
	result.file = b.cache.path(name, layerFile)
	if err != nil || ok && b.fresh(r.Lock, result.Packages, result.Lock) {
		return result, err
	}
	b.say("packages: %d named, from %s %s", len(r.Packages), r.Mirror, r.Suite)
	result.Lock = r.Lock.Digest().String()
	result.Packages = Lock{Suite: r.Suite, Arch: r.Arch}
	err = b.step(name, &result, func(dir string) error {
		result.Layer, err = b.writeLayer(filepath.Join(dir, layerFile), func(l *layerWriter) error {
			return b.piped(func(out io.Writer) error {
				return b.bootstrap(ctx, "packages", r.Packages, out, localeHook)
			}, func(in io.Reader) error {
				result.Packages.Packages, err = filterBase(l, in, keepInBase)
				return err
			})
		})
		result.Packages.sort()
		return err
	})
	return result, err
}

// piped runs write and read at once, joined by a pipe, and returns the error of the one that failed first.
func (b *builder) piped(write func(io.Writer) error, read func(io.Reader) error) error {
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	readErr := make(chan error, 1)
	go func() {
		err := read(out)
		if err == nil {
			_, err = io.Copy(io.Discard, out) // a tar is padded after its end
		}
		out.Close() // a writer that is still there gets EPIPE
		readErr <- err
	}()
	writeErr := write(in)
	in.Close()
	if err := <-readErr; err != nil && writeErr == nil {
		return err
	}
	return writeErr
}

// profile makes the middle layer: GIMP's profile and the fonts' cache, as GIMP itself writes them in the finished base.
func (b *builder) profile(ctx context.Context, base baseResult) (builtLayer, error) {
	seed, err := embeddedTree(profileFiles, "profile")
	if err != nil {
		return builtLayer{}, err
	}
	name, err := key("profile", struct {
		Base   Layer
		Script string
		Seed   []embedded
		Env    []string
		Epoch  int64
	}{base.Layer, bakeScript, seed, Environment(), b.recipe.Epoch})
	if err != nil {
		return builtLayer{}, err
	}
	layer := builtLayer{file: b.cache.path(name, layerFile)}
	if ok, err := b.cache.load(name, &layer.Layer); err != nil || ok {
		return layer, err
	}
	b.say("profile: unpacking the packages for GIMP's first start")
	root := filepath.Join(b.work, "bake")
	defer os.RemoveAll(root)
	if err := b.unpack(ctx, "profile", base.file, root); err != nil {
		return builtLayer{}, err
	}
	if err := b.bake(ctx, root, seed); err != nil {
		return builtLayer{}, err
	}
	err = b.step(name, &layer.Layer, func(dir string) error {
		layer.Layer, err = b.writeLayer(filepath.Join(dir, layerFile), func(l *layerWriter) error {
			if err := l.addTree(filepath.Join(root, profileInHome), profileInImage, keepInProfile); err != nil {
				return err
			}
			return l.addTree(filepath.Join(root, fontCache), fontCache, func(string) bool { return true })
		})
		return err
	})
	return layer, err
}

// step runs work in a fresh directory and puts the directory and meta into the cache under name.
func (b *builder) step(name string, meta any, work func(dir string) error) error {
	dir, err := os.MkdirTemp(b.work, "step-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := work(dir); err != nil {
		return err
	}
	return b.cache.commit(dir, name, meta)
}

// writeLayer makes a layer's file by fill.
func (b *builder) writeLayer(file string, fill func(*layerWriter) error) (Layer, error) {
	f, err := os.Create(file)
	if err != nil {
		return Layer{}, fmt.Errorf("make a layer: %w", err)
	}
	defer f.Close()
	l := newLayerWriter(f, b.recipe.Epoch)
	if err := fill(l); err != nil {
		return Layer{}, err
	}
	layer, err := l.close()
	if err != nil {
		return Layer{}, err
	}
	return layer, f.Close()
}
