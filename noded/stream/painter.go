package stream

import (
	"context"
	"errors"
	"image"
	"log/slog"
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/tile"
	"easel/pkg/display"

	"golang.org/x/sys/unix"
)

// Timing of frames. One drawing of an application arrives as several damages: coalesce waits for the rest of it, and
// frames are paced so that one that comes soon after another does not tear it.
const (
	coalesce = time.Millisecond
	// coalesceBrief does where little can be torn: of what tiles bring the rest follows within the same refresh of the viewer's screen, and where the whole
	// screen is damaged already, what lies upon it was asked for in the same breath.
	coalesceBrief = 300 * time.Microsecond
	pace          = 12 * time.Millisecond
	napped        = 2 * time.Millisecond  // of a wait before a frame: its end is slept to the point
	burst         = 60 * time.Millisecond // of the rate, that may go out at once
	// stillness is how long nothing may have changed before a wholly changed screen counts as another picture.
	stillness = 100 * time.Millisecond
)

// painter brings one display's picture to the present peer: no damage, no work; one frame in flight, and what comes
// meanwhile is merged into the next. One goroutine, run, owns everything in it.
type painter struct {
	d        *display.Output
	viewers  *viewers
	encoders *encoders
	meter    *meter
	log      *slog.Logger
	epoch    time.Time // of the RTP timestamps

	frame   *display.Frame
	enc     Encoder
	coding  Coding // that it makes
	quality Quality
	rects   []image.Rectangle
	intake  *intake
	pause   *time.Timer // before a frame

	peer     *peer // that has the picture so far
	next     time.Time
	moving   moving
	held     time.Duration // that the frame in hand waited for the viewer's display: the next one's pace does not count it
	debt     time.Time     // until when the rate is used up
	lastSent time.Time
	keys     keys
	refineAt time.Time // zero: settled
	step     int       // of refineQPs
	small    bool      // the last refinement had little left to do
	last     int       // the last frame's quantiser
	coarse   int       // the finest for a picture that moves, which is kept coarse: 0 for none
	blurred  time.Time // when the picture last changed
	shown    bool      // the peer was sent a frame of this size
	found    bool      // the peer's way is measured
	stamp    uint32    // of the last frame
	echoed   []byte
	sheet    *tile.Sheet // nil while nobody takes tiles
	tiles    *tile.Layer // nil while the peer takes none
	costs    tile.Costs
	chooser  *chooser
	scaler   congestion.Scaler
	givenUp  string    // why 4:4:4 was, as the health tells it
	guestAt  time.Time // when guests must be sent what the lead has by tiles: zero for never
	turns    int       // that guests had to be sent still tiles
	// lastTiles is when a change went by tiles.
	lastTiles time.Time
}

// run paints until ctx or the display ends.
func (p *painter) run(ctx context.Context) error {
	p.intake, p.pause = newIntake(), time.NewTimer(time.Hour)
	defer p.intake.close()
	defer p.close()
	defer p.pause.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.arm(timer)
		select {
		case <-ctx.Done():
			return nil
		case <-p.d.Done():
			return display.ErrClosed
		case <-p.d.Damage.Wake():
		case <-p.viewers.wake:
		case <-p.d.SizeChanged():
			p.viewers.setSize(p.d.Size(), p.coding.Scale)
		case <-timer.C:
		}
		err := p.look(ctx)
		switch {
		case errors.Is(err, display.ErrSize):
			p.d.Damage.Add(image.Rectangle{Max: p.d.Size()})
		case err != nil:
			return err
		}
	}
}

// arm sets the timer for what is due without an event.
func (p *painter) arm(timer *time.Timer) {
	due := sooner(sooner(sooner(p.refineAt, p.keyAt()), p.guestsAt()), p.chooser.due(p.stillSince()))
	due = sooner(due, p.scaler.Due(p.stillSince(), p.sharpens()))
	due = sooner(due, sooner(p.stillAt(), p.rescueAt()))
	if p.peer == nil || due.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(time.Until(latest(due, p.debt.Add(-burst))), 0))
}

// sooner is the earlier of two times, where zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// keyAt says when the next keyframe is due: zero if none is.
func (p *painter) keyAt() time.Time {
	if p.peer == nil {
		return time.Time{}
	}
	return p.keys.at(p.leadNeeds(), p.peer.pacer.KeyRest(), p.guestKeyAt())
}

// leadNeeds is why the lead needs a keyframe.
func (p *painter) leadNeeds() keyNeed {
	switch {
	case p.peer.who.Guest(): // one that leads is a guest like the others
	case !p.peer.confirmed.Load():
		return keyUnconfirmed
	case p.peer.asksForKey(p.lastSent, time.Now()):
		return keyWanted
	}
	return keyNone
}

