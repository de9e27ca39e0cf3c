package integration

import (
	"bytes"
	"errors"
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
	"easel/integration/lossylink"
	easelv1 "easel/pkg/api/easel/v1"
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

// download is a file of a session's that the browser fetches over a narrow link.
type download struct {
	page    *browser.Page
	session *easelv1.Session
	stream  *lossylink.Stream
	to      string // the folder of downloads
	name    string
	want    []byte
}

// narrowDownload has a session, which a page shows over the link, and a file of some size in its home.
func (w *world) narrowDownload(t *testing.T, link *lossylink.Link, size int) *download {
	t.Helper()
	d := &download{to: t.TempDir(), name: "large " + tag() + ".bin"}
	must(t, w.chrome.DownloadsTo(d.to))
	s := w.session(t)
	at, err := w.artist.Get(s.ID)
	must(t, err)
	u, err := url.Parse(at.URL)
	must(t, err)
	d.stream, err = link.Stream(u.Host)
	must(t, err)
	u.Host = d.stream.Addr()
	d.page, err = w.chrome.Open(browser.PageOptions{Width: 1280, Height: 800})
	must(t, err)
	t.Cleanup(d.page.Close)
	must(t, d.page.Go(u.String()))
	must(t, artist.AwaitPicture(d.page, 60*time.Second))
	d.session = w.inspect(t, s.ID)
	if out, err := inside(t, d.session, "/bin/sh", "-c", fmt.Sprintf("head -c %d /dev/urandom > '/home/artist/%s'", size, d.name)); err != nil {
		t.Fatalf("lay a file into the home: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = os.Remove(homeOf(d.session, d.name)) })
	d.want, err = os.ReadFile(homeOf(d.session, d.name))
	must(t, err)
	return d
}

// begin has the artist choose the file in the list of the session's, and waits until some of it has come.
func (d *download) begin(t *testing.T) {
	t.Helper()
	must(t, d.page.Do("document.querySelector('#files').click()"))
	must(t, d.page.Until(30*time.Second, fmt.Sprintf("document.querySelector('#files-list bdi')?.textContent === %q", d.name)))
	must(t, d.page.Do("document.querySelector('#files-list li button').click(); document.querySelector('#files-close').click()"))
	d.comes(t, 1<<20)
}

// comes waits until so many more bytes have come.
func (d *download) comes(t *testing.T, more int64) {
	t.Helper()
	from := downloaded(t, d.to)
	eventually(t, 60*time.Second, "more of the file has come", func() error {
		if n := downloaded(t, d.to); n < from+more {
			return fmt.Errorf("%d bytes of it, %d before", n, from)
		}
		return nil
	})
}

// over waits until the browser has all of it; meanwhile is done until then.
func (d *download) over(t *testing.T, meanwhile func() error) {
	t.Helper()
	at := filepath.Join(d.to, d.name)
	eventually(t, 90*time.Second, "the download is over", func() error {
		_, err := os.Stat(at)
		if err != nil && meanwhile != nil {
			err = errors.Join(err, meanwhile())
		}
		return err
	})
	sameBytes(t, at, d.want)
}

// A download that is under way is whole in the end, whatever breaks meanwhile: the artist reloads the page, the line is dark for seconds, the streamer is
// killed.
func TestDownloadIsWholeWhateverBreaks(t *testing.T) {
	w := get(t)
	link := openLink(t, 5*time.Millisecond, 21)
	link.Narrow(60_000, 50*time.Millisecond)
	d := w.narrowDownload(t, link, 48<<20)
	d.begin(t)
	must(t, d.page.Do("location.reload()"))
	d.comes(t, 1<<20)
	link.Dark(true)
	time.Sleep(3 * time.Second) // the darkness itself
	link.Dark(false)
	d.comes(t, 1<<20)
	must(t, syscall.Kill(int(d.session.GetPids().GetStreamer()), syscall.SIGKILL))
	d.over(t, nil)
	if log := w.stack.Noded.LogTail(200); !strings.Contains(log, "is sought again") {
		t.Errorf("the streamer's end did not break the download off: noded's log ends\n%s", log)
	}
	must(t, artist.AwaitPicture(d.page, 60*time.Second))
}

// heldOpen is how many processes of this machine have a file of that name open.
func heldOpen(name string) (n int) {
	all, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range all {
		if at, err := os.Readlink(fd); err == nil && filepath.Base(at) == name {
			n++
		}
	}
	return n
}

// By the browser's own list of downloads the artist cancels one, of which nothing stays behind on either side; and has another one, whose connection was
// cut, go on from where it was.
func TestBrowserCancelsAndResumesDownloads(t *testing.T) {
	const size = 40 << 20
	w := get(t)
	link := openLink(t, 5*time.Millisecond, 22)
	// Slow while something is done to a download, however long that takes here.
	const slow, usual, queue = 2_000, 20_000, 50 * time.Millisecond
	link.Narrow(usual, queue)
	d := w.narrowDownload(t, link, size)
	list, err := w.chrome.Downloads()
	must(t, err)
	t.Cleanup(list.Close)
	press := func(button string) error {
		if there, err := list.Press(button); err != nil || !there {
			return errors.Join(fmt.Errorf("the browser's list has no button %q", button), err)
		}
		return nil
	}
	const bytesOut, broken = `easel_files_bytes_total{direction="out"}`, `easel_files_total{direction="out",outcome="broken off"}`
	more := func(since, name string) float64 { return counted(t, w.metrics(t), name) - counted(t, since, name) }

	before := w.metrics(t)
	d.begin(t)
	link.Narrow(slow, queue)
	if heldOpen(d.name) == 0 {
		t.Fatal("nobody reads the file that is on its way")
	}
	eventually(t, 30*time.Second, "the download is cancelled", func() error { return press("Cancel") })
	eventually(t, 30*time.Second, "nothing of it stays", func() error {
		if on, kept := heldOpen(d.name), downloaded(t, d.to); on > 0 || kept > 0 || more(before, broken) < 1 {
			return fmt.Errorf("%d read the file still, the browser keeps %d bytes", on, kept)
		}
		return nil
	})

	link.Narrow(usual, queue)
	before = w.metrics(t)
	d.begin(t)
	d.comes(t, size/3)
	d.stream.Cut()
	d.over(t, func() error { return press("Resume") })
	eventually(t, 30*time.Second, "the node has counted both parts", func() error {
		if more(before, broken) < 1 || more(before, bytesOut) < size {
			return fmt.Errorf("%g bytes, %g broken off", more(before, bytesOut), more(before, broken))
		}
		return nil
	})
	// What was on its way when the connection was cut goes twice.
	if sent := more(before, bytesOut); sent > size+size/4 {
		t.Errorf("%g bytes went for a file of %d: it was not resumed, it began anew", sent, size)
	}
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
