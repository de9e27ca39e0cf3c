package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"easel/noded/stream/input"
	"easel/noded/stream/tile"
	"easel/pkg/display"

	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"
)

// Bounds of what waits on a viewer's channels.
const (
	// maxBuffered is how much may wait on the control channel before a viewer that reads nothing is told no more.
	maxBuffered = 1 << 20
	// maxMotion is how much may wait on the motion channel: what is said there is soon said anew.
	maxMotion  = 16 << 10
	maxCursors = 256
)

// Bounds of what a viewer may do.
const (
	// maxChannels is how many channels it may open, each of which takes 64 KiB here: the page opens five.
	maxChannels = 16
	// Control messages that it may send a second, and at once.
	controlRate, controlBurst = 100, 200
	// Messages a second, and at once, that are refused before it is ended: no page sends so many by mistake.
	refusalRate, refusalBurst = 100, 2000
)

var (
	errChannels = errors.New("the page opens more channels than there are: load it anew")
	errFlood    = errors.New("the page sends too much that makes no sense: load it anew")
	errText     = errors.New("text on a channel of bytes")
)

// channel takes up one of the viewer's data channels.
func (p *peer) channel(d *webrtc.DataChannel) {
	if err := p.admit(d.Label()); err != nil {
		p.refuse(err)
		_ = d.Close()
		return
	}
	switch d.Label() {
	case "input", "motion":
		reliable := d.Label() == "input"
		if !reliable {
			p.motion.Store(d)
		}
		p.hears(d, func(b []byte) error {
			in, err := input.Parse(b, reliable)
			if err == nil {
				p.hand.Push(p.ctx, in)
			}
			return err
		})
	case "control":
		limit := rate.NewLimiter(controlRate, controlBurst)
		p.control.Store(d) // before it opens: its first message may come before OnOpen does
		d.OnOpen(func() {
			p.screen.viewers.greet(p)
			p.worker.company.greet(p)
		})
		d.OnMessage(func(m webrtc.DataChannelMessage) {
			if !limit.Allow() {
				p.refuse(errors.New("too many control messages"))
				return
			}
			p.obey(m.Data)
		})
	case "tiles":
		if d.Protocol() != tile.Protocol {
			p.refuse(fmt.Errorf("the page means tiles of kind %.20q, want %q: load it anew", d.Protocol(), tile.Protocol))
			_ = d.Close()
			return
		}
		d.OnOpen(p.screen.viewers.poke)
		p.hears(d, func(b []byte) error {
			r, err := tile.ParseReport(b)
			if err == nil {
				err = p.tiles.Take(r, time.Now())
			}
			if err == nil {
				p.screen.viewers.poke()
			}
			return err
		})
		p.tiles.Use(d)
	case "clipboard":
		p.clip.Open(d)
	default:
		_ = d.Close()
	}
}

// admit tells whether the viewer may have one more channel: each label once, so that none is a way around another's limits.
func (p *peer) admit(label string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := slices.Contains(p.labels, label)
	p.labels = append(p.labels, label)
	switch {
	case len(p.labels) > maxChannels:
		p.end(byeMessage{T: "bye", Reason: errChannels.Error()})
		return errChannels
	case known:
		return fmt.Errorf("another channel %.20q", label)
	}
	return nil
}

// hears has the messages of a channel of bytes taken; those that are not count as refused.
func (p *peer) hears(d *webrtc.DataChannel, take func(b []byte) error) {
	d.OnMessage(func(m webrtc.DataChannelMessage) {
		err := errText
		if !m.IsString {
			err = take(m.Data)
		}
		if err != nil {
			p.refuse(err)
		}
	})
}

// refuse counts a message that was not taken; the first few are logged, and who does not stop is shown out.
func (p *peer) refuse(err error) {
	if n := p.bad.Add(1); n <= 5 {
		p.log.Warn("message from the viewer refused", "err", err)
	}
	if !p.refusals.Allow() {
		p.end(byeMessage{T: "bye", Reason: errFlood.Error()})
	}
}

// obey does what a control message asks.
func (p *peer) obey(b []byte) {
	m, err := parseControl(b)
	if err != nil {
		p.refuse(err)
		return
	}
	switch m.T {
	case controlSeen:
		p.confirmed.Store(true)
	case controlResize:
		if !p.who.Guest() {
			p.worker.resize(p.screen, screenSize(m.W, m.H), m.Scale)
		}
	case controlQuality:
		p.chosen.Store(&m.Value)
		p.screen.viewers.poke()
	case controlHand:
		if err := p.worker.company.ask(p.who, m.To); err != nil {
			p.refuse(err)
		}
	case controlResume:
		p.resume(m.resumeTold)
	case controlPing:
		p.sendControl(pongMessage{"pong", m.ID, p.worker.clock.ms(time.Now())})
	case controlBeat:
		now := time.Now()
		p.beat.Store(newBeat(m.beatTold, p.worker.clock.captured(m.RTP-m.RTP%tile.StampStep, now), now))
	case controlLatency:
		p.worker.latency.add(m.Stages)
	case controlClient:
		p.client.Store(&m.Stats)
	case controlAudio:
		if p.sound != nil {
			p.worker.sound.Listen(p.sound, m.On)
			if p.ctx.Err() != nil { // live may have been here before
				p.worker.sound.Listen(p.sound, false)
			}
		}
	case controlWatch:
		select {
		case <-p.watching:
		default:
		}
		p.watching <- m.On
	}
}

// openControl is the control channel, nil until it is open.
func (p *peer) openControl() *webrtc.DataChannel {
	if c := p.control.Load(); c != nil && c.ReadyState() == webrtc.DataChannelStateOpen {
		return c
	}
	return nil
}

// sendControl sends a message, unless the channel is not open or the viewer does not read.
func (p *peer) sendControl(m any) {
	c := p.openControl()
	if c == nil || c.BufferedAmount() > maxBuffered {
		return
	}
	b, err := json.Marshal(m)
	if err != nil {
		p.log.Warn("control message not sent", "err", err)
		return
	}
	_ = c.SendText(string(b))
}

// sendMotion sends a message on the motion channel, which may lose it, unless too much waits there already.
func (p *peer) sendMotion(b []byte) {
	if c := p.motion.Load(); c != nil && c.ReadyState() == webrtc.DataChannelStateOpen && c.BufferedAmount() <= maxMotion {
		_ = c.Send(b)
	}
}

// sendCursor sends a cursor's picture the first time and its number later.
func (p *peer) sendCursor(c display.Cursor) {
	if p.openControl() == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cursors[c.ID] {
		p.sendControl(knownCursor{"cursor", c.ID})
		return
	}
	if len(p.cursors) >= maxCursors {
		clear(p.cursors)
	}
	p.cursors[c.ID] = true
	p.sendControl(cursorFull(c))
}

// report sends the viewer stats each second while it asks for them.
func (p *peer) report() {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case on := <-p.watching:
			if on {
				ticker.Reset(time.Second)
			} else {
				ticker.Reset(time.Hour)
			}
		case <-ticker.C:
			p.sendControl(statsMessage{"stats", p.worker.stats(p.screen)})
		}
	}
}
