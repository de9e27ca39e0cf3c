package integration

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"easel/integration/devstack"
)

// The image leaves Easel as an OCI archive that other tools read.
func TestExportedImageIsReadBySkopeo(t *testing.T) {
	w := get(t)
	archive := filepath.Join(t.TempDir(), "gimp.tar")
	if _, err := w.stack.NodedCLI(t.Context(), "image", "export", devstack.ImageRef, archive); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "skopeo", "inspect", "oci-archive:"+archive).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo: %v: %s", err, out)
	}
	var image struct {
		Digest       string
		Architecture string
		Os           string
		Layers       []string
	}
	if err := json.Unmarshal(out, &image); err != nil {
		t.Fatalf("skopeo's answer: %v: %s", err, out)
	}
	if image.Os != "linux" || image.Architecture == "" || len(image.Layers) < 3 {
		t.Errorf("the image is %+v; want linux with the layers of packages, profile and our files", image)
	}
	list, err := w.stack.NodedCLI(t.Context(), "image", "list")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(list, devstack.ImageRef) || !strings.Contains(list, image.Digest[:19]) {
		t.Errorf("noded image list does not show %s as %s:\n%s", devstack.ImageRef, image.Digest, list)
	}
}
