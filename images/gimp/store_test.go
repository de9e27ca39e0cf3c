package gimp

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/introspection"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// applier is containerd's diff service without its comparing half, which an import has no use for.
type applier struct {
	diff.Applier
	diff.Comparer
}

// noPlugins answers what an import asks of a daemon's plugins: there is none, so nothing special can be done.
type noPlugins struct{ introspection.Service }

func (noPlugins) Plugins(context.Context, ...string) (*introspectionapi.PluginsResponse, error) {
	return &introspectionapi.PluginsResponse{}, nil
}

// store is containerd's own content store, metadata and unpacking, in this process and without its daemon.
func store(t *testing.T) (*containerd.Client, context.Context) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("unpacking an image changes owners: run the tests as root")
	}
	dir := t.TempDir()
	content, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	snapshotter, err := native.NewSnapshotter(filepath.Join(dir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(snapshotter.Close(), db.Close()) })
	meta := metadata.NewDB(db, content, map[string]snapshots.Snapshotter{Snapshotter: snapshotter})
	ctx := namespaces.WithNamespace(t.Context(), "easel-test")
	if err := meta.Init(ctx); err != nil {
		t.Fatal(err)
	}
	client, err := containerd.New("", containerd.WithServices(
		containerd.WithContentStore(meta.ContentStore()), containerd.WithImageStore(metadata.NewImageStore(meta)),
		containerd.WithLeasesService(metadata.NewLeaseManager(meta)),
		containerd.WithSnapshotters(map[string]snapshots.Snapshotter{Snapshotter: meta.Snapshotter(Snapshotter)}),
		containerd.WithDiffService(applier{Applier: apply.NewFileSystemApplier(meta.ContentStore())}),
		containerd.WithIntrospectionService(noPlugins{}),
	))
	if err != nil {
		t.Fatal(err)
	}
	return client, ctx
}

// smallImage is a built image of a few bytes, made by the builder's own last step; text differs, so does the image's top layer.
func smallImage(t *testing.T, text string) Built {
	t.Helper()
	dir := t.TempDir()
	b := &builder{recipe: validRecipe(), cache: cache{dir}, work: t.TempDir(), progress: func(string) {}}
	b.recipe.Arch = debianArch()
	var layers []builtLayer
	for i, name := range []string{"base", "profile", "files"} {
		file := filepath.Join(dir, name+".tar")
		layer, err := b.writeLayer(file, func(l *layerWriter) error {
			content := name
			if i == 2 {
				content = text
			}
			return l.file(name+".txt", 0o644, []byte(content))
		})
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, builtLayer{layer, file})
	}
	built := Built{Packages: lockOf(Package{"gimp", "3", "amd64"})}
	b.work = dir // hard links want one file system
	if err := b.layout(&built, layers); err != nil {
		t.Fatal(err)
	}
	return built
}

func TestImportIsWholeAndDoneOnce(t *testing.T) {
	client, ctx := store(t)
	built := smallImage(t, "one")
	for range 2 {
		if err := Import(ctx, client, built, "easel.local/test:1"); err != nil {
			t.Fatal(err)
		}
	}
	image, err := client.GetImage(ctx, "easel.local/test:1")
	if err != nil {
		t.Fatal(err)
	}
	if image.Target().Digest != built.Digest {
		t.Errorf("the name stands for %s, want %s", image.Target().Digest, built.Digest)
	}
	if ok, err := image.IsUnpacked(ctx, Snapshotter); err != nil || !ok {
		t.Errorf("unpacked: %v, %v", ok, err)
	}
	info, err := client.ContentStore().Info(ctx, built.Digest)
	if err != nil {
		t.Fatal(err)
	}
	references := 0
	for label := range info.Labels {
		if strings.HasPrefix(label, "containerd.io/gc.ref.content.") {
			references++
		}
	}
	if references != 4 {
		t.Errorf("the manifest keeps %d blobs from the garbage collector, not its configuration and three layers: %v", references, info.Labels)
	}
}