// keyDue tells whether a keyframe must go out.
func (p *painter) keyDue(now time.Time) bool {
	at := p.keyAt()
	return p.keys.owed() || (!at.IsZero() && !now.Before(at))
}

// look sends a frame if there is a reason to.
func (p *painter) look(ctx context.Context) error {
	peer := p.viewers.current()
	if peer == nil || !peer.connected.Load() {
		p.peer = nil
		return nil
	}
	if peer != p.peer {
		p.adopt(peer)
	}
	if p.d.Size() == (image.Point{}) { // the screen is off
		p.close()
		return nil
	}
	plan := peer.rate.Plan()
	if plan.Found != p.found {
		p.found = plan.Found
		if now := time.Now(); p.found && p.debt.After(now) { // what is owed was counted by a guess
			p.debt = now.Add(p.debt.Sub(now) * congestion.StartKbps / time.Duration(plan.Kbps))
		}
	}
	if plan.Hold { // it is out of touch: what changes meanwhile is one frame when it is back
		return nil
	}
	if err := p.fit(); err != nil {
		return err
	}
	p.offerTiles(peer)
	if p.still(peer) || p.stillForGuests() {
		return nil
	}
	if !p.wait(ctx) {
		return nil
	}
	return p.paint(peer, time.Now())
}

// wait holds until a frame may go out, and tells whether there still is a reason for one.
func (p *painter) wait(ctx context.Context) bool {
	now := time.Now()
	refine := !p.refineAt.IsZero() && !now.Before(p.refineAt)
	if !p.d.Damage.Pending() && !p.keyDue(now) && !refine && !p.rescue(now) && !p.guestDue(now) {
		return false
	}
	behind := p.peer.pacer.Backlog() + p.peer.rate.Drains(now) // what waits already, here and on the way
	until := latest(latest(p.next, p.debt.Add(-burst)), now.Add(behind-burst))
	area, screen := p.d.Damage.Area(), p.d.Size()
	small := p.tiles != nil && area <= tile.MaxCells*tile.CellWidth*tile.CellHeight
	if !until.After(now) {
		switch {
		case small:
			nap(coalesceBrief)
			return true
		case area >= screen.X*screen.Y:
			until = now.Add(coalesceBrief)
		default:
			until = now.Add(coalesce)
		}
	}
	p.held = 0
	if !small {
		free := p.moving.inStep(p.peer.beat.Load(), until)
		p.held, until = free.Sub(until), free
		p.peer.inStep.Store(p.moving.steps > 0)
	}
	if rest := time.Until(until) - napped; rest > 0 {
		p.pause.Reset(rest)
		defer p.pause.Stop()
		select {
		case <-p.pause.C:
		case <-ctx.Done():
			return false
		}
	}
	nap(time.Until(until))
	return true
}

// nap sleeps for a moment, for which Go's timers are too coarse in a process that waits for sockets: they may be a millisecond late.
func nap(d time.Duration) {
	if d <= 0 {
		return
	}
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil)
}

// paint reads what was damaged, encodes it and sends it.
func (p *painter) paint(peer *peer, start time.Time) error {
	var took [stages]time.Duration
	var since time.Time
	p.rects, since = p.d.Damage.Take(p.rects)
	if len(p.rects) == 0 {
		since = start
	}
	took[stageWait] = start.Sub(since)
	changed, read, err := p.take()
	if err != nil {
		return err
	}
	converted := time.Now()
	took[stageRead], took[stageConvert] = read.Sub(start), converted.Sub(read)

	key, rescue, guests := p.keyDue(start), p.rescue(start), p.guestDue(start)
	p.lookAtCells(start)
	if p.tiles != nil && changed > 0 && !key && !rescue && p.byTiles(peer, took, since, start, converted) && !p.tiled(took, since, start, converted) {
		return nil
	}
	if changed > 0 {
		if err := p.scale(changed, start); err != nil {
			return err
		}
	}
	key = key || p.keys.owed() || p.another(changed, since)
	qp := p.quantiser(peer, changed, start)
	if guests && !key {
		qp = 0
	}
	if changed == 0 && !key && !rescue && !guests && (qp == 0 || p.refineAt.IsZero()) {
		return nil // damage that is the same again, while nothing is left to sharpen
	}
	p.tune(peer)
	p.toVideo(peer, start)
	pkt, err := p.enc.Encode(key, qp)
	if err != nil && p.encoders.broke(err) {
		p.close() // and begin anew at once, with a keyframe of the next encoder
		p.d.Damage.Add(image.Rectangle{Max: p.d.Size()})
		return nil
	}
	if err != nil {
		return err
	}
	encoded := time.Now()
	p.costs.Encoded(changed, encoded.Sub(converted), pkt.Bytes)
	p.noteEncode(changed, pkt, encoded.Sub(converted))
	p.send(peer, pkt, encoded)
	done := time.Now()
	took[stageEncode], took[stageSend], took[stageTotal] = encoded.Sub(converted), done.Sub(encoded), done.Sub(since)
	p.meter.frame(took, pkt.Bytes, pkt.Key, done)
	p.echoAll(peer, changed > 0, since, &took)
	p.account(peer, pkt, changed, qp, start, done)
	p.follow(peer, done)
	if guests && changed == 0 {
		p.blur(done)
	}
	return nil
}

