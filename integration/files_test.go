package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// picture is a PNG of one colour that no other test uses.
func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	return colour(t, width, height, 200, 40, 90)
}

// colour is a PNG of one colour.
func colour(t *testing.T, width, height int, r, g, b uint8) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Rect, image.NewUniform(color.RGBA{r, g, b, 255}), image.Point{}, draw.Src)
	var coded bytes.Buffer
	if err := png.Encode(&coded, img); err != nil {
		t.Fatal(err)
	}
	return coded.Bytes()
}

// inside runs a program in a session's container as its artist.
func inside(t *testing.T, s *easelv1.Session, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	enter := []string{"--target", fmt.Sprint(s.GetPids().GetGimp()), "--user", "--mount", "--setuid", "1000", "--setgid", "1000", "/usr/bin/env", "-i", "DBUS_SESSION_BUS_ADDRESS=unix:path=/tmp/runtime/bus"}
	out, err := exec.CommandContext(ctx, "nsenter", append(enter, args...)...).CombinedOutput()
	return string(out), err
}

// export has the session's GIMP export a new image by its own save procedure.
func export(t *testing.T, s *easelv1.Session, path string) {
	t.Helper()
	script := fmt.Sprintf(`(let* ((i (car (gimp-image-new 64 48 RGB))) (l (car (gimp-layer-new i "a" 64 48 RGB-IMAGE 100 LAYER-MODE-NORMAL)))) (gimp-image-insert-layer i l 0 0) (gimp-file-save RUN-NONINTERACTIVE i "%s" -1) (gimp-image-delete i))`, path)
	runScript(t, s, script)
}

// runScript has the session's GIMP run a script in Scheme.
func runScript(t *testing.T, s *easelv1.Session, script string) {
	t.Helper()
	out, err := inside(t, s, "dbus-send", "--session", "--print-reply", "--dest=org.gimp.GIMP.UI", "/org/gimp/GIMP/UI", "org.gimp.GIMP.UI.BatchRun", "string:plug-in-script-fu-eval", "string:"+script)
	if err != nil {
		t.Fatalf("ask GIMP to run %s: %v\n%s", script, err, out)
	}
}

func titled(x *xclient.Screen, part string) error {
	titles, err := x.Titles()
	if err != nil {
		return err
	}
	if !strings.Contains(strings.Join(titles, "\n"), part) {
		return fmt.Errorf("the windows are %q", titles)
	}
	return nil
}

// homeOf is the artist's home of a session as its GIMP sees it.
func homeOf(s *easelv1.Session, parts ...string) string {
	return filepath.Join(append([]string{fmt.Sprintf("/proc/%d/root/home/artist", s.GetPids().GetGimp())}, parts...)...)
}

// sameBytes waits until a file of this machine has the same bytes as want.
func sameBytes(t *testing.T, path string, want []byte) {
	t.Helper()
	eventually(t, 30*time.Second, path+" is there, whole", func() error {
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("it has %d bytes, want %d", len(got), len(want))
		}
		return nil
	})
}

// tag makes a name one that no other test has used: sessions of one artist share a home.
func tag() string { return rand.Text()[:8] }

// onDisk is a file of this machine with that name and content.
func onDisk(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// An image that is dropped on the picture opens in GIMP; what GIMP exports is offered by itself; all of it is in the list; and every byte
// comes as it went.
func TestDropOpensAndExportIsOffered(t *testing.T) {
	w := get(t)
	downloads := t.TempDir()
	if err := w.chrome.DownloadsTo(downloads); err != nil {
		t.Fatal(err)
	}
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1280, Height: 800})
	in := w.inspect(t, s.ID)
	x := w.x(t, s.ID)

	dropped, name := picture(t, 320, 200), "猫 #1 100% "+tag()+".png"
	if err := p.Drop(600, 400, onDisk(t, name, dropped)); err != nil {
		t.Fatal(err)
	}
	if err := p.Until(60*time.Second, "document.querySelector('#toast').textContent.includes('opened in GIMP')"); err != nil {
		t.Error(err)
	}
	eventually(t, 60*time.Second, "GIMP shows what was dropped", func() error { return titled(x, strings.TrimSuffix(name, ".png")) })
	sameBytes(t, homeOf(in, name), dropped)

	exported := "étude " + tag() + ".png"
	export(t, in, "/home/artist/"+exported)
	if err := p.Until(60*time.Second, fmt.Sprintf("!document.querySelector('#saved').hidden && document.querySelector('#saved-name').textContent === %q", exported)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(homeOf(in, exported))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Do("document.querySelector('#saved-download').click()"); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, filepath.Join(downloads, exported), content)

	if err := p.Do("document.querySelector('#files').click()"); err != nil {
		t.Fatal(err)
	}
	const listed = "[...document.querySelectorAll('#files-list bdi')].slice(0, 2).map((e) => e.textContent).join('/')"
	if err := p.Until(30*time.Second, fmt.Sprintf("%s === %q", listed, exported+"/"+name)); err != nil {
		t.Fatalf("the list does not begin with the newest: %v", err)
	}
	if err := p.Do("document.querySelectorAll('#files-list li button')[1].click()"); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, filepath.Join(downloads, name), dropped)
}

