package display

import (
	"fmt"
	"sync/atomic"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// readTurns is how many contents are read, each into a property of its own, before the first property's turn comes again: an answer that
// comes too late meets nobody.
const readTurns = 8

// clipAtoms is the names that the clipboard's protocol uses.
type clipAtoms struct {
	clipboard, targets, timestamp, multiple, atomPair, incr, clock xproto.Atom

	active, protocols, ping xproto.Atom

	utf8, textUTF8, text, textPlain, html, png xproto.Atom

	read [readTurns]xproto.Atom
}

func (a *clipAtoms) intern(xc *xgb.Conn) error {
	names := []struct {
		name string
		to   *xproto.Atom
	}{
		{"CLIPBOARD", &a.clipboard},
		{"TARGETS", &a.targets},
		{"TIMESTAMP", &a.timestamp},
		{"MULTIPLE", &a.multiple},
		{"ATOM_PAIR", &a.atomPair},
		{"INCR", &a.incr},
		{"_EASEL_TIME", &a.clock},
		{"_NET_ACTIVE_WINDOW", &a.active},
		{"WM_PROTOCOLS", &a.protocols},
		{"_NET_WM_PING", &a.ping},
		{"UTF8_STRING", &a.utf8},
		{"text/plain;charset=utf-8", &a.textUTF8},
		{"TEXT", &a.text},
		{"text/plain", &a.textPlain},
		{"text/html", &a.html},
		{"image/png", &a.png},
	}
	for i := range a.read {
		names = append(names, struct {
			name string
			to   *xproto.Atom
		}{fmt.Sprintf("_EASEL_READ_%d", i), &a.read[i]})
	}
	for _, n := range names {
		r, err := xproto.InternAtom(xc, false, uint16(len(n.name)), n.name).Reply()
		if err != nil {
			return fmt.Errorf("atom %s: %w", n.name, err)
		}
		*n.to = r.Atom
	}
	return nil
}

// names are those of a format, the best first; all of them are UTF-8, if text.
func (a *clipAtoms) names(f Format) []xproto.Atom {
	switch f {
	case ClipText:
		return []xproto.Atom{a.utf8, a.textUTF8}
	case ClipHTML:
		return []xproto.Atom{a.html}
	case ClipPNG:
		return []xproto.Atom{a.png}
	}
	return nil
}

// served is what others may ask for when we have the formats, and what each is.
func (a *clipAtoms) served(s Formats) map[xproto.Atom]Format {
	m := make(map[xproto.Atom]Format)
	for f := range clipFormats {
		if s.Has(f) {
			for _, n := range a.names(f) {
				m[n] = f
			}
		}
	}
	if s.Has(ClipText) {
		m[a.text], m[a.textPlain] = ClipText, ClipText
	}
	return m
}

// kindOf is the type of a content that was asked for as a target: TEXT lets its owner choose one.
func (a *clipAtoms) kindOf(target xproto.Atom) xproto.Atom {
	if target == a.text {
		return a.utf8
	}
	return target
}

// expectation is what the present reading has asked for; 0 is nothing.
type expectation struct{ target atomic.Uint32 }

func (e *expectation) set(t xproto.Atom)     { e.target.Store(uint32(t)) }
func (e *expectation) is(t xproto.Atom) bool { return t != 0 && e.target.Load() == uint32(t) }
