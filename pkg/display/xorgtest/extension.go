package xorgtest

import (
	"fmt"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// Use lets c send the requests of an extension, for a client that wants none of its events. The Init of xgb's own package
// also writes the tables of events that the whole process shares, while the readers of other connections look into them.
func Use(c *xgb.Conn, name string) error {
	r, err := xproto.QueryExtension(c, uint16(len(name)), name).Reply()
	if err != nil {
		return fmt.Errorf("ask for the X extension %s: %w", name, err)
	}
	if !r.Present {
		return fmt.Errorf("the X server has no extension %s", name)
	}
	c.ExtLock.Lock()
	defer c.ExtLock.Unlock()
	c.Extensions[name] = r.MajorOpcode
	return nil
}