func TestNewTopLayerLeavesTheLayersBelowAlone(t *testing.T) {
	client, ctx := store(t)
	var images []containerd.Image
	for _, text := range []string{"one", "two"} {
		if err := Import(ctx, client, smallImage(t, text), "easel.local/test:1"); err != nil {
			t.Fatal(err)
		}
		image, err := client.GetImage(ctx, "easel.local/test:1")
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	if images[0].Target().Digest == images[1].Target().Digest {
		t.Fatal("the name still stands for the old image")
	}
	count := 0
	if err := client.SnapshotService(Snapshotter).Walk(ctx, func(context.Context, snapshots.Info) error { count++; return nil }); err != nil {
		t.Fatal(err)
	}
	if count != 4 {
		t.Errorf("%d snapshots, want the two below and two tops", count)
	}
}

func TestExportedArchiveIsTakenBack(t *testing.T) {
	client, ctx := store(t)
	built := smallImage(t, "one")
	if err := Import(ctx, client, built, "easel.local/test:1"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Export(ctx, client, "easel.local/test:1", out), out.Close()); err != nil {
		t.Fatal(err)
	}
	other, ctx := store(t)
	if err := ImportArchive(ctx, other, file, "easel.local/back:1"); err != nil {
		t.Fatal(err)
	}
	image, err := other.GetImage(ctx, "easel.local/back:1")
	if err != nil {
		t.Fatal(err)
	}
	if image.Target().Digest != built.Digest {
		t.Errorf("came back as %s, was %s", image.Target().Digest, built.Digest)
	}
}

func TestExportOfNothingSaysWhatToDo(t *testing.T) {
	client, ctx := store(t)
	err := Export(ctx, client, "easel.local/none:1", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "noded image build") {
		t.Errorf("got %v", err)
	}
}

// archiveParts is an image archive in the making, for tests to spoil.
type archiveParts struct {
	files map[string][]byte
	extra []tar.Header // entries without content
}

func blob(files map[string][]byte, mediaType string, text []byte) ocispec.Descriptor {
	d := digest.FromBytes(text)
	files[blobName(d)] = text
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(text))}
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// archiveOf makes an archive around one layer; spoil may change the manifest and configuration before they are written.
func archiveOf(t testing.TB, layer []byte, spoil func(*ocispec.Manifest, *ocispec.Image)) archiveParts {
	t.Helper()
	a := archiveParts{files: map[string][]byte{ocispec.ImageLayoutFile: []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Layers: []ocispec.Descriptor{blob(a.files, ocispec.MediaTypeImageLayer, layer)},
	}
	spoil(&manifest, &config)
	manifest.Config = blob(a.files, ocispec.MediaTypeImageConfig, asJSON(t, config))
	target := blob(a.files, ocispec.MediaTypeImageManifest, asJSON(t, manifest))
	a.files[ocispec.ImageIndexFile] = asJSON(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{target}})
	return a
}

