package nvmltest

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed double/*.c double/*.h double/double.map
var sources embed.FS

// BuildDouble compiles the double and gives its path. It is kept in a cache by its content, so that all tests of a process load the
// same file: go-nvml binds symbols once a process.
func BuildDouble(t testing.TB) string {
	t.Helper()
	path, err := buildDouble()
	if err != nil {
		t.Fatalf("build the double of libnvidia-ml: %v", err)
	}
	return path
}

func buildDouble() (string, error) {
	header, err := nvmlHeader()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "easel-nvml-double-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, sources); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(dir, "double", "*"))
	if err != nil {
		return "", err
	}
	sum, units := sha256.New(), []string{}
	for _, f := range append(files, header) {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(f), len(text), text)
		if strings.HasSuffix(f, ".c") {
			units = append(units, f)
		}
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(cache, hex.EncodeToString(sum.Sum(nil))[:16]+".so")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	made := filepath.Join(dir, "made.so")
	args := []string{
		"-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations", "-DNVML_NO_UNVERSIONED_FUNC_DEFS=1",
		"-Wl,-z,nodelete", // symbols that were bound outlive nvmlShutdown
		"-Wl,--version-script=" + filepath.Join(dir, "double", "double.map"),
		"-I" + filepath.Dir(header), "-o", made,
	}
	if text, err := exec.Command("cc", append(args, units...)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc: %w\n%s", err, text)
	}
	return out, install(made, out)
}

// install puts a finished file into the cache, where others may look meanwhile.
func install(made, out string) error {
	text, err := os.ReadFile(made)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(out), "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Chmod(0o755); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}

func cacheDir() (string, error) {
	root := os.Getenv("EASEL_CACHE")
	if root == "" {
		root = "/var/cache/easel"
	}
	dir := filepath.Join(root, "nvml-double")
	if err := os.MkdirAll(dir, 0o755); err == nil {
		return dir, nil
	}
	root, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(root, "easel", "nvml-double")
	return dir, os.MkdirAll(dir, 0o755)
}

// nvmlHeader is NVIDIA's own header, which go-nvml carries.
func nvmlHeader() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if err != nil {
		return "", fmt.Errorf("find go-nvml's header: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "pkg", "nvml", "nvml.h"), nil
}
