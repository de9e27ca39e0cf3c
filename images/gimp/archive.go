package gimp

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"runtime"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrBadArchive says that a file is not an image archive that can be imported; its text says what is wrong with it.
var ErrBadArchive = errors.New("not a usable image archive")

// Bounds of what an archive may hold: far above any image of ours, far below what would fill a node.
const (
	maxArchiveEntries = 4096
	maxIndexDepth     = 3
	maxLayers         = 128
	maxLayerEntries   = 2_000_000
	maxUnpacked       = 32 << 30 // bytes, all layers together
)

// ImportArchive checks an OCI archive from end to end, then puts its image into containerd under ref. Nothing is copied from an archive
// that is not whole and sound.
func ImportArchive(ctx context.Context, client *containerd.Client, file, ref string, options ...ImportOption) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("import image %s: %w", ref, err)
	}
	defer f.Close()
	a, err := openArchive(f)
	if err != nil {
		return fmt.Errorf("import image %s from %s: %w", ref, file, err)
	}
	i := newImporter(client, a, options)
	i.say("checking %s", file)
	target, err := a.check(ctx)
	if err != nil {
		return fmt.Errorf("import image %s from %s: %w", ref, file, err)
	}
	if err := i.run(ctx, target, ref); err != nil {
		return fmt.Errorf("import image %s from %s: %w", ref, file, err)
	}
	return nil
}

// part is where a file of the archive lies in it.
type part struct{ offset, size int64 }

// archiveFile is an OCI image layout in a tar.
type archiveFile struct {
	r     io.ReaderAt
	parts map[string]part // by name
}

// sized is what an archive is read from.
type sized interface {
	io.ReadSeeker
	io.ReaderAt
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadArchive, fmt.Sprintf(format, args...))
}

// openArchive finds the archive's parts. It reads headers only.
func openArchive(r sized) (*archiveFile, error) {
	end, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	a := &archiveFile{r: r, parts: map[string]part{}}
	in := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, bad("it is no tar file, or cut short (%v)", err)
		}
		if n == maxArchiveEntries {
			return nil, bad("more than %d entries", maxArchiveEntries)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || sparse(h) {
			return nil, bad("%q is no plain file", h.Name)
		}
		if !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../") {
			offset, err := r.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, fmt.Errorf("read archive: %w", err)
			}
			if h.Size > end-offset {
				return nil, bad("cut short within %q", h.Name)
			}
			if _, twice := a.parts[name]; twice {
				return nil, bad("%q is there twice", h.Name)
			}
			a.parts[name] = part{offset: offset, size: h.Size}
			continue
		}
		return nil, bad("%q lies outside the archive", h.Name)
	}
	return a, nil
}

func sparse(h *tar.Header) bool {
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (a *archiveFile) open(d digest.Digest) (io.ReadCloser, error) {
	p, ok := a.parts[blobName(d)]
	if !ok {
		return nil, bad("%s is missing", d)
	}
	return io.NopCloser(io.NewSectionReader(a.r, p.offset, p.size)), nil
}

func blobName(d digest.Digest) string { return path.Join("blobs", d.Algorithm().String(), d.Encoded()) }

// small reads one of the archive's JSON files into v.
func (a *archiveFile) small(name string, v any) error {
	p, ok := a.parts[name]
	if !ok {
		return bad("it has no %s: try an archive in OCI form (skopeo copy … oci-archive:FILE)", name)
	}
	if p.size > maxManifest {
		return bad("%s has %d bytes", name, p.size)
	}
	text := make([]byte, p.size)
	if _, err := a.r.ReadAt(text, p.offset); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return bad("%s: %v", name, err)
	}
	return nil
}

// check reads all that the image consists of, and returns its manifest.
func (a *archiveFile) check(ctx context.Context) (ocispec.Descriptor, error) {
	var layout ocispec.ImageLayout
	if err := a.small(ocispec.ImageLayoutFile, &layout); err != nil {
		return ocispec.Descriptor{}, err
	}
	if layout.Version != ocispec.ImageLayoutVersion {
		return ocispec.Descriptor{}, bad("layout version %q, not %s", layout.Version, ocispec.ImageLayoutVersion)
	}
	var index ocispec.Index
	if err := a.small(ocispec.ImageIndexFile, &index); err != nil {
		return ocispec.Descriptor{}, err
	}
	target, err := a.find(index, 0)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return target, a.checkImage(ctx, target)
}

// find is the manifest for this machine's platform.
func (a *archiveFile) find(index ocispec.Index, depth int) (ocispec.Descriptor, error) {
	if depth == maxIndexDepth {
		return ocispec.Descriptor{}, bad("indexes within indexes within indexes")
	}
	var found []ocispec.Descriptor
	for _, d := range index.Manifests {
		if err := checkDescriptor(d); err != nil {
			return ocispec.Descriptor{}, err
		}
		if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != runtime.GOARCH) {
			continue
		}
		switch {
		case images.IsManifestType(d.MediaType):
			found = append(found, d)
		case images.IsIndexType(d.MediaType):
			var inner ocispec.Index
			if err := a.blob(d, &inner); err != nil {
				return ocispec.Descriptor{}, err
			}
			m, err := a.find(inner, depth+1)
			if err != nil {
				return ocispec.Descriptor{}, err
			}
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return ocispec.Descriptor{}, bad("it holds %d images for linux/%s, not one", len(found), runtime.GOARCH)
	}
	return ocispec.Descriptor{MediaType: found[0].MediaType, Digest: found[0].Digest, Size: found[0].Size}, nil
}

