package display

import (
	"errors"
	"fmt"
	"image"
	"strings"

	"github.com/jezek/xgb/randr"
	"github.com/jezek/xgb/xproto"
)

// MaxRoot bounds the area of the X server's screen, which holds all outputs: what its video memory holds.
const MaxRoot = 64_000_000

// Arrange gives the outputs other sizes, the first at the left and the others to its right; one of size zero is off. Sides are rounded down to even
// numbers. The X server's clients see the change as a whole.
func (d *Display) Arrange(sizes [Outputs]image.Point) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	what := "give the screens the sizes" + sizesText(sizes)
	want, err := layout(sizes)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if want == d.rects() {
		return nil
	}
	err = d.call(what, func() error {
		names, err := d.windowAtoms()
		if err != nil {
			return err
		}
		windows, err := d.windows(names)
		if err != nil {
			return err
		}
		if err := d.arrange(want); err != nil {
			return err
		}
		d.follow(windows, names, d.rects(), want)
		return nil
	})
	if err != nil {
		return errors.Join(err, d.read()) // as far as it went
	}
	d.place(want)
	return nil
}

func sizesText(sizes [Outputs]image.Point) string {
	var b strings.Builder
	for _, s := range sizes {
		if s != (image.Point{}) {
			fmt.Fprintf(&b, " %dx%d", s.X, s.Y)
		}
	}
	return b.String()
}

// layout puts outputs of these sizes side by side.
func layout(sizes [Outputs]image.Point) (rects [Outputs]image.Rectangle, err error) {
	x := 0
	for i, s := range sizes {
		w, h := s.X&^1, s.Y&^1
		if i > 0 && w == 0 && h == 0 {
			continue
		}
		if !validSize(w, h) {
			return rects, fmt.Errorf("sides must be from %d to %d, and %d pixels at most", MinSide, MaxSide, MaxPixels)
		}
		rects[i] = image.Rect(x, 0, x+w, h)
		x += w
	}
	if root := union(rects); root.Dx()*root.Dy() > MaxRoot {
		return rects, fmt.Errorf("together they take %dx%d, and %d pixels are to be had", root.Dx(), root.Dy(), MaxRoot)
	}
	return rects, nil
}

func union(rects [Outputs]image.Rectangle) (all image.Rectangle) {
	for _, r := range rects {
		all = all.Union(r)
	}
	return all
}

func (d *Display) rects() (rects [Outputs]image.Rectangle) {
	for i, o := range d.outputs {
		rects[i] = o.Rect()
	}
	return rects
}

func (d *Display) place(rects [Outputs]image.Rectangle) {
	for i, o := range d.outputs {
		o.place(rects[i])
	}
}

// Refresh finds out where the outputs are, as somebody else may have changed them.
func (d *Display) Refresh() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read()
}