// An artist exports an image by GIMP's own dialogs: what comes of it is offered by itself, and downloaded it is that picture.
func TestExportDialogOffersTheDownload(t *testing.T) {
	w := get(t)
	downloads := t.TempDir()
	must(t, w.chrome.DownloadsTo(downloads))
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1600, Height: 900})
	in := w.inspect(t, s.ID)
	x := w.x(t, s.ID)
	_, err := artist.NewImage(p, x)
	must(t, err)

	name := "poster " + tag() + ".png"
	t.Cleanup(func() { _ = os.Remove(homeOf(in, name)) })
	// opens waits for a dialog, which takes no keys before it is drawn.
	opens := func(title string, err error) {
		t.Helper()
		must(t, err)
		eventually(t, 30*time.Second, title, func() error { return titled(x, title) })
		must(t, artist.Settled(x, nil, 30*time.Second))
	}
	opens("Export Image", artist.ControlShift(p, browser.Key{Key: "E", Code: "KeyE", Windows: 69}))
	enter := browser.Key{Key: "Enter", Code: "Enter", Windows: 13}
	must(t, errors.Join(artist.Control(p, browser.Key{Key: "a", Code: "KeyA", Windows: 65}), p.Insert(name)))
	opens("as PNG", p.Type(enter))
	must(t, p.Type(enter))
	must(t, p.Until(60*time.Second, fmt.Sprintf("!document.querySelector('#saved').hidden && document.querySelector('#saved-name').textContent === %q", name)))
	must(t, p.Do("document.querySelector('#saved-download').click()"))
	at := filepath.Join(downloads, name)
	eventually(t, 60*time.Second, "the export is downloaded", func() error {
		_, err := os.Stat(at)
		return err
	})
	content, err := os.ReadFile(at)
	must(t, err)
	img, err := png.Decode(bytes.NewReader(content))
	must(t, err)
	if c := color.NRGBAModel.Convert(img.At(img.Bounds().Dx()/2, img.Bounds().Dy()/2)); img.Bounds().Dx() < 300 || c != (color.NRGBA{255, 255, 255, 255}) {
		t.Errorf("a picture of %v, with %v in its middle", img.Bounds(), c)
	}
	sameBytes(t, homeOf(in, name), content)
}

// Files cross by HTTP: where the picture comes by VNC a drop works as well. And an upload goes on by itself when noded was killed in it.
func TestDropByVNCGoesOnThroughAKilledNode(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "transport=vnc", browser.PageOptions{Width: 1280, Height: 800})
	in := w.inspect(t, s.ID)
	large := bytes.Repeat([]byte("Easel paints. "), 16<<20) // 224 MiB
	name := "large " + tag() + ".bin"
	t.Cleanup(func() { _ = os.Remove(homeOf(in, name)) })
	if err := p.Drop(600, 400, onDisk(t, name, large)); err != nil {
		t.Fatal(err)
	}
	const bar = "document.querySelector('#transfers progress')"
	if err := p.Until(30*time.Second, bar+"?.value > 0.02"); err != nil {
		t.Fatal(err)
	}
	if err := w.stack.Noded.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.stack.Noded.Exited()
	if done, err := browser.Eval[bool](p, 10*time.Second, "document.querySelector('#transfers li').dataset.state === 'done'"); err != nil || done {
		t.Logf("the upload was over before noded was killed (%v)", err)
	}
	if err := w.stack.Noded.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.stack.AwaitNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "the upload is whole", func() error {
		_, err := os.Stat(homeOf(in, name))
		return err
	})
	sameBytes(t, homeOf(in, name), large)
}

// Debian's Firefox chooses a file, which opens in GIMP, and is offered what GIMP saves.
func TestFirefoxSendsAndIsOfferedFiles(t *testing.T) {
	w := get(t)
	s := w.session(t)
	f := w.firefox(t, s.ID, "window.easel?.state === 'connected' && !document.querySelector('#files-upload').hidden")
	in := w.inspect(t, s.ID)
	x := w.x(t, s.ID)
	name := "лиса " + tag()
	if err := f.Choose(t.Context(), "#files-chooser", onDisk(t, name+".png", picture(t, 200, 100))); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "GIMP shows what was chosen", func() error { return titled(x, name) })
	out := "out " + tag() + ".xcf"
	export(t, in, "/home/artist/"+out) // which GIMP writes in another way than a plug-in
	if err := f.Until(t.Context(), 60*time.Second, fmt.Sprintf("!document.querySelector('#saved').hidden && document.querySelector('#saved-name').textContent === %q", out)); err != nil {
		t.Fatal(err)
	}
}
