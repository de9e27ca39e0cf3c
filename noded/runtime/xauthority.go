package runtime

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const (
	familyWild  = 0xffff // of Xau(3): good for every address
	cookieName  = "MIT-MAGIC-COOKIE-1"
	cookieBytes = 16
)

// writeXauthority makes the file that lets into display 0, unless it is there: the X server and the worker must read the same.
func writeXauthority(path string, owner, group int) error {
	cookie := make([]byte, cookieBytes)
	rand.Read(cookie)
	entry := xauthEntry(cookie)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(old) != len(entry) {
		// In one step, so that a crash leaves no half cookie.
		if err := os.WriteFile(path+".new", entry, 0o400); err != nil {
			return fmt.Errorf("writing the X cookie: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("writing the X cookie: %w", err)
		}
	}
	return errors.Join(os.Lchown(path, owner, group), os.Chmod(path, 0o440))
}

// xauthEntry is one record of Xau(3): family and length-prefixed address, display, name and data, big endian.
func xauthEntry(cookie []byte) []byte {
	var b bytes.Buffer
	field := func(data []byte) {
		_ = binary.Write(&b, binary.BigEndian, uint16(len(data)))
		b.Write(data)
	}
	_ = binary.Write(&b, binary.BigEndian, uint16(familyWild))
	field(nil)
	field([]byte("0"))
	field([]byte(cookieName))
	field(cookie)
	return b.Bytes()
}
