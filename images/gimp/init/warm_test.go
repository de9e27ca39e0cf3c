package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnknownWarmthIsRefused(t *testing.T) {
	if _, err := expectArtist("lukewarm", t.TempDir()); err == nil {
		t.Fatal("accepted")
	}
}

func TestColdContainerWaitsForNobody(t *testing.T) {
	a, err := expectArtist("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	<-a.came
	if err := a.wait(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestGIMPWaitsForItsArtistOnAWarmDesktop(t *testing.T) {
	dir := t.TempDir()
	a, err := expectArtist(warmDesktop, dir)
	if err != nil {
		t.Fatal(err)
	}
	gimp := script("gimp", dir, "touch gimp.ready; exec sleep 1000")
	gimp.await = func(ctx context.Context, _ int) {
		select {
		case <-a.came:
		case <-ctx.Done():
		}
	}
	b, _, _ := kept(t, gimp, script("x", dir, "touch x.ready; exec sleep 1000"))
	waited := make(chan error, 1)
	go func() { waited <- a.wait(t.Context(), func() error { return nil }) }()
	eventually(t, "the rest runs", func() bool { return stateOf(b, "x").State == running })
	if s := stateOf(b, "gimp"); s.State != starting || s.Pid != 0 {
		t.Fatalf("GIMP is %s, process %d", s.State, s.Pid)
	}
	if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	eventually(t, "GIMP runs", func() bool { return stateOf(b, "gimp").State == running })
}

func TestWaitForAnArtistEndsWithTheSession(t *testing.T) {
	a, err := expectArtist(warmReady, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.wait(ctx, func() error { t.Error("it moved in"); return nil }); err != nil {
		t.Fatal(err)
	}
}

// moving is a warm session with GIMP up, whose home another is about to be mounted over.
func moving(t *testing.T) (*session, *board) {
	t.Helper()
	image, began, home := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, image+"/pluginrc", "plug-ins 1")
	write(t, image+"/gimprc", "preferences")
	if err := furnish(image, began+"/.config/GIMP/3.0"); err != nil {
		t.Fatal(err)
	}
	write(t, began+"/.config/GIMP/3.0/devicerc", "made by GIMP")
	if err := os.MkdirAll(began+"/.cache/gimp/3.0", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, began+"/.bashrc", "the image's")
	a, err := expectArtist(warmReady, began)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.before.Close() })
	a.home = home
	dir := t.TempDir()
	b, _, _ := kept(t, script("gimp", dir, "touch gimp.ready; exec sleep 1000"))
	eventually(t, "GIMP runs", func() bool { return stateOf(b, "gimp").State == running })
	s := &session{paths: paths{profile: image, home: home}, board: b, arrival: a, log: slog.New(slog.DiscardHandler)}
	return s, b
}

func TestReadyGIMPFindsItsDirectoriesInTheArtistsHome(t *testing.T) {
	s, b := moving(t)
	write(t, s.paths.home+"/.bashrc", "the artist's")
	pid := stateOf(b, "gimp").Pid
	if err := s.moveIn(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"gimprc": "preferences", "devicerc": "made by GIMP"} {
		if got := read(t, s.profile()+"/"+name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := read(t, s.paths.home+"/.bashrc"); got != "the artist's" {
		t.Errorf("a file of the artist's became %q", got)
	}
	if info, err := os.Stat(filepath.Join(s.paths.home, ".cache/gimp/3.0")); err != nil || !info.IsDir() {
		t.Errorf("GIMP's cache directory: %v", err)
	}
	if again := stateOf(b, "gimp"); again.Pid != pid || again.Restarts != 0 {
		t.Errorf("GIMP was started again: %+v", again)
	}
}

func TestProfileThatIsThereAfterAllWins(t *testing.T) {
	s, b := moving(t)
	write(t, s.profile()+"/gimprc", "the artist's")
	pid := stateOf(b, "gimp").Pid
	if err := s.moveIn(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another GIMP runs", func() bool { r := stateOf(b, "gimp"); return r.State == running && r.Pid != pid })
	if got := read(t, s.profile()+"/gimprc"); got != "the artist's" {
		t.Errorf("the artist's settings became %q", got)
	}
}
