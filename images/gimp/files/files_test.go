package files

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
)

// patience is how long a test waits for what ought to happen soon, on a busy machine.
const patience = 30 * time.Second

// house is a file server on a real socket, and the home that it serves.
type house struct {
	t      *testing.T
	home   string
	server *server
	client http.Client
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "fs") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &house{t: t, home: filepath.Join(dir, "home")}
	if err := os.Mkdir(h.home, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	h.server = newServer(h.home, gimp{home: h.home, send: filepath.Join(dir, "dbus-send")}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.server.serve(ctx, l) }()
	h.client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "s"))
	}}
	t.Cleanup(func() {
		cancel()
		h.server.saves.close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) at(parts ...string) string {
	return filepath.Join(append([]string{h.home}, parts...)...)
}

func (h *house) write(name, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.at(name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.at(name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) ask(method, path string, body io.Reader, headers ...string) (int, []byte, http.Header) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, "http://files"+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, b, resp.Header
}

// told asks for a document and reads it as the streamer does.
func told[D homefiles.Document](h *house, method, path string, body any) D {
	h.t.Helper()
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		sent = bytes.NewReader(b)
	}
	status, b, _ := h.ask(method, path, sent)
	if status != 200 {
		h.t.Fatalf("%s %s: %d %s", method, path, status, b)
	}
	d, err := homefiles.Read[D](bytes.NewReader(b), homefiles.MaxDocument)
	if err != nil {
		h.t.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
	return d
}

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func names(l homefiles.Listing) string {
	var all []string
	for _, e := range l.Entries {
		all = append(all, e.Kind+" "+e.Name)
	}
	return strings.Join(all, ", ")
}

func TestListIsNewestFirstAndOfWhatIsVisible(t *testing.T) {
	h := newHouse(t)
	for i, name := range []string{"old.xcf", "猫の絵.png", "Pictures/sunset.png", ".hidden", "b\nad.png", "\xffbytes.png"} {
		h.write(name, strings.Repeat("x", i))
		when := time.Unix(1_700_000_000+int64(i), 0)
		if err := os.Chtimes(h.at(name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Unix(1_700_000_100, 0)
	if err := os.Chtimes(h.at("Pictures"), when, when); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(string) error{
		"link.png":   func(p string) error { return os.Symlink("/etc/passwd", p) },
		"up":         func(p string) error { return os.Symlink("/etc", p) },
		"pipe.png":   func(p string) error { return unix.Mkfifo(p, 0o666) },
		"socket.png": func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o666, 0) },
	} {
		if err := make(h.at(name)); err != nil {
			t.Fatal(err)
		}
	}
	l := told[homefiles.Listing](h, "GET", "/list", nil)
	if got, want := names(l), "folder Pictures, file \uFFFDbytes.png, file b_ad.png, file 猫の絵.png, file old.xcf"; got != want {
		t.Errorf("listed %q, want %q", got, want)
	}
	inner := told[homefiles.Listing](h, "GET", "/list?folder="+l.Entries[0].ID, nil)
	if got := names(inner); got != "file sunset.png" {
		t.Errorf("in the folder: %q", got)
	}
	found := told[homefiles.Listing](h, "GET", "/list?find=SUN", nil)
	if got := names(found); got != "file sunset.png" || found.Entries[0].ID != inner.Entries[0].ID {
		t.Errorf("found %q", got)
	}
	// A name that is no text is named by its bytes.
	if status, body, _ := h.ask("GET", "/content/"+l.Entries[1].ID, nil); status != 200 || string(body) != "xxxxx" {
		t.Errorf("%d %q", status, body)
	}
}

func TestListOfVeryManyFilesIsBounded(t *testing.T) {
	h := newHouse(t)
	for i := range 2*homefiles.MaxEntries + 500 {
		name := h.at(fmt.Sprintf("%04d.png", i))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		when := time.Unix(1_700_000_000+int64(i), 0)
		if err := os.Chtimes(name, when, when); err != nil {
			t.Fatal(err)
		}
	}
	l := told[homefiles.Listing](h, "GET", "/list", nil)
	if len(l.Entries) != homefiles.MaxEntries || !l.More || l.Entries[0].Name != "1499.png" || l.Entries[homefiles.MaxEntries-1].Name != "1000.png" {
		t.Errorf("%d entries, more %v, from %s", len(l.Entries), l.More, l.Entries[0].Name)
	}
}

// TestNothingOutsideTheHomeIsReached tries every way out, by the kernel's own check and step by step.
func TestNothingOutsideTheHomeIsReached(t *testing.T) {
	h := newHouse(t)
	h.write("in/cat.png", "cat")
	outside := filepath.Join(filepath.Dir(h.home), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": outside, "dir": filepath.Dir(h.home), "in/up": "../../secret", "self": "in", "magic": "/proc/self/root" + outside} {
		if err := os.Symlink(target, h.at(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(h.at("pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(h.at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	for _, p := range []homefiles.Path{"out", "dir/secret", "in/up", "self/cat.png", "magic", "pipe", "null", "in", "no/such", "in/cat.png/x"} {
		status, body, _ := h.ask("GET", "/content/"+p.ID(), nil)
		if status != 404 || strings.Contains(string(body), "secret\"") {
			t.Errorf("%s: %d %s", p, status, body)
		}
	}
	for _, id := range []string{homefiles.Path("../secret").ID(), homefiles.Path(outside).ID(), "..%2fsecret", "a%00"} {
		if status, _, _ := h.ask("GET", "/content/"+id, nil); status < 400 {
			t.Errorf("%s: %d", id, status)
		}
	}
	root, err := h.server.tree.root()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, open := range map[string]func(int, string, int, uint32) (int, error){"openat2": beneath, "step by step": step} {
		for path, reached := range map[string]bool{"in/cat.png": true, "in": true, "out": false, "dir/secret": false, "in/up": false, "self/cat.png": false, "magic": false, "in/none": false} {
			fd, err := open(int(root.Fd()), path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			if reached != (err == nil) {
				t.Errorf("%s, %s: %v", name, path, err)
			}
		}
	}
}

func TestDownloadGoesOnWhereItBrokeOff(t *testing.T) {
	h := newHouse(t)
	h.write("cat.png", "0123456789")
	at := "/content/" + homefiles.Path("cat.png").ID()
	status, body, header := h.ask("GET", at, nil)
	tag := header.Get("Etag")
	if status != 200 || string(body) != "0123456789" || !homefiles.ValidETag(tag) {
		t.Fatalf("%d %q %v", status, body, header)
	}
	if status, body, _ := h.ask("GET", at, nil, "Range", "bytes=4-", "If-Range", tag); status != 206 || string(body) != "456789" {
		t.Errorf("%d %q", status, body)
	}
	h.write("cat.png", "abcdefghijk") // another picture by that name
	if status, body, _ := h.ask("GET", at, nil, "Range", "bytes=4-", "If-Range", tag); status != 200 || string(body) != "abcdefghijk" {
		t.Errorf("a changed file went on: %d %q", status, body)
	}
	h.write("empty", "")
	if status, body, _ := h.ask("GET", "/content/"+homefiles.Path("empty").ID(), nil, "Range", "bytes=-1"); status != 200 || len(body) != 0 {
		t.Errorf("a part of an empty file: %d %q", status, body)
	}
	if status, _, header := h.ask("HEAD", at, nil); status != 200 || header.Get("Content-Length") != "11" {
		t.Errorf("%d %v", status, header)
	}
}

func (h *house) patch(id string, offset int64, body io.Reader, length int64) (int, []byte) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), "PATCH", "http://files/uploads/"+id, body)
	if err != nil {
		h.t.Fatal(err)
	}
	req.ContentLength = length
	req.Header.Set("Upload-Offset", fmt.Sprint(offset))
	resp, err := h.client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, b
}

func TestUploadInPieces(t *testing.T) {
	h := newHouse(t)
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 10})
	for _, piece := range []struct {
		offset int64
		text   string
		status int
	}{{0, "0123", 200}, {0, "0123", 409}, {5, "x", 409}, {4, "4567890123", 409}, {4, "456789", 200}} {
		if status, body := h.patch(u.ID, piece.offset, strings.NewReader(piece.text), int64(len(piece.text))); status != piece.status {
			t.Fatalf("%+v: %d %s", piece, status, body)
		}
	}
	if status, body, _ := h.ask("GET", "/list", nil); status != 200 || strings.Contains(string(body), "upload") {
		t.Errorf("an unfinished upload is shown: %s", body)
	}
	done := told[homefiles.Finished](h, "POST", "/uploads/"+u.ID+"/finish", homefiles.Finish{Name: "猫.dat", Open: false})
	if done.File.Name != "猫.dat" || done.File.Size != 10 || done.Opened {
		t.Errorf("%+v", done)
	}
	if b, err := os.ReadFile(h.at("猫.dat")); err != nil || string(b) != "0123456789" {
		t.Errorf("%q, %v", b, err)
	}
	// Whose answer was lost asks again, and nothing happens twice.
	again := told[homefiles.Finished](h, "POST", "/uploads/"+u.ID+"/finish", homefiles.Finish{Name: "猫.dat"})
	if again != done {
		t.Errorf("%+v, want %+v", again, done)
	}
	if l := told[homefiles.Listing](h, "GET", "/list", nil); names(l) != "file 猫.dat" {
		t.Errorf("there is %s", names(l))
	}
}

func TestUploadNeverReplacesAFile(t *testing.T) {
	h := newHouse(t)
	h.write("cat.png", "mine")
	if err := os.Symlink("/nowhere", h.at("cat (2).png")); err != nil {
		t.Fatal(err)
	}
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 0})
	done := told[homefiles.Finished](h, "POST", "/uploads/"+u.ID+"/finish", homefiles.Finish{Name: "cat.png"})
	if b, err := os.ReadFile(h.at("cat.png")); err != nil || string(b) != "mine" || done.File.Name != "cat (3).png" {
		t.Errorf("%q, %v; the new one is %q", b, err, done.File.Name)
	}
}

func TestUploadWithoutAllItsBytesIsNotFinished(t *testing.T) {
	h := newHouse(t)
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 10})
	status, body, _ := h.ask("POST", "/uploads/"+u.ID+"/finish", strings.NewReader(`{"name":"a.png","open":false}`))
	if status != 409 || !strings.Contains(string(body), "byte 0") {
		t.Errorf("%d %s", status, body)
	}
	for _, bad := range []string{"../x", "a/b", "", "...", "a\\u0000b"} {
		if status, body, _ := h.ask("POST", "/uploads/"+u.ID+"/finish", strings.NewReader(`{"name":"`+bad+`","open":false}`)); status != 400 {
			t.Errorf("%q: %d %s", bad, status, body)
		}
	}
	if status, _, _ := h.ask("DELETE", "/uploads/"+u.ID, nil); status != 204 {
		t.Errorf("cancelling: %d", status)
	}
	if left, err := os.ReadDir(h.home); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, id := range []string{u.ID, "../../etc", "ABCDEFGHIJKLMNOPQRSTUVWXYZ-5"} {
		if status, _, _ := h.ask("GET", "/uploads/"+id, nil); status != 404 {
			t.Errorf("%s: %d", id, status)
		}
	}
}

