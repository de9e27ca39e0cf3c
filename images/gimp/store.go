package gimp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Snapshotter is where images are unpacked.
const Snapshotter = "overlayfs"

// ImportOption changes how an image is imported.
type ImportOption func(*importer)

// WithProgress tells of each step of an import.
func WithProgress(p Progress) ImportOption { return func(i *importer) { i.progress = p } }

// Import puts a built image into containerd's content store under ref and unpacks it. What is there already is not copied again. The
// containerd namespace comes with ctx.
func Import(ctx context.Context, client *containerd.Client, built Built, ref string, options ...ImportOption) error {
	manifest, err := os.ReadFile(filepath.Join(built.Layout, "blobs", "sha256", built.Digest.Encoded()))
	if err != nil {
		return fmt.Errorf("import image %s: %w", ref, err)
	}
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: built.Digest, Size: int64(len(manifest))}
	if err := newImporter(client, layoutBlobs(built.Layout), options).run(ctx, target, ref); err != nil {
		return fmt.Errorf("import image %s from %s: %w", ref, built.Layout, err)
	}
	return nil
}

// blobs gives out the parts of an image by digest.
type blobs interface {
	open(d digest.Digest) (io.ReadCloser, error)
}

// layoutBlobs is an OCI image layout directory.
type layoutBlobs string

func (l layoutBlobs) open(d digest.Digest) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(l), "blobs", d.Algorithm().String(), d.Encoded()))
}

// importer copies one image from blobs into a containerd.
type importer struct {
	client   *containerd.Client
	source   blobs
	progress Progress
	started  time.Time
}

func newImporter(client *containerd.Client, source blobs, options []ImportOption) *importer {
	i := &importer{client: client, source: source, progress: func(string) {}, started: time.Now()}
	for _, o := range options {
		o(i)
	}
	return i
}

func (i *importer) run(ctx context.Context, target ocispec.Descriptor, ref string) error {
	// A lease keeps the garbage collector away until the image's name holds all of it.
	ctx, done, err := i.client.WithLease(ctx)
	if err != nil {
		return fmt.Errorf("take a lease: %w", err)
	}
	defer func() {
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = done(release) // the lease ends by itself within a day
	}()
	manifest, err := i.manifest(target)
	if err != nil {
		return err
	}
	labels := map[string]string{"containerd.io/gc.ref.content.config": manifest.Config.Digest.String()}
	for n, layer := range manifest.Layers {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", n)] = layer.Digest.String()
		i.say("layer %d of %d, %d MB", n+1, len(manifest.Layers), layer.Size/1e6)
		if err := i.copy(ctx, layer, nil); err != nil {
			return err
		}
	}
	if err := i.copy(ctx, manifest.Config, nil); err != nil {
		return err
	}
	if err := i.copy(ctx, target, labels); err != nil {
		return err
	}
	image, err := i.name(ctx, ref, target)
	if err != nil {
		return err
	}
	return i.unpack(ctx, image)
}

// maxManifest bounds what is read into memory: an image's manifest and configuration are a few kilobytes.
const maxManifest = 1 << 20

func (i *importer) manifest(target ocispec.Descriptor) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	text, err := readBlob(i.source, target)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read manifest %s: %w", target.Digest, err)
	}
	return m, nil
}

// readBlob reads a small blob and checks that it is the one named.
func readBlob(source blobs, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > maxManifest {
		return nil, fmt.Errorf("read %s: %d bytes are more than a manifest or configuration has", d.Digest, d.Size)
	}
	r, err := source.open(d.Digest)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.Digest, err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.Digest, err)
	}
	if int64(len(text)) != d.Size || digest.FromBytes(text) != d.Digest {
		return nil, fmt.Errorf("read %s: content does not match its digest and size", d.Digest)
	}
	return text, nil
}

// copy puts one blob into the content store, which checks its digest. A blob that is there only gets its labels.
func (i *importer) copy(ctx context.Context, d ocispec.Descriptor, labels map[string]string) error {
	store := i.client.ContentStore()
	r, err := i.source.open(d.Digest)
	if err != nil {
		return fmt.Errorf("copy %s: %w", d.Digest, err)
	}
	defer r.Close()
	var options []content.Opt
	if labels != nil {
		options = append(options, content.WithLabels(labels))
	}
	if err := content.WriteBlob(ctx, store, "easel-"+d.Digest.Encoded(), r, d, options...); err != nil {
		return fmt.Errorf("copy %s into containerd: %w", d.Digest, err)
	}
	if labels == nil {
		return nil
	}
	var fields []string
	for name := range labels {
		fields = append(fields, "labels."+name)
	}
	if _, err := store.Update(ctx, content.Info{Digest: d.Digest, Labels: labels}, fields...); err != nil {
		return fmt.Errorf("label %s: %w", d.Digest, err)
	}
	return nil
}

// name lets ref stand for the image, whatever it stood for.
func (i *importer) name(ctx context.Context, ref string, target ocispec.Descriptor) (containerd.Image, error) {
	service := i.client.ImageService()
	record := images.Image{Name: ref, Target: target, Labels: map[string]string{"io.easel.image": "gimp"}}
	stored, err := service.Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		stored, err = service.Update(ctx, record)
	}
	if err != nil {
		return nil, fmt.Errorf("name image: %w", err)
	}
	return containerd.NewImageWithPlatform(i.client, stored, platforms.Default()), nil
}

// unpack makes the snapshots that containers start from.
func (i *importer) unpack(ctx context.Context, image containerd.Image) error {
	there, err := image.IsUnpacked(ctx, Snapshotter)
	if err != nil {
		return fmt.Errorf("look whether the image is unpacked: %w", err)
	}
	if there {
		i.say("unpacked already")
		return nil
	}
	i.say("unpacking (seconds to a minute)")
	result := make(chan error, 1)
	go func() { result <- image.Unpack(ctx, Snapshotter) }()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-result:
			if err != nil {
				return fmt.Errorf("unpack image: %w", err)
			}
			i.say("unpacked")
			return nil
		case <-tick.C:
			i.say("still unpacking")
		}
	}
}

func (i *importer) say(format string, args ...any) {
	i.progress(fmt.Sprintf("import %4.0fs  ", time.Since(i.started).Seconds()) + fmt.Sprintf(format, args...))
}

// Export writes the image ref as an OCI archive: a tar of an image layout.
func Export(ctx context.Context, client *containerd.Client, ref string, w io.Writer) error {
	err := client.Export(ctx, w,
		archive.WithPlatform(platforms.Default()), archive.WithImage(client.ImageService(), ref), archive.WithSkipDockerManifest())
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("export image %s: %w: containerd has no such image: make it with \"noded image build\"", ref, err)
	}
	if err != nil {
		return fmt.Errorf("export image %s: %w", ref, err)
	}
	return nil
}

// WriteLocks writes what built was made of as the lock files in dir.
func WriteLocks(dir string, built Built) error {
	return errors.Join(writeLock(filepath.Join(dir, "packages.lock"), built.Packages), writeLock(filepath.Join(dir, "toolchain.lock"), built.Toolchain))
}

func writeLock(file string, l Lock) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	defer f.Close()
	if err := l.Write(f); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return f.Close()
}