func checkDescriptor(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return bad("%q is no sha256 digest", d.Digest)
	}
	if d.Size < 0 {
		return bad("%s has %d bytes", d.Digest, d.Size)
	}
	return nil
}

// blob reads a small blob, checked, into v.
func (a *archiveFile) blob(d ocispec.Descriptor, v any) error {
	if err := checkDescriptor(d); err != nil {
		return err
	}
	text, err := readBlob(a, d)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadArchive, err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return bad("%s: %v", d.Digest, err)
	}
	return nil
}

func (a *archiveFile) checkImage(ctx context.Context, target ocispec.Descriptor) error {
	var manifest ocispec.Manifest
	if err := a.blob(target, &manifest); err != nil {
		return err
	}
	var config ocispec.Image
	if err := a.blob(manifest.Config, &config); err != nil {
		return err
	}
	if config.OS != "linux" || config.Architecture != runtime.GOARCH {
		return bad("the image is for %s/%s, this machine is linux/%s", config.OS, config.Architecture, runtime.GOARCH)
	}
	if n := len(manifest.Layers); n == 0 || n > maxLayers || n != len(config.RootFS.DiffIDs) {
		return bad("%d layers, and %d in its configuration", n, len(config.RootFS.DiffIDs))
	}
	room := int64(maxUnpacked)
	for n, layer := range manifest.Layers {
		used, err := a.checkLayer(ctx, layer, config.RootFS.DiffIDs[n], room)
		if err != nil {
			return fmt.Errorf("layer %d: %w", n+1, err)
		}
		room -= used
	}
	return nil
}

// checkLayer reads a layer through: that it is the one named, is a tar that stays within the root, and unpacks to less than room bytes.
func (a *archiveFile) checkLayer(ctx context.Context, layer ocispec.Descriptor, diffID digest.Digest, room int64) (int64, error) {
	if err := checkDescriptor(layer); err != nil {
		return 0, err
	}
	if !images.IsLayerType(layer.MediaType) || strings.Contains(layer.MediaType, "encrypted") {
		return 0, bad("%q is no layer", layer.MediaType)
	}
	if p, ok := a.parts[blobName(layer.Digest)]; !ok || p.size != layer.Size {
		return 0, bad("%s is missing or has another size than its %d bytes", layer.Digest, layer.Size)
	}
	if err := a.checkDigest(ctx, layer.Digest); err != nil {
		return 0, err
	}
	packed, err := a.open(layer.Digest)
	if err != nil {
		return 0, err
	}
	stream, err := compression.DecompressStream(packed)
	if err != nil {
		return 0, bad("%s: %v", layer.Digest, err)
	}
	defer stream.Close()
	sum := digest.SHA256.Digester()
	plain := &bounded{ctx: ctx, r: io.TeeReader(stream, sum.Hash()), left: room}
	if err := checkLayerTar(plain); err != nil {
		return 0, fmt.Errorf("%s: %w", layer.Digest, err)
	}
	if got := sum.Digest(); got != diffID {
		return 0, bad("%s unpacks to %s, its configuration says %s", layer.Digest, got, diffID)
	}
	return room - plain.left, nil
}

// checkDigest reads a blob through and compares it with its name.
func (a *archiveFile) checkDigest(ctx context.Context, d digest.Digest) error {
	r, err := a.open(d)
	if err != nil {
		return err
	}
	sum := digest.SHA256.Digester()
	if _, err := io.Copy(sum.Hash(), &bounded{ctx: ctx, r: r, left: math.MaxInt64}); err != nil {
		return fmt.Errorf("read %s: %w", d, err)
	}
	if got := sum.Digest(); got != d {
		return bad("%s is damaged: its content is %s", d, got)
	}
	return nil
}

// checkLayerTar reads a layer's tar to its end and refuses names that lead out of the root.
func checkLayerTar(r io.Reader) error {
	in := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bad("no sound tar: %v", err)
		}
		if n == maxLayerEntries {
			return bad("more than %d files", maxLayerEntries)
		}
		if leadsOut(h.Name) || h.Typeflag == tar.TypeLink && leadsOut(h.Linkname) {
			return bad("%q leads out of the image", h.Name)
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return bad("%v", err)
	}
	return nil
}

// leadsOut says whether a tar name has a ".." that climbs above the root.
func leadsOut(name string) bool {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	return clean == ".." || strings.HasPrefix(clean, "../")
}

// bounded ends a stream that is longer than it may be, or whose reader gave up.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.left <= 0 {
		return 0, bad("unpacks to more than %d GB", int64(maxUnpacked)>>30)
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}
