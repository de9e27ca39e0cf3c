package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"easel/images/gimp"
)

// ImageRef names the small test image in every node's containerd.
const ImageRef = "easel.local/small:test"

// The small image is GIMP's without GIMP: the real easel-init, X server and pen driver out of the real image's layers, and stand-ins
// for the programs that are big or slow. So a session of it is a real session, in a tenth of the room and of the time.

// wantedTrees and wantedFiles are what of the real image the small one keeps; libraries follow from the programs.
var (
	wantedTrees = []string{"usr/share/X11/xkb", "usr/share/easel", "etc/easel", "usr/lib/easel"}
	wantedFiles = []string{
		"usr/lib/xorg/Xorg", "usr/lib/xorg/protocol.txt", "usr/lib/xorg/modules/drivers/dummy_drv.so", "usr/lib/xorg/modules/libwfb.so",
		"usr/lib/xorg/modules/libint10.so", "usr/lib/xorg/modules/libshadow.so", "usr/lib/xorg/modules/libshadowfb.so", "usr/lib/xorg/modules/libvgahw.so",
		"usr/bin/xkbcomp", "bin/sh", "etc/passwd", "etc/group", "etc/hosts", "etc/hostname", "etc/machine-id",
	}
	emptyDirs = []string{"dev", "etc", "proc", "run", "sys", "tmp", "usr", "var", "var/lib", "var/lib/xkb", "home", "home/artist"}
)

// standins are the programs that easel-init starts and that the small image only plays.
var standins = []string{"dbus-daemon", "openbox", "pulseaudio", "X0tigervnc", "gimp-3.0"}

// entry is one file of an image's tree.
type entry struct {
	header tar.Header
	source io.ReaderAt // of a regular file; the body lies at offset
	offset int64
}

func (e entry) body() *io.SectionReader {
	return io.NewSectionReader(e.source, e.offset, e.header.Size)
}

// tree is an image's file system, all layers as one.
type tree map[string]entry

// addLayer lays an uncompressed layer over the tree.
func (t tree) addLayer(f *os.File) error {
	counted := &seekCounter{f: f}
	for in := tar.NewReader(counted); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer %s: %w", f.Name(), err)
		}
		h.Name = strings.Trim(path.Clean("/"+h.Name), "/")
		t[h.Name] = entry{header: *h, source: f, offset: counted.at}
	}
}

// seekCounter lets a tar reader skip bodies and tells where it is.
type seekCounter struct {
	f  *os.File
	at int64
}

func (s *seekCounter) Read(p []byte) (int, error) {
	n, err := s.f.Read(p)
	s.at += int64(n)
	return n, err
}

func (s *seekCounter) Seek(offset int64, whence int) (int64, error) {
	at, err := s.f.Seek(offset, whence)
	s.at = at
	return at, err
}

// take copies a file into small with the links that lead to it and, of a program, the libraries that it needs.
func (t tree) take(small tree, name string) error {
	for hops := 0; ; hops++ {
		real, err := t.resolveParents(small, name)
		if err != nil {
			return err
		}
		e, ok := t[real]
		if !ok || hops > 8 {
			return fmt.Errorf("the session image has no %s", name)
		}
		if _, known := small[real]; known {
			return nil
		}
		small[real] = e
		switch e.header.Typeflag {
		case tar.TypeSymlink:
			name = join(path.Dir(real), e.header.Linkname)
		case tar.TypeLink:
			target := t[strings.Trim(path.Clean("/"+e.header.Linkname), "/")]
			target.header.Name = real
			small[real] = target
			return t.takeLibraries(small, real, target)
		default:
			return t.takeLibraries(small, real, e)
		}
	}
}

// resolveParents follows the links among name's directories (bin → usr/bin), which small gets too.
func (t tree) resolveParents(small tree, name string) (string, error) {
	parts := strings.Split(name, "/")
	at := ""
	for i, part := range parts[:len(parts)-1] {
		at = strings.Trim(at+"/"+part, "/")
		e, ok := t[at]
		if ok && e.header.Typeflag == tar.TypeSymlink {
			small[at] = e
			return t.resolveParents(small, path.Join(append([]string{join(path.Dir(at), e.header.Linkname)}, parts[i+1:]...)...))
		}
	}
	return name, nil
}

func join(dir, link string) string {
	if path.IsAbs(link) {
		return strings.Trim(path.Clean(link), "/")
	}
	return strings.Trim(path.Clean("/"+dir+"/"+link), "/")
}

func (t tree) takeLibraries(small tree, name string, e entry) error {
	if e.header.Typeflag != tar.TypeReg {
		return nil
	}
	var magic [4]byte
	if _, err := e.body().ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil
	}
	f, err := elf.NewFile(e.body())
	if err != nil {
		return fmt.Errorf("read program %s: %w", name, err)
	}
	needs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read program %s: %w", name, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(p.Open())
			if err != nil {
				return err
			}
			if err := t.take(small, strings.Trim(string(text), "/\x00")); err != nil {
				return err
			}
		}
	}
	for _, lib := range needs {
		at, err := t.library(lib)
		if err != nil {
			return fmt.Errorf("program %s: %w", name, err)
		}
		if err := t.take(small, at); err != nil {
			return err
		}
	}
	return nil
}

