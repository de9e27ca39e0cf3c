package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxXauthority bounds the file, in bytes: it holds one entry.
const maxXauthority = 4096

const cookieName = "MIT-MAGIC-COOKIE-1"

// readCookie returns the 16 bytes of the first MIT-MAGIC-COOKIE-1 in an Xauthority file.
func readCookie(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the X cookie: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxXauthority))
	if err != nil {
		return nil, fmt.Errorf("read the X cookie: %w", err)
	}
	cookie, err := parseXauthority(data)
	if err != nil {
		return nil, fmt.Errorf("read the X cookie from %s: %w", path, err)
	}
	return cookie, nil
}

// parseXauthority reads entries as libXau writes them: a family, then address, display number, name and
// data, each as a 16-bit big-endian length and its bytes.
func parseXauthority(data []byte) ([]byte, error) {
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, io.ErrUnexpectedEOF
		}
		rest := data[2:]
		var fields [4][]byte
		for i := range fields {
			if len(rest) < 2 {
				return nil, io.ErrUnexpectedEOF
			}
			n := int(binary.BigEndian.Uint16(rest))
			if len(rest) < 2+n {
				return nil, io.ErrUnexpectedEOF
			}
			fields[i], rest = rest[2:2+n], rest[2+n:]
		}
		if string(fields[2]) == cookieName && len(fields[3]) == 16 {
			return fields[3], nil
		}
		data = rest
	}
	return nil, errors.New("it holds no " + cookieName)
}
