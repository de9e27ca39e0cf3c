package gimp

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Layer is one uncompressed layer on disk: its digest is both the blob's and the diff ID.
type Layer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// layerWriter writes a layer tar in which nothing depends on when, where or by whom it was built.
type layerWriter struct {
	tar    *tar.Writer
	digest digest.Digester
	size   countingWriter
	epoch  time.Time
}

func newLayerWriter(w io.Writer, epoch int64) *layerWriter {
	l := &layerWriter{digest: digest.Canonical.Digester(), epoch: time.Unix(epoch, 0)}
	l.tar = tar.NewWriter(io.MultiWriter(w, l.digest.Hash(), &l.size))
	return l
}

// add writes one entry, normalised: whole seconds no later than the epoch, numeric owners only, no set-user-ID bit, no
// extended attributes (so no file capabilities either).
func (l *layerWriter) add(h *tar.Header, body io.Reader) error {
	mtime := h.ModTime.Truncate(time.Second)
	if mtime.After(l.epoch) {
		mtime = l.epoch
	}
	mode := h.Mode & 0o7777
	if h.Typeflag != tar.TypeDir {
		mode &^= 0o6000
	}
	clean := &tar.Header{
		Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size,
		Mode: mode, Uid: h.Uid, Gid: h.Gid, ModTime: mtime,
	}
	if err := l.tar.WriteHeader(clean); err != nil {
		return fmt.Errorf("write %s into layer: %w", h.Name, err)
	}
	if h.Typeflag == tar.TypeReg {
		if _, err := io.Copy(l.tar, body); err != nil {
			return fmt.Errorf("write %s into layer: %w", h.Name, err)
		}
	}
	return nil
}

func (l *layerWriter) dir(name string, mode int64, uid int) error {
	return l.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: uid, Gid: uid, ModTime: l.epoch}, nil)
}

func (l *layerWriter) file(name string, mode int64, text []byte) error {
	return l.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(text)), ModTime: l.epoch}, bytes.NewReader(text))
}

func (l *layerWriter) close() (Layer, error) {
	if err := l.tar.Close(); err != nil {
		return Layer{}, fmt.Errorf("finish layer: %w", err)
	}
	return Layer{Digest: l.digest.Digest(), Size: int64(l.size)}, nil
}

type countingWriter int64

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}

// dpkgStatus is the file in which the base layer says what is installed.
const dpkgStatus = "var/lib/dpkg/status"

// filterBase turns the tar of a fresh root into the base layer: what the image has no use for is left out and every entry is
// normalised. It returns the packages installed.
func filterBase(dst *layerWriter, src io.Reader, keep func(name string) bool) ([]Package, error) {
	var packages []Package
	left := map[string]bool{} // files left out, that no hard link may point to
	for in := tar.NewReader(src); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the new root: %w", err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			continue
		}
		if !keep(name) || h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeFifo {
			left[name] = true
			continue
		}
		h.Name = name
		var body io.Reader = in
		switch h.Typeflag {
		case tar.TypeDir:
			h.Name += "/"
		case tar.TypeLink:
			h.Linkname = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
			if left[h.Linkname] {
				return nil, fmt.Errorf("filter the new root: %s is a link to %s, which is left out", name, h.Linkname)
			}
		}
		if name == dpkgStatus {
			text, err := io.ReadAll(in)
			if err != nil {
				return nil, fmt.Errorf("read the new root's package list: %w", err)
			}
			if packages, err = parseStatus(bytes.NewReader(text)); err != nil {
				return nil, err
			}
			body = bytes.NewReader(text)
		}
		if err := dst.add(h, body); err != nil {
			return nil, err
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("read the new root: no packages in %s", dpkgStatus)
	}
	return packages, nil
}

// addTree writes the files below dir, in order of their names, under prefix in the layer, for root to write and all to read.
func (l *layerWriter) addTree(dir, prefix string, keep func(name string) bool) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("add %s to layer: %w", dir, err)
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		name := path.Join(prefix, filepath.ToSlash(rel))
		if rel != "." && !keep(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case d.IsDir():
			return l.dir(name, 0o755, 0)
		case d.Type().IsRegular():
			text, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("add %s to layer: %w", file, err)
			}
			return l.file(name, 0o644, text)
		default: // sockets and the like are no part of an image
			return nil
		}
	})
}

// emptiedTrees are directories that the base layer holds empty, each for a reason.
var emptiedTrees = []string{
	"boot", "dev", "media", "mnt", "opt", "proc", "run", "srv", "sys", "tmp", "home", "root", // the runtime's own, or unused
	"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/lintian", "usr/share/bug", // nobody reads them in a session
	"usr/share/i18n",                  // sources of locales: the one we need is generated
	"usr/lib/udev", "usr/lib/systemd", // hardware and service management: the container has neither
	"usr/share/X11/xorg.conf.d",                                             // the distribution's input set-up: ours is whole
	"var/cache", "var/log", "var/lib/apt", "var/lib/systemd", "var/backups", // differ from build to build
}

// droppedFiles are the container's own or differ from build to build.
var droppedFiles = []string{"etc/machine-id", "etc/hostname", "etc/resolv.conf", "etc/hosts", "var/lib/dbus/machine-id"}

// keptLocales are the languages in which GIMP's menus can be had; the others' translations are left out (150 MB).
var keptLocales = []string{
	"ca", "cs", "da", "de", "el", "en_CA", "en_GB", "es", "fi", "fr", "hu", "it", "ja", "ko", "nb", "nl", "nn", "pl", "pt", "pt_BR", "ro", "ru",
	"sk", "sv", "tr", "uk", "vi", "zh_CN", "zh_TW",
}

// droppedLibraries have no user in the image: X and GIMP draw without OpenGL (the server runs without its GLX module).
var droppedLibraries = []string{"libLLVM", "libgallium"}

// keepInBase says whether the base layer holds the file of that name.
func keepInBase(name string) bool {
	if slices.Contains(droppedFiles, name) {
		return false
	}
	for _, tree := range emptiedTrees {
		if strings.HasPrefix(name, tree+"/") {
			return false
		}
	}
	if rest, ok := strings.CutPrefix(name, "usr/share/locale/"); ok {
		language, _, _ := strings.Cut(rest, "/")
		return slices.Contains(keptLocales, language)
	}
	if strings.Contains(name, "/gimp/3.0/plug-ins/test-sphere-v3/") {
		return false // an example for programmers, and GIMP asks it anew at each first start
	}
	base := path.Base(name)
	for _, lib := range droppedLibraries {
		if strings.HasPrefix(base, lib) && strings.Contains(base, ".so") {
			return false
		}
	}
	return true
}
