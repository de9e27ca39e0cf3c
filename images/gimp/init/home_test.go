package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFirstStartGetsTheWholeProfile(t *testing.T) {
	image, home := t.TempDir(), t.TempDir()
	write(t, image+"/pluginrc", "plug-ins 1")
	write(t, image+"/gimprc", "preferences")
	write(t, image+"/gradients/one.ggr", "gradient")
	profile := home + "/.config/GIMP/3.0"
	if err := furnish(image, profile); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"pluginrc": "plug-ins 1", "gimprc": "preferences", "gradients/one.ggr": "gradient"} {
		if got := read(t, profile+"/"+name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if left, _ := filepath.Glob(home + "/.config/GIMP/.new-*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestArtistsOwnSettingsOutliveANewImage(t *testing.T) {
	image, home := t.TempDir(), t.TempDir()
	write(t, image+"/pluginrc", "plug-ins 1")
	write(t, image+"/gimprc", "preferences")
	profile := home + "/.config/GIMP/3.0"
	if err := furnish(image, profile); err != nil {
		t.Fatal(err)
	}
	write(t, profile+"/gimprc", "mine")
	write(t, profile+"/pluginrc", "plug-ins 1 and what GIMP added")
	if err := furnish(image, profile); err != nil {
		t.Fatal(err)
	}
	if got := read(t, profile+"/pluginrc"); got != "plug-ins 1 and what GIMP added" {
		t.Errorf("the same image replaced GIMP's list: %q", got)
	}
	write(t, image+"/pluginrc", "plug-ins 2")
	if err := furnish(image, profile); err != nil {
		t.Fatal(err)
	}
	if got := read(t, profile+"/pluginrc"); got != "plug-ins 2" {
		t.Errorf("a new image left the old list: %q", got)
	}
	if got := read(t, profile+"/gimprc"); got != "mine" {
		t.Errorf("a new image changed the artist's settings: %q", got)
	}
}

func TestProfileFromBeforeUsIsKept(t *testing.T) {
	image, home := t.TempDir(), t.TempDir()
	write(t, image+"/pluginrc", "plug-ins 1")
	write(t, image+"/gimprc", "preferences")
	write(t, home+"/.config/GIMP/3.0/gimprc", "mine")
	if err := furnish(image, home+"/.config/GIMP/3.0"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, home+"/.config/GIMP/3.0/gimprc"); got != "mine" {
		t.Errorf("settings: %q", got)
	}
	if got := read(t, home+"/.config/GIMP/3.0/pluginrc"); got != "plug-ins 1" {
		t.Errorf("list: %q", got)
	}
}

func TestHomeThatCannotBeWrittenIsAnErrorInWords(t *testing.T) {
	image, home := t.TempDir(), t.TempDir()
	write(t, image+"/pluginrc", "plug-ins 1")
	write(t, home+"/.config", "a file where a directory should be")
	if err := furnish(image, home+"/.config/GIMP/3.0"); err == nil || !strings.Contains(err.Error(), "furnish home") {
		t.Errorf("got %v", err)
	}
}
