package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
)

// watcher asks for what is saved, as a viewer does.
type watcher struct {
	h    *house
	last homefiles.Saved
}

func (h *house) watch() *watcher {
	return &watcher{h, told[homefiles.Saved](h, "GET", "/saved", nil)}
}

// next waits for what is saved next.
func (w *watcher) next() []homefiles.Entry {
	w.h.t.Helper()
	w.last = told[homefiles.Saved](w.h, "GET", fmt.Sprintf("/saved?watch=%s&after=%d", w.last.Watch, w.last.Seq), nil)
	return w.last.Files
}

func (w *watcher) expect(name string) homefiles.Entry {
	w.h.t.Helper()
	files := w.next()
	if len(files) != 1 || files[0].Name != name {
		w.h.t.Fatalf("told of %+v, want %s", files, name)
	}
	return files[0]
}

func TestSavedFilesAreTold(t *testing.T) {
	h := newHouse(t)
	h.write("Pictures/before.png", "x")
	w := h.watch()
	h.write("猫.png", "picture") // as a plug-in exports
	e := w.expect("猫.png")
	if status, body, _ := h.ask("GET", "/content/"+e.ID, nil); status != 200 || string(body) != "picture" || e.Size != 7 {
		t.Errorf("%d %q of %+v", status, body, e)
	}
	h.write("Pictures/.new", "image") // as GIMP saves: beside it, then renamed
	if err := os.Rename(h.at("Pictures/.new"), h.at("Pictures/a.xcf")); err != nil {
		t.Fatal(err)
	}
	w.expect("a.xcf")
	if err := os.MkdirAll(h.at("Deep/er"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A new folder is watched as soon as it is seen, which may be after the first of these.
	n := 0
	eventually(t, "a file of the new folder is told of", func() bool {
		n++
		h.write(fmt.Sprintf("Deep/er/b%d.png", n), "x")
		answer, _ := h.server.saves.since(w.last.Watch, w.last.Seq)
		return len(answer.Files) > 0
	})
	if files := w.next(); !strings.HasPrefix(files[0].Name, "b") {
		t.Errorf("told of %+v", files)
	}
}

// TestOnlyWhatIsSomebodysWorkIsTold: hidden files, backups, empty ones, links, pipes, and uploads are not. The last file is, and is the first told of.
func TestOnlyWhatIsSomebodysWorkIsTold(t *testing.T) {
	h := newHouse(t)
	w := h.watch()
	h.write(".hidden", "x")
	h.write(".config/x.png", "x")
	h.write("a.png~", "x")
	h.write("a.part", "x")
	h.write("empty.png", "")
	if err := os.Symlink("/etc/passwd", h.at("link.png")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(h.at("pipe.png"), 0o666); err != nil {
		t.Fatal(err)
	}
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 1})
	if status, _ := h.patch(u.ID, 0, strings.NewReader("x"), 1); status != 200 {
		t.Fatal(status)
	}
	told[homefiles.Finished](h, "POST", "/uploads/"+u.ID+"/finish", homefiles.Finish{Name: "upload.png"})
	h.write("gone.png", "x")
	if err := os.Remove(h.at("gone.png")); err != nil {
		t.Fatal(err)
	}
	// All of these settle before this one, which is written last.
	h.write("work.png", "x")
	w.expect("work.png")
	// An upload that is painted over is work.
	h.write("upload.png", "painted")
	w.expect("upload.png")
}

// TestAnotherHomeIsWatchedAnew: a warm session's artist comes with a home that is mounted over the first.
func TestAnotherHomeIsWatchedAnew(t *testing.T) {
	h := newHouse(t)
	w := h.watch()
	if err := unix.Mount("tmpfs", h.home, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(h.home, unix.MNT_DETACH) })
	w.last = told[homefiles.Saved](h, "GET", "/saved", nil)
	h.write("mine.png", "x")
	w.expect("mine.png")
}

func TestWatchesAreBounded(t *testing.T) {
	h := newHouse(t)
	for i := range mostFolders + 50 {
		if err := os.Mkdir(h.at(fmt.Sprintf("f%03d", i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	deep := filepath.Join("f000", strings.Repeat("d/", 20))
	if err := os.MkdirAll(h.at(deep), 0o755); err != nil {
		t.Fatal(err)
	}
	w := h.watch()
	h.server.saves.watch.close() // so that its map can be looked at
	if n := len(h.server.saves.watch.folders); n > mostFolders {
		t.Errorf("%d folders are watched", n)
	}
	h.server.saves.watching.Lock()
	h.server.saves.watch = nil
	h.server.saves.watching.Unlock()
	w.last = told[homefiles.Saved](h, "GET", "/saved", nil)
	h.write("top.png", "x")
	w.expect("top.png")
}
