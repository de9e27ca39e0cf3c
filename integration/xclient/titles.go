package xclient

import (
	"fmt"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// Titles are the titles of the windows that the window manager knows.
func (s *Screen) Titles() ([]string, error) {
	list, err := s.property(s.Root(), "_NET_CLIENT_LIST")
	if err != nil {
		return nil, err
	}
	var titles []string
	for ; len(list) >= 4; list = list[4:] {
		title, err := s.property(xproto.Window(xgb.Get32(list)), "_NET_WM_NAME")
		if err != nil {
			continue // gone meanwhile
		}
		titles = append(titles, string(title))
	}
	return titles, nil
}

func (s *Screen) property(w xproto.Window, name string) ([]byte, error) {
	atom, err := s.atom(name)
	if err != nil {
		return nil, err
	}
	p, err := xproto.GetProperty(s.conn, false, w, atom, xproto.GetPropertyTypeAny, 0, 1024).Reply()
	if err != nil {
		return nil, fmt.Errorf("read %s of a window: %w", name, err)
	}
	return p.Value, nil
}
