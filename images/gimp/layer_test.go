package gimp

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// root is the tar of a made-up root, as mmdebstrap would write it at the given time.
func root(t *testing.T, at time.Time, extra ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	status := "Package: gimp\nStatus: install ok installed\nVersion: 3.0.4\nArchitecture: amd64\n"
	entries := append([]tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "./dev/", Mode: 0o755},
		{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeReg, Name: "./usr/bin/su", Mode: 0o4755, Size: 2, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}},
		{Typeflag: tar.TypeReg, Name: "./usr/share/doc/gimp/README", Mode: 0o644, Size: 2},
		{Typeflag: tar.TypeDir, Name: "./var/lib/dpkg/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "./" + dpkgStatus, Mode: 0o644, Size: int64(len(status))},
	}, extra...)
	for _, h := range entries {
		h.ModTime, h.Uname, h.Gname = at, "builder", "builder"
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("x", int(h.Size))
		if strings.HasSuffix(h.Name, dpkgStatus) {
			text = status
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func filtered(t *testing.T, in io.Reader) (Layer, []byte) {
	t.Helper()
	var out bytes.Buffer
	l := newLayerWriter(&out, epoch)
	packages, err := filterBase(l, in, keepInBase)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != 1 || packages[0].Name != "gimp" {
		t.Errorf("packages: %v", packages)
	}
	layer, err := l.close()
	if err != nil {
		t.Fatal(err)
	}
	return layer, out.Bytes()
}

func TestLayerDoesNotDependOnWhenItWasBuilt(t *testing.T) {
	first, a := filtered(t, root(t, time.Unix(epoch+1000, 500)))
	second, b := filtered(t, root(t, time.Unix(epoch+99999999, 7)))
	if first != second || !bytes.Equal(a, b) {
		t.Errorf("%v and %v differ", first, second)
	}
	if first.Size != int64(len(a)) {
		t.Errorf("layer says %d bytes, has %d", first.Size, len(a))
	}
}

func TestOldFilesKeepTheirTime(t *testing.T) {
	_, text := filtered(t, root(t, time.Unix(epoch-5000, 0)))
	for _, h := range headers(t, text) {
		if h.ModTime.Unix() != epoch-5000 {
			t.Errorf("%s: %v", h.Name, h.ModTime)
		}
	}
}

func headers(t *testing.T, text []byte) []*tar.Header {
	t.Helper()
	var found []*tar.Header
	for in := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, h)
	}
}

func TestBaseLayerHasNoPrivilegeAndNothingUseless(t *testing.T) {
	_, text := filtered(t, root(t, time.Unix(epoch, 0)))
	var names []string
	for _, h := range headers(t, text) {
		names = append(names, h.Name)
		if h.Mode&0o6000 != 0 || len(h.PAXRecords) != 0 || h.Uname != "" {
			t.Errorf("%s: mode %o, records %v, owner %q", h.Name, h.Mode, h.PAXRecords, h.Uname)
		}
	}
	if want := []string{"dev/", "usr/bin/su", "var/lib/dpkg/", dpkgStatus}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestLinkToWhatIsLeftOutIsAnError(t *testing.T) {
	in := root(t, time.Unix(epoch, 0), tar.Header{Typeflag: tar.TypeLink, Name: "./usr/readme", Linkname: "./usr/share/doc/gimp/README"})
	if _, err := filterBase(newLayerWriter(io.Discard, epoch), in, keepInBase); err == nil {
		t.Error("a dangling hard link was taken")
	}
}

func TestRootWithoutPackagesIsAnError(t *testing.T) {
	var empty bytes.Buffer
	if err := tar.NewWriter(&empty).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := filterBase(newLayerWriter(io.Discard, epoch), &empty, keepInBase); err == nil {
		t.Error("an empty root was taken")
	}
}

func TestWhatTheBaseLayerKeeps(t *testing.T) {
	for name, want := range map[string]bool{
		"usr/bin/gimp-3.0": true, "var/cache": true, "usr/share/doc": true, "usr/share/documents": true, "usr/share/locale": true,
		"usr/share/locale/de/LC_MESSAGES/gimp30.mo": true, "usr/share/locale/zh_CN": true, "usr/lib/locale/en_US.utf8/LC_CTYPE": true,
		"usr/share/locale/xh/LC_MESSAGES/gimp30.mo": false, "usr/share/locale/sr@latin": false, "etc/machine-id": false, "var/cache/fontconfig/x": false,
		"usr/lib/x86_64-linux-gnu/libLLVM.so.19.1": false, "usr/lib/x86_64-linux-gnu/libgallium-25.0.7.so": false, "dev/null": false,
		"usr/lib/x86_64-linux-gnu/gimp/3.0/plug-ins/test-sphere-v3/test-sphere-v3.scm": false,
	} {
		if got := keepInBase(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestOurFilesMakeTheSameLayerAlways(t *testing.T) {
	ours, err := embeddedTree(rootfsFiles, "rootfs")
	if err != nil {
		t.Fatal(err)
	}
	ours = append(ours, embedded{Name: InitPath, Text: []byte("init")})
	var digests []Layer
	for range 2 {
		var out bytes.Buffer
		l := newLayerWriter(&out, epoch)
		if err := addFiles(l, ours); err != nil {
			t.Fatal(err)
		}
		layer, err := l.close()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, layer)
		seen := map[string]bool{}
		for _, h := range headers(t, out.Bytes()) {
			if seen[h.Name] {
				t.Errorf("%s is there twice", h.Name)
			}
			seen[h.Name] = true
			if executable := h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0; executable != (h.Name == InitPath) {
				t.Errorf("%s: mode %o", h.Name, h.Mode)
			}
		}
		if !seen["home/artist/"] || !seen["etc/easel/xorg.conf"] || !seen["etc/passwd"] {
			t.Errorf("files are missing: %v", seen)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("%v and %v differ", digests[0], digests[1])
	}
}
