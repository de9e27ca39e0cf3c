package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"easel/integration/devstack"
)

const program = "easel-dev"

func root() string { return filepath.Join(cacheDir(), "containerd-root") }

func stopStack(ctx context.Context, args []string, out io.Writer) error {
	if err := parse(flag.NewFlagSet("easel-dev stop", flag.ContinueOnError), args); err != nil {
		return err
	}
	return stopSaying(ctx, out)
}

func stopSaying(ctx context.Context, out io.Writer) error {
	return devstack.End(ctx, root(), program, func(line string) { fmt.Fprintln(out, line) })
}

func cleanMachine(ctx context.Context, args []string, out io.Writer) error {
	set := flag.NewFlagSet("easel-dev clean", flag.ContinueOnError)
	dir := set.String("dir", defaultDir, "the state directory of run")
	homes := set.Bool("homes", false, "remove the home volumes, with all drawings in them, too")
	checkout := set.String("checkout", "", "the source tree whose build outputs are removed")
	if err := parse(set, args); err != nil {
		return err
	}
	if err := stopSaying(ctx, out); err != nil {
		return err
	}
	c := &cleaner{out: out}
	// By name, never the whole of a directory that the environment named.
	for _, name := range cached {
		c.remove(filepath.Join(cacheDir(), name))
	}
	c.removeState(*dir, *homes)
	if *checkout != "" {
		c.removeBuilt(*checkout)
	}
	if c.total == 0 {
		fmt.Fprintln(out, "nothing to remove")
	}
	return errors.Join(c.errs...)
}

// cached are the entries of EASEL_CACHE; built are patterns of those of a checkout.
var (
	cached = []string{"containerd", "image", "containerd-root", "containerd-root.lock", "package-roots"}
	built  = []string{"bin", "out", "pkg/viewer/node_modules", "pkg/viewer/dist/[^.]*", "coordinator/portal/node_modules", "coordinator/portal/dist/[^.]*"}
)

// cleaner removes files and says what and how much.
type cleaner struct {
	out   io.Writer
	total int64
	errs  []error
}

func (c *cleaner) remove(path string) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	size := diskUse(path)
	if err := os.RemoveAll(path); err != nil {
		c.errs = append(c.errs, err)
		return
	}
	c.total += size + 1
	fmt.Fprintf(c.out, "removed %s (%s)\n", path, mebibytes(size))
}

// removeBuilt removes what make made in a checkout. A pattern passes over dist/.gitkeep, which is not built.
func (c *cleaner) removeBuilt(checkout string) {
	for _, pattern := range built {
		found, err := filepath.Glob(filepath.Join(checkout, pattern))
		c.errs = append(c.errs, err)
		for _, path := range found {
			c.remove(path)
		}
	}
}

// removeState removes the state directory, but not drawings that nobody said to remove.
func (c *cleaner) removeState(dir string, homes bool) {
	volumes := filepath.Join(dir, "noded", "homes")
	kept, _ := filepath.Glob(filepath.Join(volumes, "*.img"))
	if homes || len(kept) == 0 {
		c.remove(dir)
		return
	}
	for _, parent := range []string{dir, filepath.Join(dir, "noded")} {
		entries, err := os.ReadDir(parent)
		if err != nil {
			c.errs = append(c.errs, err)
			continue
		}
		for _, e := range entries {
			if path := filepath.Join(parent, e.Name()); path != filepath.Join(dir, "noded") && path != volumes {
				c.remove(path)
			}
		}
	}
	fmt.Fprintf(c.out, "kept %d home volume(s) with their drawings in %s; remove them too with: sudo make clean HOMES=1\n", len(kept), volumes)
}

// diskUse is what path takes on disk, in bytes, holes not counted.
func diskUse(path string) int64 {
	var sum int64
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sum += allocated(info)
		}
		return nil
	})
	return sum
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
