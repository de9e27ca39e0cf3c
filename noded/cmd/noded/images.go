package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"easel/images/gimp"
)

func images(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return wrongUse("image: want build, import, export or list")
	}
	switch args[0] {
	case "build":
		return buildImage(ctx, args[1:], stdout, stderr)
	case "import":
		return importImage(ctx, args[1:], stdout, stderr)
	case "export":
		return exportImage(ctx, args[1:], stdout, stderr)
	case "list":
		return listImages(ctx, args[1:], stdout, stderr)
	}
	return wrongUse("image %q: want build, import, export or list", args[0])
}

// containerdOf connects to the configured containerd; the context names its namespace.
func containerdOf(ctx context.Context, cfg Config) (*containerd.Client, context.Context, error) {
	client, err := containerd.New(cfg.Containerd.Address, containerd.WithTimeout(10*time.Second))
	if err != nil {
		return nil, ctx, fmt.Errorf("connect to containerd at %s: %w; is it running, and are you root?", cfg.Containerd.Address, err)
	}
	return client, namespaces.WithNamespace(ctx, cfg.Containerd.Namespace), nil
}

// cacheDir is where long steps keep their results.
func cacheDir() string {
	if dir := os.Getenv("EASEL_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/easel"
}

func buildImage(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("image build", false)
	recipe, err := gimp.DefaultRecipe()
	if err != nil {
		return err
	}
	options := gimp.Options{Cache: cacheDir(), InitBinary: beside("easel-init"), Progress: func(line string) { fmt.Fprintln(stderr, line) }}
	c.StringVar(&recipe.Suite, "suite", recipe.Suite, "Debian or Ubuntu suite")
	c.StringVar(&recipe.Mirror, "mirror", recipe.Mirror, "archive to take packages from (default: this machine's own)")
	c.StringVar(&recipe.SecurityMirror, "security-mirror", recipe.SecurityMirror, "archive of security updates; \"\" for none")
	c.StringVar(&options.Cache, "cache", options.Cache, "`directory` that keeps what was built (EASEL_CACHE)")
	c.StringVar(&options.InitBinary, "init", options.InitBinary, "easel-init `binary`")
	c.BoolVar(&options.Locked, "locked", false, "fail when a package differs from the lock")
	c.BoolVar(&options.Refresh, "refresh", false, "take packages from the mirror anew")
	packages := c.String("packages", "", "`file` that lists the packages, one a line")
	locks := c.String("write-locks", "", "write what was installed as lock files into this `directory`")
	skip := c.Bool("no-import", false, "build into the cache alone")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if *packages != "" {
		text, err := os.ReadFile(*packages)
		if err != nil {
			return fmt.Errorf("read the package list: %w", err)
		}
		recipe.Packages = gimp.ParsePackages(string(text))
	}
	built, err := gimp.Build(ctx, recipe, options)
	if err != nil {
		return err
	}
	if *locks != "" {
		if err := gimp.WriteLocks(*locks, built); err != nil {
			return err
		}
	}
	if !*skip {
		if err := importBuilt(ctx, c.config, cfg, built, options.Progress); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%s %s\n", cfg.Image, built.Digest)
	return nil
}

// importBuilt puts a built image into the node's containerd. On a machine that is no node yet, which has
// neither a configuration nor a containerd, that is left for later, and said.
func importBuilt(ctx context.Context, config string, cfg Config, built gimp.Built, progress gimp.Progress) error {
	_, configErr := os.Stat(defaultConfig)
	_, socketErr := os.Stat(cfg.Containerd.Address)
	if config == "" && configErr != nil && errors.Is(socketErr, os.ErrNotExist) {
		progress("not imported: this machine has no " + defaultConfig + " and no containerd at " + cfg.Containerd.Address)
		return nil
	}
	client, ctx, err := containerdOf(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	return gimp.Import(ctx, client, built, cfg.Image, gimp.WithProgress(progress))
}

func importImage(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("image import", false)
	rest, err := c.arguments(args, 1, 2, "an OCI archive's file and perhaps a reference")
	if err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	file, ref := rest[0], ""
	if len(rest) == 2 {
		ref = rest[1]
	} else if ref, err = archiveReference(file); err != nil {
		return fmt.Errorf("import image from %s: %w", file, err)
	}
	client, ctx, err := containerdOf(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := gimp.ImportArchive(ctx, client, file, ref, gimp.WithProgress(func(line string) { fmt.Fprintln(stderr, line) })); err != nil {
		return err
	}
	fmt.Fprintln(stdout, ref)
	return nil
}

// Bounds of the search for an archive's index.
const (
	maxIndex      = 1 << 20 // bytes
	maxIndexEntry = 4096    // files before it
)

var errNoReference = errors.New("the archive does not name its image: give a reference after the file")

// archiveReference reads the image's name out of an OCI archive's index.json.
func archiveReference(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	files := tar.NewReader(f)
	for range maxIndexEntry {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return "", errors.New("it is not an OCI archive: it has no index.json")
		}
		if err != nil {
			return "", fmt.Errorf("it is not an OCI archive: %w", err)
		}
		if path.Clean(header.Name) != ocispec.ImageIndexFile {
			continue
		}
		var index ocispec.Index
		if err := json.NewDecoder(io.LimitReader(files, maxIndex)).Decode(&index); err != nil {
			return "", fmt.Errorf("its index.json: %w", err)
		}
		return referenceIn(index)
	}
	return "", errors.New("it is not an OCI archive: no index.json among its first files")
}

func referenceIn(index ocispec.Index) (string, error) {
	for _, key := range []string{"io.containerd.image.name", ocispec.AnnotationRefName} {
		for _, m := range index.Manifests {
			if ref := m.Annotations[key]; strings.Contains(ref, "/") && len(ref) < 256 {
				return ref, nil
			}
		}
	}
	return "", errNoReference
}

func exportImage(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("image export", false)
	rest, err := c.arguments(args, 1, 2, "perhaps a reference, and a file")
	if err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ref, file := cfg.Image, rest[len(rest)-1]
	if len(rest) == 2 {
		ref = rest[0]
	}
	client, ctx, err := containerdOf(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := exportTo(ctx, client, ref, file); err != nil {
		return err
	}
	fmt.Fprintln(stdout, file)
	return nil
}

// exportTo writes beside the file and renames: a broken export leaves nothing that looks whole.
func exportTo(ctx context.Context, client *containerd.Client, ref, file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".easel-export-*")
	if err != nil {
		return fmt.Errorf("export image %s: %w", ref, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := gimp.Export(ctx, client, ref, f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close(), os.Rename(f.Name(), file)); err != nil {
		return fmt.Errorf("export image %s to %s: %w", ref, file, err)
	}
	return nil
}

func listImages(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("image list", false)
	asJSON := c.Bool("json", false, "print JSON")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	client, ctx, err := containerdOf(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := client.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("list the images of containerd at %s: %w", cfg.Containerd.Address, err)
	}
	type row struct {
		Reference string    `json:"reference"`
		Digest    string    `json:"digest"`
		Created   time.Time `json:"created"`
		Default   bool      `json:"default"`
	}
	rows := []row{}
	for _, i := range found {
		rows = append(rows, row{i.Name, i.Target.Digest.String(), i.CreatedAt, i.Name == cfg.Image})
	}
	if *asJSON {
		return indented(stdout, rows)
	}
	table := tabwriter.NewWriter(stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "REFERENCE\tDIGEST\tIMPORTED")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t%s\n", r.Reference, r.Digest, r.Created.Local().Format(time.RFC3339))
	}
	return table.Flush()
}