// TestUploadGoesOnAfterACut: the connection hangs in the middle of a piece; who comes again is told where to go on, at once.
func TestUploadGoesOnAfterACut(t *testing.T) {
	h := newHouse(t)
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 8})
	body, more := io.Pipe()
	var hanging sync.WaitGroup
	hanging.Go(func() { h.patch(u.ID, 0, body, 8) })
	if _, err := more.Write([]byte("0123")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "four bytes are in the home", func() bool {
		info, err := os.Stat(h.at(string(uploadPath(u.ID))))
		return err == nil && info.Size() == 4
	})
	if at := told[homefiles.Upload](h, "GET", "/uploads/"+u.ID, nil); at.Offset != 4 {
		t.Fatalf("it is at %d", at.Offset)
	}
	hanging.Wait() // the request of before was made to let go
	if status, answer := h.patch(u.ID, 4, strings.NewReader("4567"), 4); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	told[homefiles.Finished](h, "POST", "/uploads/"+u.ID+"/finish", homefiles.Finish{Name: "a.bin"})
	if b, err := os.ReadFile(h.at("a.bin")); err != nil || string(b) != "01234567" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestUploadOutlivesTheServer: all that is known of an upload is in the home, so a server that was killed goes on with it.
func TestUploadOutlivesTheServer(t *testing.T) {
	h := newHouse(t)
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 6})
	if status, _ := h.patch(u.ID, 0, strings.NewReader("abc"), 3); status != 200 {
		t.Fatal(status)
	}
	next := newUploads(h.server.tree, func(os.FileInfo) {})
	at, err := next.at(u.ID)
	if err != nil || at != (homefiles.Upload{ID: u.ID, Offset: 3, Size: 6}) {
		t.Fatalf("%+v, %v", at, err)
	}
}

