package tile

// maxKept bounds what is kept of coded cells for others who may want them: some screens of detail.
const maxKept = 4 << 20

// Sheet is a picture cut into cells, each of which is coded once for all viewers: what a viewer is sent of a cell depends on which version of it
// that viewer has. It belongs to the painter.
type Sheet struct {
	coder   Coder
	moved   []uint16 // cells that the last look at the picture found changed
	version []uint32 // of a cell's pixels when it was coded last: 0 for never
	stale   []bool   // the picture has other pixels now

	// What was coded of the present versions, for others to have: nil while there is one viewer.
	news, whole []coded
	kept        int
}

// coded is a cell as it was coded: by what is new since a version, or whole (from 0).
type coded struct {
	from, version, hash uint32
	bytes               []byte
}

// NewSheet begins with a picture of which nobody has anything.
func NewSheet(coder Coder) *Sheet {
	coder.Reset()
	coder.Changed()
	return &Sheet{coder: coder, version: make([]uint32, coder.Count()), stale: make([]bool, coder.Count())}
}

// Look finds the cells that have changed. Each layer is to look after that.
func (s *Sheet) Look() {
	s.moved = s.coder.Changed()
	for _, c := range s.moved {
		s.stale[c] = true
	}
}

// Share says whether several viewers take cells from the sheet.
func (s *Sheet) Share(on bool) {
	switch {
	case !on:
		s.news, s.whole, s.kept = nil, nil, 0
	case s.news == nil:
		s.news, s.whole = make([]coded, len(s.version)), make([]coded, len(s.version))
	}
}

// cell appends a cell for a viewer that has a version of it, 0 for none, and gives its hash. The viewer is taken to have the present version then.
func (s *Sheet) cell(b []byte, c int, has uint32) ([]byte, uint32) {
	at, from := len(b), s.version[c]
	if s.stale[c] || from == 0 {
		b, hash := s.coder.Code(b, c)
		s.stale[c] = false
		if s.version[c]++; s.version[c] == 0 {
			s.version[c] = 1
		}
		s.keep(s.news, c, from, b[at:], hash)
		if has == from {
			return b, hash
		}
	}
	if has == s.version[c] {
		return s.coder.Code(b, c) // as good as nothing
	}
	if s.news != nil {
		for _, k := range [...]*coded{&s.news[c], &s.whole[c]} {
			if k.version == s.version[c] && (k.from == has || k.from == 0) {
				return append(b, k.bytes...), k.hash
			}
		}
	}
	s.coder.Forget(c)
	b, hash := s.coder.Code(b, c)
	s.keep(s.whole, c, 0, b[at:], hash)
	return b, hash
}

// keep keeps a cell as it was coded, in the memory of what was kept of it before.
func (s *Sheet) keep(in []coded, c int, from uint32, bytes []byte, hash uint32) {
	if in == nil {
		return
	}
	if s.kept > maxKept {
		clear(s.news)
		clear(s.whole)
		s.kept = 0
	}
	k := &in[c]
	s.kept -= cap(k.bytes)
	*k = coded{from, s.version[c], hash, append(k.bytes[:0], bytes...)}
	s.kept += cap(k.bytes)
}
