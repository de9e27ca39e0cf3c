package viewer

import (
	"errors"
	"io/fs"
	"regexp"
	"testing"
	"testing/fstest"
)

func TestAssetsMissingSaysHowToBuild(t *testing.T) {
	_, err := built(fstest.MapFS{".gitkeep": {}})
	if !errors.Is(err, ErrNotBuilt) {
		t.Fatalf("built(empty) = %v, want ErrNotBuilt", err)
	}
}

// Before `npm run build` this proves the error, after it that every file the page names is embedded.
func TestPageNamesOnlyEmbeddedFiles(t *testing.T) {
	files, err := Assets()
	if errors.Is(err, ErrNotBuilt) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	page, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:src|href)="/([^"]+)"`).FindAllSubmatch(page, -1)
	if len(named) < 2 {
		t.Fatalf("index.html names %d files, want its script and its style", len(named))
	}
	for _, m := range named {
		if _, err := fs.Stat(files, string(m[1])); err != nil {
			t.Errorf("index.html names /%s: %v", m[1], err)
		}
	}
	if regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(?:[^>]*)>[^<]`).Match(page) {
		t.Error("index.html has inline script or style, which the page's policy forbids")
	}
}
