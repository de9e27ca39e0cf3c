package homefiles

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrName is wrapped by every refusal of a name for a new file.
var ErrName = errors.New("no file can be called so")

// NewName makes the name that a file from elsewhere has in the home: as it was, but without what would deceive who reads it or what Linux
// cannot hold. It refuses what is no name at all.
func NewName(name string) (string, error) {
	if strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("%.40q: %w: it has a slash or a NUL in it", name, ErrName)
	}
	name = strings.TrimLeftFunc(Readable(name), func(r rune) bool { return r == '.' || unicode.IsSpace(r) }) // hidden files, "." and ".."
	name = strings.TrimSpace(name)
	if name == "" {
		return "", fmt.Errorf("%w: nothing is left of it but dots and spaces", ErrName)
	}
	return Fit(name, ""), nil
}

// Fit shortens a name, its stem first, so that it holds insert between stem and extension within MaxName bytes.
func Fit(name, insert string) string {
	ext := path.Ext(name)
	if len(ext) > 32 || ext == name {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	room := MaxName - len(ext) - len(insert)
	for len(stem) > room {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	return stem + insert + ext
}

// Readable is a name as a person may be shown it: bytes that are no text, control characters and those that turn the direction of what
// follows ("gpj.exe" read as "exe.jpg") are replaced.
func Readable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '\uFFFD'
		case unicode.IsControl(r), r >= '\u202A' && r <= '\u202E', r >= '\u2066' && r <= '\u2069', r == '\u2028', r == '\u2029':
			return '_'
		}
		return r
	}, name)
}

// Extension is a name's extension in lower case, for logs and metrics: "" when there is none or it is not a short word.
func Extension(name string) string {
	ext := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
	if len(ext) > 8 || strings.Trim(ext, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ""
	}
	return ext
}

// Disposition is the Content-Disposition of a download under that name (RFC 6266): in ASCII for who knows no better, and as it is.
func Disposition(name string) string {
	name = Readable(name)
	plain := strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	var extended strings.Builder
	for _, b := range []byte(name) { // RFC 8187: attr-char stays, all else is escaped
		if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("!#$&+-.^_`|~", b) >= 0 {
			extended.WriteByte(b)
		} else {
			fmt.Fprintf(&extended, "%%%02X", b)
		}
	}
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, plain, extended.String())
}