// take brings the damaged rows into the encoder's picture, each piece while the X server still writes the next, and says how much of them
// differs and when the last one was there.
func (p *painter) take() (changed int, read time.Time, err error) {
	p.intake.begin(p.enc, p.frame.Pix, p.frame.Size.X*4, p.rects)
	err = p.frame.Read(p.rects, p.intake.arrived)
	read = time.Now()
	changed, failed := p.intake.wait()
	if err == nil {
		err = failed
	}
	return changed, read, err
}

// another tells whether the screen turned into another picture after a while of stillness. Nothing of the old one helps then, and a keyframe
// takes the encoder half the time that looking for it does (4 ms instead of 9 for 1920x1080). What moves on is left to prediction, however long it had to wait: since
// is when it was damaged.
func (p *painter) another(changed int, since time.Time) bool {
	return changed*10 >= tile.Cells(p.frame.Size)*7 && since.Sub(p.blurred) > stillness
}

// account plans what comes after a frame.
func (p *painter) account(peer *peer, pkt Packet, changed, qp int, start, done time.Time) {
	p.lastSent, p.last = done, pkt.QP
	if changed > 0 {
		p.next = start.Add(peer.rate.Plan().Pace(pace) - p.held)
	}
	p.owe(pkt.Bytes, p.quality.Kbps, start)
	if pkt.Key {
		p.keys.sent(pkt.Bytes, p.quality.Kbps, done)
		peer.keyWanted.Store(false)
	}
	switch {
	case changed > 0:
		p.moving.frame(start)
		p.moves()
		p.blur(done)
	case qp > 0 && !p.refineAt.IsZero():
		p.refined(peer, pkt, done)
	case pkt.Key && pkt.QP > p.finest(peer):
		p.blur(done) // a keyframe that the rate had no room for
	}
}

// owe counts bytes that went out against the rate: video and tiles share it.
func (p *painter) owe(bytes, kbps int, now time.Time) {
	if p.debt.Before(now) {
		p.debt = now
	}
	p.debt = p.debt.Add(congestion.OnWay(float64(bytes), kbps))
}

// adopt begins anew for a peer that has nothing yet.
func (p *painter) adopt(peer *peer) {
	p.peer, p.tiles, p.shown, p.coarse, p.costs = peer, nil, false, 0, tile.Costs{}
	if peer.layer.Of(p.sheet) { // it has seen the picture as a guest
		p.tiles = peer.layer
	}
	p.chooser.again()
	p.scaler.Again()
	p.keys.anew(peer.rtt())
	p.debt, p.guestAt, p.found = time.Time{}, time.Time{}, false
	p.d.Damage.Add(image.Rectangle{Max: p.d.Size()})
}

// fit makes frame and encoder for the screen's present size, of what the viewers are to get.
func (p *painter) fit() error {
	size, coding := p.d.Size(), p.wish(time.Now())
	if p.frame != nil && p.frame.Size == size {
		return p.turn(coding)
	}
	p.close()
	frame, err := p.d.NewFrame()
	if err != nil {
		return err
	}
	p.quality = p.wanted(p.peer)
	enc, err := p.encoders.open(even(size), coding, p.quality, nil, time.Now())
	if err != nil {
		frame.Close()
		return err
	}
	p.frame, p.enc, p.coding, p.sheet, p.tiles, p.shown, p.coarse = frame, enc, coding, nil, nil, false, 0
	p.keys.must()
	p.viewers.setInfo(enc.Info(), size, coding.Scale)
	p.d.Damage.Add(image.Rectangle{Max: size})
	return nil
}

// turn goes over to another coding, from the next frame on. The picture stays, and with it what the viewer has as tiles.
func (p *painter) turn(to Coding) error {
	if p.coding == to {
		return nil
	}
	size := p.frame.Size
	enc, err := p.encoders.open(even(size), to, p.quality, p.enc, time.Now())
	if err != nil {
		return err
	}
	p.enc, p.coding, p.coarse = enc, to, 0
	p.keys.must()
	p.viewers.setInfo(enc.Info(), size, to.Scale)
	return nil
}

// even is what an encoder takes of a screen.
func even(size image.Point) image.Point { return image.Pt(size.X&^1, size.Y&^1) }

func (p *painter) close() {
	if p.frame != nil {
		p.frame.Close()
		p.enc.Close()
		p.frame, p.enc, p.sheet, p.tiles = nil, nil, nil, nil
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