func TestUnfinishedUploadsAreBoundedAndForgotten(t *testing.T) {
	h := newHouse(t)
	for range mostUnfinished {
		told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 1})
	}
	if status, body, _ := h.ask("POST", "/uploads", strings.NewReader(`{"size":1}`)); status != 429 {
		t.Fatalf("%d %s", status, body)
	}
	if n, err := h.server.uploads.sweep(time.Now().Add(keepUnfinished + time.Hour)); err != nil || n != 0 {
		t.Fatalf("%d are left, %v", n, err)
	}
	if left, err := os.ReadDir(h.home); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFullHome: a file that cannot fit is refused before it is sent; one that finds the disk full meanwhile is too, and what came is kept.
func TestFullHome(t *testing.T) {
	h := newHouse(t)
	if err := unix.Mount("tmpfs", h.home, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(h.home, unix.MNT_DETACH) })
	status, body, _ := h.ask("POST", "/uploads", strings.NewReader(`{"size":300000}`))
	if status != 507 || !strings.Contains(string(body), "full") {
		t.Fatalf("%d %s", status, body)
	}
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: 200_000})
	h.write("other.xcf", strings.Repeat("x", 150_000))
	if status, body := h.patch(u.ID, 0, bytes.NewReader(make([]byte, 200_000)), 200_000); status != 507 {
		t.Fatalf("%d %s", status, body)
	}
	if err := os.Remove(h.at("other.xcf")); err != nil {
		t.Fatal(err)
	}
	at := told[homefiles.Upload](h, "GET", "/uploads/"+u.ID, nil)
	if at.Offset == 0 {
		t.Error("nothing was kept")
	}
	if status, body := h.patch(u.ID, at.Offset, bytes.NewReader(make([]byte, 200_000-at.Offset)), 200_000-at.Offset); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
}

