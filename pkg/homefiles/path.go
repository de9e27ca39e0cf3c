// Package homefiles holds what a session's file server, its streamer, the node and so the viewer say to each other about the files in the
// artist's home: how a file is named in an address, which names there are, and the documents that cross.
package homefiles

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Bounds of paths, in bytes but for the depth.
const (
	MaxName  = 255 // of one component, as Linux has it
	maxPath  = 4000
	maxDepth = 32
	// MaxID is the longest ID.
	MaxID = (maxPath*4 + 2) / 3
)

// Path is a file or folder below the home, by the bytes of its name: components divided by "/". The empty Path is the home itself. No
// component is hidden, and none leads up.
type Path string

// ID is how a path is written in addresses and documents: names on Linux are bytes, which need not be text.
func (p Path) ID() string { return base64.RawURLEncoding.EncodeToString([]byte(p)) }

// Name is the last component; "" of the home.
func (p Path) Name() string { return string(p[strings.LastIndexByte(string(p), '/')+1:]) }

// Join is the path of name in the folder p.
func (p Path) Join(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "/" + Path(name)
}

// ErrPath is wrapped by every refusal of a path.
var ErrPath = errors.New("no file of the home is called so")

// ParseID reads an ID; what comes back is a Path by all its rules.
func ParseID(id string) (Path, error) {
	if len(id) > MaxID {
		return "", fmt.Errorf("an address of %d characters: %w", len(id), ErrPath)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	// The decoder skips line ends.
	if err != nil || strings.ContainsAny(id, "\r\n") {
		return "", fmt.Errorf("an address that is not base64url: %w", ErrPath)
	}
	p := Path(raw)
	return p, p.Validate()
}

// Validate says why p is not a Path by the rules.
func (p Path) Validate() error {
	if p == "" {
		return nil
	}
	parts := strings.Split(string(p), "/")
	if len(p) > maxPath || len(parts) > maxDepth {
		return fmt.Errorf("a path of %d bytes and %d folders: %w", len(p), len(parts), ErrPath)
	}
	for _, part := range parts {
		if !Visible(part) {
			return fmt.Errorf("%.40q in a path: %w", part, ErrPath)
		}
	}
	return nil
}

// Visible tells whether a name is one component that the artist is shown.
func Visible(name string) bool {
	return name != "" && len(name) <= MaxName && name[0] != '.' && !strings.ContainsAny(name, "/\x00")
}