func (d *Display) read() error {
	var rects [Outputs]image.Rectangle
	err := d.call("read the screens' sizes", func() error {
		found, err := d.connectors()
		if err != nil {
			return err
		}
		for i, c := range found {
			if !c.on {
				continue
			}
			info, err := randr.GetCrtcInfo(d.xc, c.crtc, xproto.TimeCurrentTime).Reply()
			if err != nil {
				return err
			}
			if rects[i], err = crtcRect(info); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		d.place(rects)
	}
	return err
}

func crtcRect(c *randr.GetCrtcInfoReply) (image.Rectangle, error) {
	r := image.Rect(0, 0, int(c.Width), int(c.Height)).Add(image.Pt(int(c.X), int(c.Y)))
	if r.Min.X < 0 || r.Min.Y < 0 || !validSize(r.Dx(), r.Dy()) {
		return r, fmt.Errorf("the X server says its screen is %v; %d to %d a side and %d pixels are taken", r, MinSide, MaxSide, MaxPixels)
	}
	return r, nil
}

// connector is one of the X server's outputs and what drives it.
type connector struct {
	output randr.Output
	crtc   randr.Crtc
	on     bool
	info   *randr.GetOutputInfoReply
	res    *randr.GetScreenResourcesCurrentReply
}

// connectors finds the output that shows the first screen, which is in use always, and the ones after it.
func (d *Display) connectors() (found []connector, err error) {
	const most = 64
	res, err := randr.GetScreenResourcesCurrent(d.xc, d.root).Reply()
	if err != nil {
		return nil, err
	}
	for _, o := range res.Outputs[:min(len(res.Outputs), most)] {
		info, err := randr.GetOutputInfo(d.xc, o, res.ConfigTimestamp).Reply()
		if err != nil {
			return nil, err
		}
		c := connector{output: o, crtc: info.Crtc, on: info.Crtc != 0, info: info, res: res}
		if !c.on && (len(found) == 0 || len(info.Crtcs) == 0) {
			continue
		}
		if !c.on {
			c.crtc = free(info.Crtcs, found)
		}
		if c.crtc == 0 {
			continue
		}
		if found = append(found, c); len(found) == Outputs {
			break
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("none of %d outputs is in use", len(res.Outputs))
	}
	return found, nil
}

// free is the first of an output's controllers that no other output has.
func free(crtcs []randr.Crtc, taken []connector) randr.Crtc {
	for _, c := range crtcs {
		used := false
		for _, t := range taken {
			used = used || t.crtc == c
		}
		if !used {
			return c
		}
	}
	return 0
}

// arrange moves from what is to what is wanted. While the server is grabbed nobody sees what is in between.
func (d *Display) arrange(want [Outputs]image.Rectangle) error {
	found, err := d.connectors()
	if err != nil {
		return err
	}
	modes, made, err := d.modes(found, want)
	if err != nil {
		return err
	}
	now, err := xproto.GetGeometry(d.xc, xproto.Drawable(d.root)).Reply()
	if err != nil {
		return err
	}
	if err := xproto.GrabServerChecked(d.xc).Check(); err != nil {
		return err
	}
	defer xproto.UngrabServer(d.xc)
	// The screen must hold the modes at every step: grow, switch, shrink.
	root := union(want).Max
	if err := d.setScreen(max(root.X, int(now.Width)), max(root.Y, int(now.Height))); err != nil {
		return fmt.Errorf("grow: %w", err)
	}
	for i, c := range found {
		if err := d.setMode(c, want[i], modes[i]); err != nil {
			return fmt.Errorf("switch mode: %w", err)
		}
	}
	if err := d.setScreen(root.X, root.Y); err != nil {
		return fmt.Errorf("shrink: %w", err)
	}
	if err := d.probe(found, want); err != nil {
		return err
	}
	d.forget(found, modes, made)
	return nil
}

// setMode shows the mode at its place, or nothing.
func (d *Display) setMode(c connector, at image.Rectangle, mode randr.Mode) error {
	outputs := []randr.Output{c.output}
	if mode == 0 {
		if !c.on {
			return nil
		}
		outputs = nil
	}
	set, err := randr.SetCrtcConfig(d.xc, c.crtc, xproto.TimeCurrentTime, c.res.ConfigTimestamp, int16(at.Min.X), int16(at.Min.Y), mode,
		randr.RotationRotate0, outputs).Reply()
	if err != nil {
		return err
	}
	if set.Status != randr.SetConfigSuccess {
		return fmt.Errorf("the X server refused with status %d", set.Status)
	}
	return nil
}

// probe has the server look at its outputs anew after one was switched on: the dummy driver's count as connected only then, and applications
// take no notice of a monitor that is not.
func (d *Display) probe(found []connector, want [Outputs]image.Rectangle) error {
	for i, c := range found {
		if !want[i].Empty() && c.info.Connection != randr.ConnectionConnected {
			_, err := randr.GetScreenResources(d.xc, d.root).Reply()
			return err
		}
	}
	return nil
}

// setScreen sets the screen's size in pixels, and in millimetres as 96 dots an inch.
func (d *Display) setScreen(w, h int) error {
	mm := func(px int) uint32 { return max(1, uint32(px)*254/960) }
	return randr.SetScreenSizeChecked(d.xc, d.root, uint16(w), uint16(h), mm(w), mm(h)).Check()
}

// modes finds or makes the modes that are wanted; made tells which are ours to remove.
func (d *Display) modes(found []connector, want [Outputs]image.Rectangle) (modes [Outputs]randr.Mode, made [Outputs]bool, err error) {
	for i, r := range want {
		if r.Empty() {
			continue
		}
		if i >= len(found) {
			return modes, made, fmt.Errorf("the X server has %d outputs, and %d are wanted", len(found), i+1)
		}
		if modes[i], made[i], err = d.mode(found[i], d.outputs[i].ownMode, uint16(r.Dx()), uint16(r.Dy())); err != nil {
			return modes, made, err
		}
	}
	return modes, made, nil
}

// mode finds a mode of this size, or makes one; made tells which.
func (d *Display) mode(c connector, own randr.Mode, w, h uint16) (m randr.Mode, made bool, err error) {
	has := make(map[randr.Mode]bool, len(c.info.Modes))
	for _, m := range c.info.Modes {
		has[m] = true
	}
	name := fmt.Sprintf("easel-%dx%d", w, h)
	res, err := randr.GetScreenResourcesCurrent(d.xc, d.root).Reply() // the output before may have made the very mode
	if err != nil {
		return 0, false, err
	}
	names := string(res.Names)
	for _, m := range res.Modes {
		n := names[:min(int(m.NameLen), len(names))]
		names = names[len(n):]
		if m.Width != w || m.Height != h {
			continue
		}
		if has[randr.Mode(m.Id)] {
			return randr.Mode(m.Id), randr.Mode(m.Id) == own, nil
		}
		if n == name { // another output's, or left by a streamer before us
			return randr.Mode(m.Id), true, randr.AddOutputModeChecked(d.xc, c.output, randr.Mode(m.Id)).Check()
		}
	}
	return d.newMode(c.output, name, w, h)
}

func (d *Display) newMode(output randr.Output, name string, w, h uint16) (randr.Mode, bool, error) {
	const blank, hz = 80, 60
	total := func(px uint16) uint16 { return px + blank }
	reply, err := randr.CreateMode(d.xc, d.root, randr.ModeInfo{
		Width: w, Height: h, DotClock: uint32(total(w)) * uint32(total(h)) * hz,
		HsyncStart: w + 16, HsyncEnd: w + 48, Htotal: total(w),
		VsyncStart: h + 16, VsyncEnd: h + 48, Vtotal: total(h), NameLen: uint16(len(name)),
	}, name).Reply()
	if err != nil {
		return 0, false, fmt.Errorf("make mode %s: %w", name, err)
	}
	if err := randr.AddOutputModeChecked(d.xc, output, reply.Mode).Check(); err != nil {
		return 0, false, fmt.Errorf("add mode %s: %w", name, err)
	}
	return reply.Mode, true, nil
}

// forget removes the modes of ours that are in use no more, and notes those that are.
func (d *Display) forget(found []connector, modes [Outputs]randr.Mode, made [Outputs]bool) {
	var old [Outputs]randr.Mode
	for i, o := range d.outputs {
		old[i], o.ownMode = o.ownMode, 0
		if made[i] {
			o.ownMode = modes[i]
		}
	}
	for i, mode := range old {
		if mode == 0 || i >= len(found) || mode == modes[i] {
			continue
		}
		randr.DeleteOutputMode(d.xc, found[i].output, mode)
		if d.owns(mode) {
			continue
		}
		randr.DestroyMode(d.xc, mode)
	}
}

// owns tells whether a mode of ours is in use.
func (d *Display) owns(mode randr.Mode) bool {
	for _, o := range d.outputs {
		if o.ownMode == mode {
			return true
		}
	}
	return false
}
