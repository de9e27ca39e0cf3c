package gimp

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout writes the finished image as an OCI image layout (image-spec, image-layout.md) into the cache and says in built where. The
// layers are hard links: a layout costs no space.
func (b *builder) layout(built *Built, layers []builtLayer) error {
	config, err := b.config(built, layers)
	if err != nil {
		return err
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
	}
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: l.Digest, Size: l.Size})
	}
	manifestText, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	built.Digest = digest.FromBytes(manifestText)
	name := "layout-" + built.Digest.Encoded()[:20]
	built.Layout = b.cache.path(name)
	var done bool
	if ok, err := b.cache.load(name, &done); err != nil || ok {
		return err
	}
	done = true
	return b.step(name, &done, func(dir string) error {
		blobs := filepath.Join(dir, "blobs", "sha256")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			return fmt.Errorf("write image layout: %w", err)
		}
		for _, l := range layers {
			if err := os.Link(l.file, filepath.Join(blobs, l.Digest.Encoded())); err != nil {
				return fmt.Errorf("write image layout: %w", err)
			}
		}
		index, err := json.Marshal(ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{{
				MediaType: ocispec.MediaTypeImageManifest, Digest: built.Digest, Size: int64(len(manifestText)), Platform: b.platform(),
			}},
		})
		if err != nil {
			return fmt.Errorf("write image index: %w", err)
		}
		for file, text := range map[string][]byte{
			filepath.Join(blobs, manifest.Config.Digest.Encoded()): config,
			filepath.Join(blobs, built.Digest.Encoded()):           manifestText,
			filepath.Join(dir, ocispec.ImageIndexFile):             index,
			filepath.Join(dir, ocispec.ImageLayoutFile):            []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`),
		} {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				return fmt.Errorf("write image layout: %w", err)
			}
		}
		return nil
	})
}

// goArch is Go's (and OCI's) name of a Debian architecture.
var goArch = map[string]string{"armhf": "arm", "i386": "386", "ppc64el": "ppc64le"}

func (b *builder) platform() *ocispec.Platform {
	arch := b.recipe.Arch
	if a, ok := goArch[arch]; ok {
		arch = a
	}
	return &ocispec.Platform{Architecture: arch, OS: "linux"}
}

// config is the image's configuration: what runs, as whom, and of which layers the root consists.
func (b *builder) config(built *Built, layers []builtLayer) ([]byte, error) {
	created := time.Unix(b.recipe.Epoch, 0).UTC()
	image := ocispec.Image{
		Created: &created, Platform: *b.platform(),
		Config: ocispec.ImageConfig{
			User: fmt.Sprintf("%d:%d", ArtistUID, ArtistUID), Env: Environment(), Entrypoint: []string{"/" + InitPath}, WorkingDir: "/home/artist",
			StopSignal: "SIGTERM",
			Labels: map[string]string{
				ocispec.AnnotationTitle:   "Easel session: GIMP",
				"io.easel.image.suite":    b.recipe.Suite,
				"io.easel.image.packages": built.Packages.Digest().String(),
			},
		},
		RootFS: ocispec.RootFS{Type: "layers"},
	}
	for i, what := range []string{"packages of " + b.recipe.Suite, "GIMP's profile and the fonts' cache", "easel-init, pen driver, configuration"} {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, layers[i].Digest)
		image.History = append(image.History, ocispec.History{Created: &created, CreatedBy: "easel: " + what})
	}
	text, err := json.Marshal(image)
	if err != nil {
		return nil, fmt.Errorf("write image configuration: %w", err)
	}
	return text, nil
}
