package display

import (
	"fmt"
	"image"

	"github.com/jezek/xgb/randr"
	"github.com/jezek/xgb/xproto"
)

// Resize gives the screen another size. Sides are rounded down to even numbers; the screen then is as large as Size says.
func (d *Display) Resize(w, h int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, h = w&^1, h&^1
	if !validSize(w, h) {
		return fmt.Errorf("resize the screen to %dx%d: sides must be from %d to %d, and %d pixels at most", w, h, MinSide, MaxSide, MaxPixels)
	}
	if d.Size() == image.Pt(w, h) {
		return nil
	}
	what := fmt.Sprintf("resize the screen to %dx%d", w, h)
	if err := d.call(what, func() error { return d.resize(uint16(w), uint16(h)) }); err != nil {
		return err
	}
	if err := d.setSize(w, h); err != nil {
		return err
	}
	poke(d.sizeWake)
	return nil
}

func (d *Display) resize(w, h uint16) error {
	res, err := randr.GetScreenResourcesCurrent(d.xc, d.root).Reply()
	if err != nil {
		return err
	}
	output, crtc, err := d.activeOutput(res)
	if err != nil {
		return err
	}
	mode, made, err := d.mode(res, output, w, h)
	if err != nil {
		return err
	}
	// The screen must hold the mode at every step: grow, switch, shrink.
	old := d.Size()
	if err := d.setScreen(max(w, uint16(old.X)), max(h, uint16(old.Y))); err != nil {
		return fmt.Errorf("grow: %w", err)
	}
	set, err := randr.SetCrtcConfig(d.xc, crtc, xproto.TimeCurrentTime, res.ConfigTimestamp, 0, 0, mode, randr.RotationRotate0, []randr.Output{output}).Reply()
	if err != nil {
		return fmt.Errorf("switch mode: %w", err)
	}
	if set.Status != randr.SetConfigSuccess {
		return fmt.Errorf("switch mode: the X server refused with status %d", set.Status)
	}
	if err := d.setScreen(w, h); err != nil {
		return fmt.Errorf("shrink: %w", err)
	}
	if d.ownMode != 0 && d.ownMode != mode {
		randr.DeleteOutputMode(d.xc, output, d.ownMode)
		randr.DestroyMode(d.xc, d.ownMode)
		d.ownMode = 0
	}
	if made {
		d.ownMode = mode
	}
	return nil
}

// setScreen sets the screen's size in pixels, and in millimetres as 96 dots an inch.
func (d *Display) setScreen(w, h uint16) error {
	mm := func(px uint16) uint32 { return max(1, uint32(px)*254/960) }
	return randr.SetScreenSizeChecked(d.xc, d.root, w, h, mm(w), mm(h)).Check()
}

func (d *Display) activeOutput(res *randr.GetScreenResourcesCurrentReply) (randr.Output, randr.Crtc, error) {
	const most = 64
	for i, o := range res.Outputs {
		if i == most {
			break
		}
		info, err := randr.GetOutputInfo(d.xc, o, res.ConfigTimestamp).Reply()
		if err != nil {
			return 0, 0, err
		}
		if info.Connection == randr.ConnectionConnected && info.Crtc != 0 {
			return o, info.Crtc, nil
		}
	}
	return 0, 0, fmt.Errorf("none of %d outputs is in use", len(res.Outputs))
}

// mode finds a mode of this size, or makes one; made tells which.
func (d *Display) mode(res *randr.GetScreenResourcesCurrentReply, output randr.Output, w, h uint16) (m randr.Mode, made bool, err error) {
	info, err := randr.GetOutputInfo(d.xc, output, res.ConfigTimestamp).Reply()
	if err != nil {
		return 0, false, err
	}
	has := make(map[randr.Mode]bool, len(info.Modes))
	for _, m := range info.Modes {
		has[m] = true
	}
	name := fmt.Sprintf("easel-%dx%d", w, h)
	names := string(res.Names)
	for _, m := range res.Modes {
		n := names[:min(int(m.NameLen), len(names))]
		names = names[len(n):]
		if m.Width != w || m.Height != h {
			continue
		}
		if has[randr.Mode(m.Id)] {
			return randr.Mode(m.Id), randr.Mode(m.Id) == d.ownMode, nil
		}
		if n == name { // left by a streamer before us
			return randr.Mode(m.Id), true, randr.AddOutputModeChecked(d.xc, output, randr.Mode(m.Id)).Check()
		}
	}
	return d.newMode(output, name, w, h)
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
