package homefiles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"unicode/utf8"
)

// Bounds of the documents.
const (
	MaxEntries  = 500 // of a listing
	MaxSaved    = 32  // of one answer to who waits for files that were saved
	MaxDocument = 4 << 20
	MaxRequest  = 4 << 10
	MaxSearch   = 100 // of what names are searched for, in bytes
	maxWhy      = 500
)

// MaxSize is the largest size that is believed, in bytes.
const MaxSize = 1 << 50

// Kinds of entries.
const (
	File   = "file"
	Folder = "folder"
)

// Entry is one file or folder of the home. Name is for people: ID says which it is.
type Entry struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // Unix milliseconds
}

// Listing is a folder's entries, or those that a search found: newest first. More tells that there are others.
type Listing struct {
	Entries []Entry `json:"entries"`
	More    bool    `json:"more"`
}

// Saved is what was saved since somebody asked last: they say Watch and Seq with the next question.
type Saved struct {
	Watch string  `json:"watch"` // changes when numbers begin anew
	Seq   uint64  `json:"seq"`
	Files []Entry `json:"files"`
}

// NewUpload begins an upload.
type NewUpload struct {
	Size int64 `json:"size"`
}

// Upload is how far an upload is.
type Upload struct {
	ID     string `json:"id"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
}

// Finish ends an upload whose bytes are all there: the file gets its name. Open asks that GIMP opens it.
type Finish struct {
	Name string `json:"name"`
	Open bool   `json:"open"`
}

// Finished is what came of it. Why says why it was not opened though that was asked.
type Finished struct {
	File   Entry  `json:"file"`
	Opened bool   `json:"opened"`
	Why    string `json:"why,omitempty"`
}

var (
	uploadID = regexp.MustCompile(`^[A-Z2-7]{26}-[0-9]{1,16}$`)
	watchID  = regexp.MustCompile(`^[A-Z2-7]{26}$`)
	// etag is how the file server names a state of a file, and the only kind that is passed on.
	etag = regexp.MustCompile(`^"[0-9a-f]{1,16}(-[0-9a-f]{1,16}){2}"$`)
	// byteRange is one range (RFC 9110, 14.1.2): more than one is never asked for.
	byteRange = regexp.MustCompile(`^bytes=([0-9]{1,18}-[0-9]{0,18}|-[1-9][0-9]{0,17})$`)
)

// ValidUpload, ValidWatch, ValidETag and ValidRange tell whether a text is what these are.
func ValidUpload(id string) bool  { return uploadID.MatchString(id) }
func ValidWatch(id string) bool   { return watchID.MatchString(id) }
func ValidETag(tag string) bool   { return etag.MatchString(tag) }
func ValidRange(text string) bool { return byteRange.MatchString(text) }

// Document is one that can be out of bounds.
type Document interface{ Validate() error }

// Read reads one document of at most limit bytes, strictly.
func Read[D Document](r io.Reader, limit int64) (D, error) {
	var d D
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return d, fmt.Errorf("read a document about files: %w", err)
	}
	if int64(len(b)) > limit {
		return d, fmt.Errorf("read a document about files: longer than %d bytes", limit)
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return d, fmt.Errorf("read a document about files: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return d, errors.New("read a document about files: something follows it")
	}
	if err := d.Validate(); err != nil {
		return d, fmt.Errorf("read a document about files: %w", err)
	}
	return d, nil
}

// Validate implements Document, as the others do.
func (e Entry) Validate() error {
	p, err := ParseID(e.ID)
	switch {
	case err != nil:
		return err
	case p == "":
		return errors.New("an entry that is the home itself")
	case e.Name != Readable(p.Name()):
		return fmt.Errorf("an entry's name %.40q is not its file's", e.Name)
	case e.Kind != File && e.Kind != Folder:
		return fmt.Errorf("an entry is a %.20q", e.Kind)
	case e.Size < 0 || e.Size > MaxSize || e.Modified < -MaxSize || e.Modified > MaxSize:
		return errors.New("an entry's numbers are out of bounds")
	}
	return nil
}

func validEntries(entries []Entry, most int) error {
	if len(entries) > most {
		return fmt.Errorf("%d entries, more than %d", len(entries), most)
	}
	for _, e := range entries {
		if err := e.Validate(); err != nil {
			return err
		}
	}
	return nil
}

func (l Listing) Validate() error { return validEntries(l.Entries, MaxEntries) }

func (s Saved) Validate() error {
	if !ValidWatch(s.Watch) {
		return fmt.Errorf("watch is %.40q", s.Watch)
	}
	return validEntries(s.Files, MaxSaved)
}

func (n NewUpload) Validate() error {
	if n.Size < 0 || n.Size > MaxSize {
		return fmt.Errorf("a file of %d bytes", n.Size)
	}
	return nil
}

func (u Upload) Validate() error {
	if !ValidUpload(u.ID) || u.Offset < 0 || u.Size > MaxSize || u.Offset > u.Size {
		return fmt.Errorf("upload %.50q at %d of %d bytes", u.ID, u.Offset, u.Size)
	}
	return nil
}

func (f Finish) Validate() error {
	_, err := NewName(f.Name)
	return err
}

func (f Finished) Validate() error {
	if len(f.Why) > maxWhy || !utf8.ValidString(f.Why) {
		return errors.New("a reason that is too long, or no text")
	}
	return f.File.Validate()
}
