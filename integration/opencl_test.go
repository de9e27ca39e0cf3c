package integration

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"easel/images/gimp"
	"easel/integration/artist"
	"easel/integration/devstack"
	easelv1 "easel/pkg/api/easel/v1"
)

// pocl is a real OpenCL that computes on the processors. GIMP computes by it only after the proof, and does then.
func TestOpenCLThatWorksIsProvenAndUsed(t *testing.T) {
	w := get(t)
	whole := sessionImage(t, w)
	ref := w.variant(t, whole, "EASEL_OPENCL=cpu", poclLayer(t, w.stack.Cache, whole))
	s := w.openCLSession(t, ref)
	if s.GetOpencl() != "on" || len(s.GetDegraded()) != 0 {
		t.Fatalf("OpenCL is %q, degraded %q; the container's log:\n%s", s.GetOpencl(), s.GetDegraded(), containerLog(s))
	}
	if v := gimpEnvironment(t, s); v != "GEGL_USE_OPENCL=cpu" {
		t.Errorf("GIMP has %q", v)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.GetPids().GetGimp()))
	if err != nil || !strings.Contains(string(maps), "libpocl.so") {
		t.Errorf("GIMP has not loaded the OpenCL that it should use: %v", err)
	}
}

func TestOpenCLThatDoesNotWorkIsOffAndLoud(t *testing.T) {
	w := get(t)
	whole := sessionImage(t, w)
	for name, c := range map[string]struct {
		layers []string
		why    string
	}{
		"no driver":           {nil, "no gpu device"},
		"a driver that hangs": {[]string{driverLayer(t, "pause();")}, "no answer within 10s"},
		"a driver that dies":  {[]string{driverLayer(t, "abort();")}, "killed by aborted"},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.openCLSession(t, w.variant(t, whole, "EASEL_OPENCL=1", c.layers...))
			if !strings.HasPrefix(s.GetOpencl(), "off: ") || !strings.Contains(s.GetOpencl(), c.why) {
				t.Errorf("OpenCL is %q, want off because %q; the container's log:\n%s", s.GetOpencl(), c.why, containerLog(s))
			}
			if !slices.ContainsFunc(s.GetDegraded(), func(d string) bool { return strings.Contains(d, c.why) }) {
				t.Errorf("degraded is %q", s.GetDegraded())
			}
			if v := gimpEnvironment(t, s); v != "GEGL_USE_OPENCL=no" {
				t.Errorf("GIMP has %q", v)
			}
		})
	}
}

// openCLSession makes a session of the image and waits until its GIMP is up.
func (w *world) openCLSession(t *testing.T, ref string) *easelv1.Session {
	t.Helper()
	r, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "opencl", Key: key(t), Class: "none", Image: ref}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := artist.Await(t.Context(), w.node, r.Msg.GetSession().GetId(), 2*startTimeout, easelv1.State_STATE_READY)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("GIMP's window after %d ms", s.GetWindowMs())
	for line := range strings.Lines(containerLog(s)) {
		if strings.Contains(line, "OpenCL") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Cleanup(func() {
		if err := w.endAll(); err != nil { // before its image goes
			t.Error(err)
		}
	})
	return s
}

func gimpEnvironment(t *testing.T, s *easelv1.Session) string {
	t.Helper()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.GetPids().GetGimp()))
	if err != nil {
		t.Fatal(err)
	}
	for e := range strings.SplitSeq(string(env), "\x00") {
		if strings.HasPrefix(e, "GEGL_USE_OPENCL=") {
			return e
		}
	}
	return ""
}

func containerLog(s *easelv1.Session) string {
	text, _ := os.ReadFile(filepath.Join(filepath.Dir(s.GetXCookie()), "container.log"))
	return string(text)
}