func (a archiveParts) bytes(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range a.extra {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		text := a.files[name]
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func layerOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	return archiveParts{extra: entries}.bytes(t)
}

func checkArchive(text []byte) error {
	a, err := openArchive(bytes.NewReader(text))
	if err != nil {
		return err
	}
	_, err = a.check(context.Background())
	return err
}

func TestMalformedArchivesAreRefusedInWords(t *testing.T) {
	keep := func(*ocispec.Manifest, *ocispec.Image) {}
	plain := layerOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "etc/hello", Mode: 0o644})
	good := archiveOf(t, plain, keep)
	if err := checkArchive(good.bytes(t)); err != nil {
		t.Fatalf("a sound archive: %v", err)
	}
	with := func(change func(archiveParts)) []byte {
		a := archiveOf(t, plain, keep)
		change(a)
		return a.bytes(t)
	}
	manifestFile := func(a archiveParts) string {
		for name, text := range a.files {
			if bytes.Contains(text, []byte(`"layers":[`)) {
				return name
			}
		}
		t.Fatal("no manifest")
		return ""
	}
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"empty file":        {nil, "no oci-layout"},
		"no tar":            {[]byte(strings.Repeat("easel", 1000)), "no tar file"},
		"cut short":         {good.bytes(t)[:600], "cut short"},
		"no index":          {with(func(a archiveParts) { delete(a.files, ocispec.ImageIndexFile) }), "no index.json"},
		"index is no JSON":  {with(func(a archiveParts) { a.files[ocispec.ImageIndexFile] = []byte("{") }), "index.json"},
		"index is huge":     {with(func(a archiveParts) { a.files[ocispec.ImageIndexFile] = make([]byte, maxManifest+1) }), "bytes"},
		"another layout":    {with(func(a archiveParts) { a.files[ocispec.ImageLayoutFile] = []byte(`{"imageLayoutVersion":"9"}`) }), "layout version"},
		"no manifest":       {with(func(a archiveParts) { delete(a.files, manifestFile(a)) }), "missing"},
		"manifest changed":  {with(func(a archiveParts) { a.files[manifestFile(a)] = append([]byte(" "), a.files[manifestFile(a)]...) }), "does not match"},
		"layer missing":     {with(func(a archiveParts) { delete(a.files, blobName(digest.FromBytes(plain))) }), "missing"},
		"layer damaged":     {with(func(a archiveParts) { a.files[blobName(digest.FromBytes(plain))] = make([]byte, len(plain)) }), "damaged"},
		"no image in index": {with(func(a archiveParts) { a.files[ocispec.ImageIndexFile] = []byte(`{"schemaVersion":2,"manifests":[]}`) }), "0 images"},
		"digest is a path": {with(func(a archiveParts) {
			a.files[ocispec.ImageIndexFile] = []byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../etc/passwd","size":3}]}`)
		}), "no sha256 digest"},
		"path escape": {archiveParts{files: good.files, extra: []tar.Header{{Typeflag: tar.TypeReg, Name: "../../etc/cron.d/x", Mode: 0o644}}}.bytes(t), "outside"},
		"link":        {archiveParts{files: good.files, extra: []tar.Header{{Typeflag: tar.TypeSymlink, Name: "blobs/sha256", Linkname: "/etc"}}}.bytes(t), "no plain file"},
		"layer escapes": {
			archiveOf(t, layerOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "../../evil", Mode: 0o644}), keep).bytes(t), "leads out",
		},
		"layer links out": {
			archiveOf(t, layerOf(t, tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "../b"}), keep).bytes(t), "leads out",
		},
		"layer is no tar":  {archiveOf(t, []byte(strings.Repeat("x", 2000)), keep).bytes(t), "no sound tar"},
		"wrong diff ID":    {archiveOf(t, plain, func(_ *ocispec.Manifest, c *ocispec.Image) { c.RootFS.DiffIDs[0] = digest.FromString("x") }).bytes(t), "unpacks to"},
		"too few diff IDs": {archiveOf(t, plain, func(_ *ocispec.Manifest, c *ocispec.Image) { c.RootFS.DiffIDs = nil }).bytes(t), "1 layers"},
		"no layers":        {archiveOf(t, plain, func(m *ocispec.Manifest, c *ocispec.Image) { m.Layers, c.RootFS.DiffIDs = nil, nil }).bytes(t), "0 layers"},
		"other machine":    {archiveOf(t, plain, func(_ *ocispec.Manifest, c *ocispec.Image) { c.Architecture = "s390x" }).bytes(t), "s390x"},
		"no layer type":    {archiveOf(t, plain, func(m *ocispec.Manifest, _ *ocispec.Image) { m.Layers[0].MediaType = "text/html" }).bytes(t), "no layer"},
		"layer size lies":  {archiveOf(t, plain, func(m *ocispec.Manifest, _ *ocispec.Image) { m.Layers[0].Size-- }).bytes(t), "another size"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkArchive(c.text)
			if !errors.Is(err, ErrBadArchive) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestBadArchiveLeavesNothingInContainerd(t *testing.T) {
	client, ctx := store(t)
	file := filepath.Join(t.TempDir(), "bad.tar")
	a := archiveOf(t, []byte("no tar"), func(*ocispec.Manifest, *ocispec.Image) {})
	if err := os.WriteFile(file, a.bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ImportArchive(ctx, client, file, "easel.local/bad:1"); !errors.Is(err, ErrBadArchive) {
		t.Fatalf("got %v", err)
	}
	if list, err := client.ListImages(ctx); err != nil || len(list) != 0 {
		t.Errorf("images: %v, %v", list, err)
	}
}

func TestStreamsEndAtTheirBound(t *testing.T) {
	b := &bounded{ctx: t.Context(), r: strings.NewReader(strings.Repeat("x", 100)), left: 10}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{b}, make([]byte, 8)); !errors.Is(err, ErrBadArchive) {
		t.Errorf("got %v", err)
	}
}

func FuzzArchive(f *testing.F) {
	keep := func(*ocispec.Manifest, *ocispec.Image) {}
	plain := layerOf(f, tar.Header{Typeflag: tar.TypeReg, Name: "etc/hello", Mode: 0o644})
	f.Add(archiveOf(f, plain, keep).bytes(f))
	f.Add(archiveOf(f, []byte("no tar"), keep).bytes(f))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = checkArchive(text) // must return, whatever it says
	})
}
