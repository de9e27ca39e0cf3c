package sound

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What lies where the FIFO should be is the session's to make: nothing but a FIFO of its own user is read.
func TestSoundPipeThatIsNone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audio.pipe")
	uid := uint32(os.Getuid())
	open := func(uid uint32) error {
		f, err := OpenPipe(dir, "audio.pipe", uid)
		if err == nil {
			_ = f.Close()
		}
		return err
	}
	for what, put := range map[string]func() error{
		"nothing": func() error { return nil },
		"a file":  func() error { return os.WriteFile(path, []byte("sound"), 0o600) },
		"a link to a FIFO": func() error {
			return errors.Join(unix.Mkfifo(filepath.Join(dir, "other"), 0o600), os.Symlink("other", path))
		},
		"a link to a device": func() error { return os.Symlink("/dev/zero", path) },
		"a folder":           func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := open(uid); err == nil {
			t.Errorf("%s was opened", what)
		}
		_ = os.RemoveAll(path)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(uid); err != nil { // though nobody writes to it
		t.Errorf("a FIFO was refused: %v", err)
	}
	if err := open(uid + 1); err == nil {
		t.Error("another user's FIFO was opened")
	}
}