// sessionImage is the image as it ships, out of the cache.
func sessionImage(t *testing.T, w *world) gimp.Built {
	t.Helper()
	recipe, err := gimp.DefaultRecipe()
	if err != nil {
		t.Fatal(err)
	}
	built, err := gimp.Build(t.Context(), recipe, gimp.Options{Cache: w.stack.Cache, InitBinary: filepath.Join(w.stack.BinDir, "easel-init")})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// variant is an image with another environment and more layers, in the stack's containerd until the test ends.
func (w *world) variant(t *testing.T, of gimp.Built, env string, layers ...string) string {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	read := func(d digest.Digest, v any) {
		text, err := os.ReadFile(filepath.Join(of.Layout, "blobs", "sha256", d.Encoded()))
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(was ocispec.Descriptor, v any) ocispec.Descriptor {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		was.Digest, was.Size = digest.FromBytes(text), int64(len(text))
		if err := os.WriteFile(filepath.Join(blobs, was.Digest.Encoded()), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return was
	}
	var manifest ocispec.Manifest
	var config ocispec.Image
	read(of.Digest, &manifest)
	read(manifest.Config.Digest, &config)
	for _, l := range manifest.Layers {
		if err := os.Symlink(filepath.Join(of.Layout, "blobs", "sha256", l.Digest.Encoded()), filepath.Join(blobs, l.Digest.Encoded())); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range layers {
		layer := describe(t, file)
		if err := os.Symlink(file, filepath.Join(blobs, layer.Digest.Encoded())); err != nil {
			t.Fatal(err)
		}
		manifest.Layers = append(manifest.Layers, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
	}
	config.Config.Env = append(config.Config.Env, env)
	manifest.Config = put(manifest.Config, config)
	built := gimp.Built{Layout: dir, Digest: put(ocispec.Descriptor{}, manifest).Digest}

	c, err := client.New(w.stack.ContainerdAddress())
	if err != nil {
		t.Fatal(err)
	}
	ref := "easel.local/opencl:" + built.Digest.Encoded()[:12]
	t.Cleanup(func() {
		defer c.Close()
		ctx := namespaces.WithNamespace(context.WithoutCancel(t.Context()), devstack.Namespace)
		if err := c.ImageService().Delete(ctx, ref, images.SynchronousDelete()); err != nil {
			t.Errorf("remove the test's image: %v", err)
		}
	})
	if err := gimp.Import(namespaces.WithNamespace(t.Context(), devstack.Namespace), c, built, ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

func describe(t *testing.T, file string) ocispec.Descriptor {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := digest.Canonical.Digester()
	size, err := io.Copy(sum.Hash(), f)
	if err != nil {
		t.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: sum.Digest(), Size: size}
}

// driverLayer holds an OpenCL driver that does nothing but body, as it is loaded.
func driverLayer(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	source, library := filepath.Join(dir, "driver.c"), filepath.Join(dir, "driver.so")
	text := "#include <stdlib.h>\n#include <unistd.h>\n__attribute__((constructor)) static void load(void)\n{\n\t" + body + "\n}\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("compile a driver: %v: %s", err, out)
	}
	driver, err := os.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(dir, "layer.tar")
	f, err := os.Create(layer)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := tar.NewWriter(f)
	for name, text := range map[string][]byte{"usr/lib/easel/driver.so": driver, "etc/OpenCL/vendors/driver.icd": []byte("/usr/lib/easel/driver.so\n")} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return layer
}

var (
	// poclKept is what of pocl's packages, and of what they depend on, runs kernels; the linker links them.
	poclKept    = regexp.MustCompile(`^(usr/lib/|usr/share/pocl/|etc/OpenCL/|usr/bin/[a-z0-9_-]*ld(\.bfd)?$)`)
	poclDropped = regexp.MustCompile(`/(lib(a|t|l|ub|hwa)san|libstdc\+\+\.a|libc\.a)|^usr/lib/(systemd|python)`)
)

// poclLayer holds pocl of the image's suite. It is cached by what it lies on.
func poclLayer(t *testing.T, cache string, base gimp.Built) string {
	t.Helper()
	const name = "pocl-opencl-icd"
	sum := sha256.Sum256([]byte(name + "\n" + base.Layers[0].Digest.String() + poclKept.String() + poclDropped.String()))
	file := filepath.Join(cache, "package-roots", fmt.Sprintf("%x.tar", sum[:12]))
	if _, err := os.Stat(file); err == nil {
		return file
	}
	recipe, err := gimp.DefaultRecipe()
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	eachEntry(t, filepath.Join(base.Layout, "blobs", "sha256", base.Layers[0].Digest.Encoded()), func(h *tar.Header, _ io.Reader) { has[h.Name] = true })
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	root := file + ".root.tar"
	defer os.Remove(root)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	mmdebstrap := exec.CommandContext(ctx, "mmdebstrap", "--mode=root", "--variant=extract", "--include="+name, "--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Retries 3",
		"--keyring=/usr/share/keyrings", recipe.Suite, root, "deb "+recipe.Mirror+" "+recipe.Suite+" main")
	if out, err := mmdebstrap.CombinedOutput(); err != nil {
		t.Fatalf("get %s: %v\n%s", name, err, out)
	}
	half := file + ".half"
	f, err := os.Create(half)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := tar.NewWriter(f)
	eachEntry(t, root, func(h *tar.Header, body io.Reader) {
		if h.Typeflag == tar.TypeDir || has[h.Name] || !poclKept.MatchString(h.Name) || poclDropped.MatchString(h.Name) {
			return
		}
		err := out.WriteHeader(h)
		if err == nil && h.Typeflag == tar.TypeReg {
			_, err = io.Copy(out, body)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := errors.Join(out.Close(), os.Rename(half, file)); err != nil {
		t.Fatal(err)
	}
	return file
}

// eachEntry shows every entry of a tar, by its name without what leads to it.
func eachEntry(t *testing.T, file string, show func(h *tar.Header, body io.Reader)) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := tar.NewReader(f); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		h.Name = strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")
		if fs.ValidPath(h.Name) {
			show(h, in)
		}
	}
}
