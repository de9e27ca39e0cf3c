package gimp

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

//go:embed all:rootfs
var rootfsFiles embed.FS

// embedded is one of our own files.
type embedded struct {
	Name string
	Text []byte
}

// embeddedTree is the files of f below dir, by name relative to dir, in order.
func embeddedTree(f fs.FS, dir string) ([]embedded, error) {
	var found []embedded
	err := fs.WalkDir(f, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(f, name)
		found = append(found, embedded{Name: strings.TrimPrefix(name, dir+"/"), Text: text})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read our own files below %s: %w", dir, err)
	}
	return found, nil
}

// InitPath is PID 1 in the image.
const InitPath = "usr/lib/easel/easel-init"

// files makes the top layer: easel-init, our configuration and what was compiled, by its path in the image.
func (b *builder) files(compiled map[string]string) (builtLayer, error) {
	ours, err := embeddedTree(rootfsFiles, "rootfs")
	if err != nil {
		return builtLayer{}, err
	}
	add := maps.Clone(compiled)
	add[InitPath] = b.options.InitBinary
	for name, file := range add {
		text, err := os.ReadFile(file)
		if err != nil {
			return builtLayer{}, fmt.Errorf("add %s to image: %w", name, err)
		}
		ours = append(ours, embedded{Name: name, Text: text})
	}
	slices.SortFunc(ours, func(a, b embedded) int { return strings.Compare(a.Name, b.Name) })
	name, err := key("files", struct {
		Sum   digest.Digest
		Epoch int64
	}{sumOf(ours), b.recipe.Epoch})
	if err != nil {
		return builtLayer{}, err
	}
	layer := builtLayer{file: b.cache.path(name, layerFile)}
	if ok, err := b.cache.load(name, &layer.Layer); err != nil || ok {
		return layer, err
	}
	err = b.step(name, &layer.Layer, func(dir string) error {
		layer.Layer, err = b.writeLayer(filepath.Join(dir, layerFile), func(l *layerWriter) error { return addFiles(l, ours) })
		return err
	})
	return layer, err
}

func sumOf(files []embedded) digest.Digest {
	d := digest.Canonical.Digester()
	for _, f := range files {
		fmt.Fprintf(d.Hash(), "%q %q\n", f.Name, f.Text)
	}
	return d.Digest()
}

// addFiles writes files with the directories they lie in, each once. Only easel-init can be executed.
func addFiles(l *layerWriter, files []embedded) error {
	if err := l.dir("home/artist", 0o755, ArtistUID); err != nil {
		return err
	}
	made := map[string]bool{}
	for _, f := range files {
		var above []string
		for dir := path.Dir(f.Name); dir != "."; dir = path.Dir(dir) {
			above = append(above, dir)
		}
		for _, dir := range slices.Backward(above) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := l.dir(dir, 0o755, 0); err != nil {
				return err
			}
		}
		mode := int64(0o644)
		if f.Name == InitPath {
			mode = 0o755
		}
		if err := l.file(f.Name, mode, f.Text); err != nil {
			return err
		}
	}
	return nil
}
