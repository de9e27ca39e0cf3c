package integration

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
)

// downloaded is how many bytes have come into a folder of downloads, those of one that is under way too.
func downloaded(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if at, err := e.Info(); err == nil { // it may have got its name meanwhile
			n += at.Size()
		}
	}
	return n
}

// A download that is under way is whole in the end, whatever breaks meanwhile: the artist reloads the page, the line is dark for seconds, the streamer is
// killed.
func TestDownloadIsWholeWhateverBreaks(t *testing.T) {
	const size, kbps = 48 << 20, 60_000
	w := get(t)
	downloads := t.TempDir()
	must(t, w.chrome.DownloadsTo(downloads))
	s := w.session(t)
	link := openLink(t, 5*time.Millisecond, 21)
	link.Narrow(kbps, 50*time.Millisecond)
	at, err := w.artist.Get(s.ID)
	must(t, err)
	u, err := url.Parse(at.URL)
	must(t, err)
	stream, err := link.Stream(u.Host)
	must(t, err)
	u.Host = stream.Addr()
	p, err := w.chrome.Open(browser.PageOptions{Width: 1280, Height: 800})
	must(t, err)
	t.Cleanup(p.Close)
	must(t, p.Go(u.String()))
	must(t, artist.AwaitPicture(p, 60*time.Second))
	in := w.inspect(t, s.ID)
	name := "large " + tag() + ".bin"
	if out, err := inside(t, in, "/bin/sh", "-c", fmt.Sprintf("head -c %d /dev/urandom > '/home/artist/%s'", size, name)); err != nil {
		t.Fatalf("lay a file into the home: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = os.Remove(homeOf(in, name)) })
	want, err := os.ReadFile(homeOf(in, name))
	must(t, err)

	must(t, p.Do("document.querySelector('#files').click()"))
	must(t, p.Until(30*time.Second, fmt.Sprintf("document.querySelector('#files-list bdi')?.textContent === %q", name)))
	must(t, p.Do("document.querySelector('#files-list li button').click()"))
	comes := func(more int64) {
		t.Helper()
		from := downloaded(t, downloads)
		eventually(t, 60*time.Second, "more of the file has come", func() error {
			if n := downloaded(t, downloads); n < from+more {
				return fmt.Errorf("%d bytes of it, %d before", n, from)
			}
			return nil
		})
	}
	comes(1 << 20)
	must(t, p.Do("location.reload()"))
	comes(1 << 20)
	link.Dark(true)
	time.Sleep(3 * time.Second) // the darkness itself
	link.Dark(false)
	comes(1 << 20)
	must(t, syscall.Kill(int(in.GetPids().GetStreamer()), syscall.SIGKILL))
	eventually(t, 90*time.Second, "the download is over", func() error {
		_, err := os.Stat(filepath.Join(downloads, name))
		return err
	})
	sameBytes(t, filepath.Join(downloads, name), want)
	if log := w.stack.Noded.LogTail(200); !strings.Contains(log, "is sought again") {
		t.Errorf("the streamer's end did not break the download off: noded's log ends\n%s", log)
	}
	must(t, artist.AwaitPicture(p, 60*time.Second))
}

// Files whose names try what names can do come in, open in GIMP and come out again, as files of the home with names that deceive nobody.
func TestFilesWithHostileNamesComeAndGo(t *testing.T) {
	w := get(t)
	downloads := t.TempDir()
	must(t, w.chrome.DownloadsTo(downloads))
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1280, Height: 800})
	in := w.inspect(t, s.ID)
	id := tag()
	content := picture(t, 20, 10)
	var files []string
	names := map[string]string{ // as it is on the artist's computer, as it is in the home
		"-rf " + id + ".png":                                 "-rf " + id + ".png",
		"." + id + " hidden.png":                             id + " hidden.png",
		"<img src=x onerror=alert(1)> " + id + ".png":        "<img src=x onerror=alert(1)> " + id + ".png",
		"a\nb\t" + id + ".png":                               "a_b_" + id + ".png",
		id + " \u202egpj.png":                                id + " _gpj.png",
		"%2e%2e%2f\"; filename=x; '$(id)' \\ " + id + ".png": "%2e%2e%2f\"; filename=x; '$(id)' \\ " + id + ".png",
		"الرسم 絵 " + id + strings.Repeat("é", 100) + ".png":  "الرسم 絵 " + id + strings.Repeat("é", 100) + ".png",
	}
	for name := range names {
		files = append(files, onDisk(t, name, content))
	}
	must(t, p.Do("window.said = []; new MutationObserver(() => said.push(document.querySelector('#toast').textContent)).observe(document.querySelector('#toast'), {childList: true, characterData: true, subtree: true})"))
	must(t, p.Drop(600, 400, files...))
	for _, name := range names {
		sameBytes(t, homeOf(in, name), content)
		must(t, p.Until(60*time.Second, fmt.Sprintf("said.some((s) => s.includes(%q))", name+" is opened in GIMP.")))
	}
	must(t, p.Do("document.querySelector('#files').click(); document.querySelector('#files-find').value = "+fmt.Sprintf("%q", id)+"; document.querySelector('#files-find').dispatchEvent(new Event('input'))"))
	must(t, p.Until(30*time.Second, fmt.Sprintf("document.querySelectorAll('#files-list li').length === %d", len(names))))
	must(t, p.Do("document.querySelectorAll('#files-list li button').forEach((b) => b.click())"))
	eventually(t, 60*time.Second, "all of them have been downloaded", func() error {
		entries, err := os.ReadDir(downloads)
		if err != nil || len(entries) < len(names) {
			return fmt.Errorf("%v, %w", entries, err)
		}
		for _, e := range entries {
			if got, err := os.ReadFile(filepath.Join(downloads, e.Name())); err != nil || !bytes.Equal(got, content) {
				return fmt.Errorf("%q has %d bytes of %d, %w", e.Name(), len(got), len(content), err)
			}
		}
		return nil
	})
}
