package integration

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
)

// hostileBinary builds integration/hostile once, static, since its images hold nothing else.
var hostileBinary = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "easel-hostile-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "hostile")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", out, "easel/integration/hostile")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the hostile program: %w: %s", err, b)
	}
	return os.ReadFile(out)
})

// hostileImage imports an image whose PID 1 is the hostile program in one of its modes, as an operator would, and returns its
// reference.
func (w *world) hostileImage(t *testing.T, mode string) string {
	t.Helper()
	binary, err := hostileBinary()
	if err != nil {
		t.Fatal(err)
	}
	ref := "easel.local/hostile:" + mode
	path := filepath.Join(t.TempDir(), "image.tar")
	layer := layerTar(t, map[string][]byte{"usr/lib/easel/easel-init": binary, "mode": []byte(mode + "\n")})
	if err := os.WriteFile(path, ociArchive(t, ref, layer), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.stack.NodedCLI(t.Context(), "image", "import", path, ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

// layerTar is one layer: the directories that a session's mounts need, and files.
func layerTar(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, d := range []string{"usr", "usr/lib", "usr/lib/easel", "run", "tmp", "proc", "sys", "dev", "home", "home/artist", "etc", "var"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	files["etc/passwd"] = []byte("root:x:0:0::/:/\nartist:x:1000:1000::/home/artist:/\n")
	files["etc/group"] = []byte("root:x:0:\nartist:x:1000:\n")
	for name, data := range files {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ociArchive is an OCI image layout of one image as a tar file.
func ociArchive(t *testing.T, ref string, layer []byte) []byte {
	t.Helper()
	blobs := map[string][]byte{}
	put := func(mediaType string, b []byte) v1.Descriptor {
		d := digest.FromBytes(b)
		blobs["blobs/sha256/"+d.Encoded()] = b
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
	}
	asJSON := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	versioned := specs.Versioned{SchemaVersion: 2}
	config := put(v1.MediaTypeImageConfig, asJSON(v1.Image{
		Platform: v1.Platform{Architecture: "amd64", OS: "linux"},
		Config:   v1.ImageConfig{Cmd: []string{"/usr/lib/easel/easel-init"}},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.NewDigestFromBytes(digest.SHA256, sum(layer))}},
	}))
	manifest := put(v1.MediaTypeImageManifest, asJSON(v1.Manifest{
		Versioned: versioned, MediaType: v1.MediaTypeImageManifest, Config: config,
		Layers: []v1.Descriptor{put(v1.MediaTypeImageLayer, layer)},
	}))
	manifest.Platform = &v1.Platform{Architecture: "amd64", OS: "linux"}
	manifest.Annotations = map[string]string{v1.AnnotationRefName: ref, "io.containerd.image.name": ref}
	files := blobs
	files["oci-layout"] = asJSON(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	files["index.json"] = asJSON(v1.Index{Versioned: versioned, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{manifest}})
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, data := range files {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}
