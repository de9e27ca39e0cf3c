package session

import (
	"bytes"
	"maps"
	"slices"
	"sync"
)

// reader decodes records, each text once: a node remembers hundreds of sessions, and every claim, sweep and announcement looks at all of them.
type reader struct {
	mu   sync.Mutex
	read map[string]readRecord // by id
}

type readRecord struct {
	text   []byte
	record Record
}

// maxRead bounds what is kept, as records that were forgotten are not taken out one by one.
const maxRead = 4 * rememberMax

func (d *reader) decode(id string, text []byte) (Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have, ok := d.read[id]; ok && bytes.Equal(have.text, text) {
		return have.record.clone(), nil
	}
	r, err := decodeRecord(id, text)
	if err != nil {
		return Record{}, err
	}
	if d.read == nil || len(d.read) >= maxRead {
		d.read = map[string]readRecord{}
	}
	d.read[id] = readRecord{bytes.Clone(text), r.clone()} // the database's own bytes are gone after the transaction
	return r, nil
}

// clone is a copy that shares nothing with the record that can be changed.
func (r *Record) clone() Record {
	c := *r
	c.Times, c.Steps = slices.Clone(r.Times), maps.Clone(r.Steps)
	c.Devices = slices.Clone(r.Devices)
	return c
}
