package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

const testImage = "easel.local/guest:test"

// bench is the private containerd that all tests of this package share, with an image that holds nothing but the guest.
type bench struct {
	dir, bin string
	group    string // parent of this run's control groups
	cmd      *exec.Cmd
}

// shared is made by the first test that dials: those that only parse, and the fuzzers, need no containerd.
var (
	shared     *bench
	sharedOnce sync.Once
	errShared  error
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if order := os.Getenv(starterEnv); order != "" {
		fmt.Fprintln(os.Stderr, startAndDie(order)) // returns only when it could not
		return 1
	}
	if script := os.Getenv(errandEnv); script != "" {
		runErrandForever(script) // until it is killed
		return 1
	}
	code := m.Run()
	if shared == nil {
		return code
	}
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "cleaning up:", err)
		return 1
	}
	return code
}

func dial(t *testing.T) *Runtime {
	t.Helper()
	sharedOnce.Do(func() { shared, errShared = newBench() })
	if errShared != nil {
		t.Fatal(errShared)
	}
	r, err := shared.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func newBench() (*bench, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("these tests make containers: run them as root (sudo make test)")
	}
	out, err := exec.Command("../../packaging/containerd/build.sh").Output()
	if err != nil {
		return nil, fmt.Errorf("building containerd: %w\n%s", err, stderrOf(err))
	}
	dir, err := os.MkdirTemp("/tmp", "easel-runtime-test-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, bin: strings.TrimSpace(string(out)), group: "/" + filepath.Base(dir)}
	if err := b.start(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) start() error {
	for _, name := range []string{"", "root", "state", "run", "logs"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(b.dir, name), 0o711), os.Chmod(filepath.Join(b.dir, name), 0o711)); err != nil {
			return err
		}
	}
	config := ContainerdConfig(filepath.Join(b.dir, "root"), filepath.Join(b.dir, "state"), b.socket())
	if err := os.WriteFile(b.path("config.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	for program, source := range map[string]string{"guest": "./testdata/guest", "sessionlog": "../cmd/sessionlog"} {
		build := exec.Command("go", "build", "-o", b.path(program), source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", program, err, out)
		}
	}
	if err := b.startContainerd(); err != nil {
		return err
	}
	r, err := b.dial(context.Background())
	if err != nil {
		log, _ := os.ReadFile(b.path("containerd.log"))
		return fmt.Errorf("%w\n%s", err, log)
	}
	defer r.Close()
	return importGuest(r.Client(), b.namespace(), b.path("guest"))
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }
func (b *bench) socket() string          { return b.path("containerd.sock") }

// namespace is this run's own, so that two runs at once do not take each other's containers for theirs.
func (b *bench) namespace() string { return filepath.Base(b.dir) }

// bundle is where containerd keeps a task's directory.
func (b *bench) bundle(id string) string {
	return b.path("state/io.containerd.runtime.v2.task/" + b.namespace() + "/" + id)
}

func (b *bench) startContainerd() error {
	log, err := os.OpenFile(b.path("containerd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	b.cmd = exec.Command(filepath.Join(b.bin, "containerd"), "--config", b.path("config.toml"))
	b.cmd.Env = append(os.Environ(), "PATH="+b.bin+":"+os.Getenv("PATH"))
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return b.cmd.Start()
}

func (b *bench) killContainerd() error {
	err := b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	return err
}

func (b *bench) dial(ctx context.Context) (*Runtime, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return Dial(ctx, Options{Address: b.socket(), Namespace: b.namespace(), Cgroup: b.group, LogWriter: b.path("sessionlog")})
}

// close also fails when a test left something behind.
func (b *bench) close() error {
	if b.cmd != nil && b.cmd.Process != nil {
		_ = b.cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(10*time.Second, func() { _ = b.cmd.Process.Kill() })
		_ = b.cmd.Wait()
		timer.Stop()
	}
	var errs []error
	groups, err := filepath.Glob("/sys/fs/cgroup/*" + b.group)
	errs = append(errs, err)
	for _, dir := range append(groups, "/sys/fs/cgroup"+b.group) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	errs = append(errs, err)
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, b.dir) {
			errs = append(errs, fmt.Errorf("still mounted: %s", at), unix.Unmount(at, unix.MNT_DETACH))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

// importGuest writes an image of one layer straight into the content store, as the real image is written.
func importGuest(client *containerd.Client, namespace, guest string) error {
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	ctx, done, err := client.WithLease(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = done(context.Background()) }()
	layer, err := guestLayer(guest)
	if err != nil {
		return err
	}
	put := func(mediaType string, blob []byte, refs ...ocispec.Descriptor) (ocispec.Descriptor, error) {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
		labels := map[string]string{}
		for i, ref := range refs {
			labels[fmt.Sprintf("containerd.io/gc.ref.content.%d", i)] = ref.Digest.String()
		}
		return d, content.WriteBlob(ctx, client.ContentStore(), d.Digest.String(), bytes.NewReader(blob), d, content.WithLabels(labels))
	}
	layerDesc, err := put(ocispec.MediaTypeImageLayer, layer)
	if err != nil {
		return err
	}
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Env: []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layerDesc.Digest}},
	}
	configDesc, err := put(ocispec.MediaTypeImageConfig, asJSON(config))
	if err != nil {
		return err
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: configDesc, Layers: []ocispec.Descriptor{layerDesc},
	}
	manifestDesc, err := put(ocispec.MediaTypeImageManifest, asJSON(manifest), configDesc, layerDesc)
	if err != nil {
		return err
	}
	_, err = client.ImageService().Create(ctx, images.Image{Name: testImage, Target: manifestDesc})
	return err
}

func asJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types above always encode
	}
	return text
}

func guestLayer(guest string) ([]byte, error) {
	program, err := os.ReadFile(guest)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"dev", "etc", "home", "home/artist", "proc", "run", "sys", "tmp", "usr", "usr/lib", "usr/lib/easel"} {
		owner := 0
		if dir == "home/artist" {
			owner = artistUID
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, Uid: owner, Gid: owner}); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: initPath[1:], Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}