// library finds a shared library where Debian's loader looks.
func (t tree) library(name string) (string, error) {
	for file := range t {
		dir, base := path.Split(file)
		if base == name && strings.HasPrefix(dir, "usr/lib/") && (strings.HasSuffix(dir, "-linux-gnu/") || dir == "usr/lib/") {
			return file, nil
		}
	}
	return "", fmt.Errorf("the session image has no library %s", name)
}

// write writes the tree as a layer and returns the layer's digest and size.
func (t tree) write(file string) (digest.Digest, int64, error) {
	f, err := os.Create(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := digest.Canonical.Digester()
	w := tar.NewWriter(io.MultiWriter(f, sum.Hash()))
	for _, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		h := tar.Header{
			Typeflag: e.header.Typeflag, Name: name, Linkname: e.header.Linkname, Size: e.header.Size,
			Mode: e.header.Mode, Uid: e.header.Uid, Gid: e.header.Gid, ModTime: e.header.ModTime,
		}
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := w.WriteHeader(&h); err != nil {
			return "", 0, fmt.Errorf("write %s into the layer: %w", name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.Copy(w, e.body()); err != nil {
				return "", 0, fmt.Errorf("write %s into the layer: %w", name, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return "", 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	return sum.Digest(), info.Size(), nil
}

// buildImage makes the small image as an OCI layout below dir. The real image comes from the cache, or is built into it.
func buildImage(ctx context.Context, cache, bin, dir string) (gimp.Built, error) {
	recipe, err := gimp.DefaultRecipe()
	if err != nil {
		return gimp.Built{}, err
	}
	whole, err := gimp.Build(ctx, recipe, gimp.Options{Cache: cache, InitBinary: filepath.Join(bin, "easel-init")})
	if err != nil {
		return gimp.Built{}, err
	}
	full := tree{}
	for _, l := range whole.Layers {
		f, err := os.Open(filepath.Join(whole.Layout, "blobs", "sha256", l.Digest.Encoded()))
		if err != nil {
			return gimp.Built{}, err
		}
		defer f.Close()
		if err := full.addLayer(f); err != nil {
			return gimp.Built{}, err
		}
	}
	small, err := full.shrink()
	if err != nil {
		return gimp.Built{}, fmt.Errorf("make the small image: %w", err)
	}
	if err := small.addStandins(ctx, dir); err != nil {
		return gimp.Built{}, err
	}
	small.addParents()
	return small.layout(filepath.Join(dir, "image"))
}

func (t tree) shrink() (tree, error) {
	small := tree{}
	for _, name := range wantedFiles {
		if err := t.take(small, name); err != nil {
			return nil, err
		}
	}
	for name := range t {
		for _, dir := range wantedTrees {
			if strings.HasPrefix(name, dir+"/") {
				if err := t.take(small, name); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, dir := range emptyDirs {
		e, ok := t[dir]
		if !ok {
			e.header = tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
		}
		small[dir] = e
	}
	return small, nil
}

// addStandins compiles the program that plays all the others, static, and gives it their names.
func (t tree) addStandins(ctx context.Context, dir string) error {
	program := filepath.Join(dir, "standin")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", program, "./integration/cluster/standin")
	cmd.Dir, cmd.Env = checkout(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the stand-ins: %w: %s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	const at = "usr/lib/easel/standin"
	t[at] = entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(text))}, source: bytes.NewReader(text)}
	for _, name := range standins {
		t["usr/bin/"+name] = entry{header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/" + at, Mode: 0o777}}
	}
	return nil
}

// addParents adds the directories that files lie in, which a layer must name before them.
func (t tree) addParents() {
	for _, name := range slices.Collect(maps.Keys(t)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := t[dir]; !ok {
				t[dir] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
			}
		}
	}
}

// layout writes the tree as an OCI image layout of one layer.
func (t tree) layout(dir string) (gimp.Built, error) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return gimp.Built{}, err
	}
	layer, size, err := t.write(filepath.Join(blobs, "layer"))
	if err != nil {
		return gimp.Built{}, err
	}
	if err := os.Rename(filepath.Join(blobs, "layer"), filepath.Join(blobs, layer.Encoded())); err != nil {
		return gimp.Built{}, err
	}
	put := func(kind string, v any) (ocispec.Descriptor, error) {
		text, err := json.Marshal(v)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		d := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(text), Size: int64(len(text))}
		return d, os.WriteFile(filepath.Join(blobs, d.Digest.Encoded()), text, 0o644)
	}
	config, err := put(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: goruntime.GOARCH},
		Config:   ocispec.ImageConfig{Env: gimp.Environment(), Labels: map[string]string{ocispec.AnnotationTitle: "Easel session: small, for tests"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}},
	})
	if err != nil {
		return gimp.Built{}, err
	}
	manifest, err := put(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: layer, Size: size}},
	})
	if err != nil {
		return gimp.Built{}, err
	}
	return gimp.Built{Digest: manifest.Digest, Layout: dir, Layers: []gimp.Layer{{Digest: layer, Size: size}}}, nil
}

// checkout is the root of the source tree that this package was compiled from.
func checkout() string {
	_, file, _, _ := goruntime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}