// TestLargeFileIsSentAndTakenBeyondTwoGigabytes uses holes: only a little of it is on the disk.
func TestLargeFileIsSentAndTakenBeyondTwoGigabytes(t *testing.T) {
	h := newHouse(t)
	const size = 2<<30 + 1<<20
	if err := os.WriteFile(h.at("large.xcf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(h.at("large.xcf"), size); err != nil {
		t.Fatal(err)
	}
	status, body, header := h.ask("GET", "/content/"+homefiles.Path("large.xcf").ID(), nil, "Range", fmt.Sprintf("bytes=%d-", size-1000))
	if status != 206 || len(body) != 1000 || header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", size-1000, size-1, size) {
		t.Fatalf("%d, %d bytes, %v", status, len(body), header)
	}
	u := told[homefiles.Upload](h, "POST", "/uploads", homefiles.NewUpload{Size: size})
	if err := os.Truncate(h.at(string(uploadPath(u.ID))), size-1000); err != nil {
		t.Fatal(err)
	}
	if status, answer := h.patch(u.ID, size-1000, bytes.NewReader(body), 1000); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	done := told[homefiles.Finished](h, "POST", "/uploads/"+u.ID+"/finish", homefiles.Finish{Name: "large copy.xcf"})
	if done.File.Size != size {
		t.Errorf("%+v", done)
	}
}
