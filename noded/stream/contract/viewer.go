package contract

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What somebody who watches a session may do.
const (
	RoleOwner    = "owner"
	RoleTakePart = "take-part" // sees the picture, and has the hand when the owner gives it
	RoleView     = "view"      // sees the picture
)

// Bounds of what is said of a viewer, in bytes.
const (
	MaxViewer = 512
	MaxName   = 80
	maxViewID = 64
	// MaxRevoked bounds the document, and maxShares how many links it names.
	MaxRevoked = 8 << 10
	maxShares  = 128
)

// ViewerHeader is the header of a request by which noded, which alone decides that, says who it is from.
const ViewerHeader = "Easel-Viewer"

// OwnerID is the id of the session's owner.
const OwnerID = "owner"

// Owner is who a request is from that does not say so.
var Owner = Viewer{ID: OwnerID, Role: RoleOwner}

// Viewer is who watches. A guest's ID is its link's, a full stop, and its own.
type Viewer struct {
	ID   string `json:"id"`
	Role string `json:"role"`
	Name string `json:"name"`
}

// Guest tells whether it is somebody who came by a link.
func (v Viewer) Guest() bool { return v.Role != RoleOwner }

// Share is the id of the link that a guest came by; "" for the owner.
func (v Viewer) Share() string {
	if !v.Guest() {
		return ""
	}
	share, _, _ := strings.Cut(v.ID, ".")
	return share
}

var shareID = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// Revoked names links to the session that are gone.
type Revoked struct {
	Shares []string `json:"shares"`
}

// ReadRevoked reads one Revoked and checks it.
func ReadRevoked(r io.Reader) (Revoked, error) {
	var gone Revoked
	if _, err := read(r, MaxRevoked, &gone); err != nil {
		return Revoked{}, fmt.Errorf("read which links are gone: %w", err)
	}
	if len(gone.Shares) == 0 || len(gone.Shares) > maxShares {
		return Revoked{}, fmt.Errorf("read which links are gone: %d of them", len(gone.Shares))
	}
	for _, s := range gone.Shares {
		if !shareID.MatchString(s) {
			return Revoked{}, fmt.Errorf("read which links are gone: %.40q is no link's id", s)
		}
	}
	return gone, nil
}

var guestID = regexp.MustCompile(`^[a-z0-9]{1,32}\.[a-z0-9]{1,31}$`)

// Validate says what is wrong with it.
func (v Viewer) Validate() error {
	switch v.Role {
	case RoleOwner:
		if v.ID != OwnerID {
			return fmt.Errorf("the owner's id is %.70q", v.ID)
		}
	case RoleTakePart, RoleView:
		if len(v.ID) > maxViewID || !guestID.MatchString(v.ID) {
			return fmt.Errorf("a guest's id is %.70q", v.ID)
		}
	default:
		return fmt.Errorf("there is no role %.20q", v.Role)
	}
	if !ValidName(v.Name) {
		return fmt.Errorf("the name must be printable, of at most %d bytes", MaxName)
	}
	return nil
}

// ValidName tells whether a name of a viewer can be shown.
func ValidName(name string) bool {
	return len(name) <= MaxName && utf8.ValidString(name) && !strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) })
}

// Header is the viewer as the header's value: JSON in ASCII.
func (v Viewer) Header() (string, error) {
	var text, ascii strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("say who watches: %w", err)
	}
	for _, c := range strings.TrimSuffix(text.String(), "\n") {
		switch {
		case c < 0x80:
			ascii.WriteRune(c)
		case c > 0xffff:
			hi, lo := (c-0x10000)>>10+0xd800, (c-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&ascii, `\u%04x`, c)
		}
	}
	if ascii.Len() > MaxViewer {
		return "", fmt.Errorf("say who watches: %d bytes, at most %d are taken", ascii.Len(), MaxViewer)
	}
	return ascii.String(), nil
}

// ReadViewer reads the header's value and checks it; an empty one is the owner.
func ReadViewer(value string) (Viewer, error) {
	if value == "" {
		return Owner, nil
	}
	var v Viewer
	if _, err := read(strings.NewReader(value), MaxViewer, &v); err != nil {
		return Viewer{}, fmt.Errorf("read who watches: %w", err)
	}
	if err := v.Validate(); err != nil {
		return Viewer{}, fmt.Errorf("read who watches: %w", err)
	}
	return v, nil
}
