package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"easel/noded/stream/clipboard"
	"easel/noded/stream/congestion"
	"easel/noded/stream/contract"
	"easel/noded/stream/input"
	"easel/noded/stream/rtpsend"
	"easel/noded/stream/sound"
	"easel/noded/stream/tile"

	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"
)

const (
	// connectTime is how long a new peer may take to connect.
	connectTime = 20 * time.Second
	// farewellTime is how long a last message may take to go out, handTime how long input may take to be let go.
	farewellTime = time.Second
	handTime     = 2 * time.Second
)

// errNoFormat means that the browser offered no video that this node makes.
var errNoFormat = errors.New("the browser offers no video that this node makes: H.264, VP9 or AV1")

// peer is one viewer by WebRTC. It is made whole by newPeer and ends by end, or by itself when the connection fails.
type peer struct {
	id     string
	who    contract.Viewer
	pc     *webrtc.PeerConnection
	video  *rtpsend.Video
	takes  takes
	short  bool // the browser takes every picture to have the short range of colours
	sender *webrtc.RTPSender
	hand   *input.Hand
	rate   *congestion.Control
	pacer  *rtpsend.Pacer
	// signalling is held while an offer is answered, and restarts limits how many are.
	signalling sync.Mutex
	restarts   *rate.Limiter
	worker     *Worker
	screen     *screen
	log        *slog.Logger

	ctx      context.Context // the peer's life
	cancel   context.CancelFunc
	last     atomic.Pointer[byeMessage]
	handDone chan struct{}
	drop     chan struct{}
	watching chan bool
	all      sync.WaitGroup

	connected atomic.Bool
	confirmed atomic.Bool
	keyWanted atomic.Bool
	chosen    atomic.Pointer[string]
	client    atomic.Pointer[json.RawMessage]
	beat      atomic.Pointer[beat] // of its display
	inStep    atomic.Bool          // what moves is captured in step with it
	bad       atomic.Uint64
	refusals  *rate.Limiter
	control   atomic.Pointer[webrtc.DataChannel]
	motion    atomic.Pointer[webrtc.DataChannel]
	tiles     *tile.Flow
	tilesLost atomic.Bool // and it is shown the video alone
	layer     *tile.Layer // the painter's; nil while the peer has no tiles
	follower  *follower   // a guest's
	clip      *clipboard.Flow
	sound     *sound.Out // nil: the viewer hears nothing

	mu      sync.Mutex
	labels  []string // of the channels that the viewer has opened
	cursors map[uint32]bool
	company peopleMessage // that it was told last
}

// newPeer answers an offer. The caller runs the peer by live.
func (w *Worker) newPeer(ctx context.Context, on *screen, who contract.Viewer, offer string) (*peer, string, error) {
	if !offersVideo(offer) {
		return nil, "", errNoFormat
	}
	id := strings.ToLower(rand.Text()[:16])
	log := w.log.With("peer", id, "who", who.ID, "screen", on.number)
	p := &peer{
		id: id, who: who, worker: w, screen: on, log: log, rate: congestion.New(log), restarts: newRestarts(), refusals: rate.NewLimiter(refusalRate, refusalBurst), cursors: make(map[uint32]bool), handDone: make(chan struct{}),
		drop: make(chan struct{}, 1), watching: make(chan bool, 1),
	}
	p.tiles = tile.NewFlow(p.rate.TookTiles)
	p.pacer = rtpsend.NewPacer(p.rate, log)
	p.video = rtpsend.NewVideo(p.pacer)
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.clip = p.newClipFlow()
	p.hand = input.New(input.Owner{Keyboard: w.keyboard, Place: on.place, May: p.hasHand, Tell: p.sendMotion, Pressed: p.clip.Pressed}, w.pen, log)
	if who.Guest() {
		p.follower = newFollower(p)
	}
	answer, err := p.negotiate(offer)
	if err != nil {
		p.abandon()
		return nil, "", err
	}
	return p, answer, nil
}

// abandon closes a peer that never lived.
func (p *peer) abandon() {
	p.cancel()
	if p.pc != nil {
		_ = p.pc.Close()
	}
}

func (p *peer) negotiate(offer string) (string, error) {
	api, err := p.worker.transport.api(p.pacer, p.listen())
	if err != nil {
		return "", err
	}
	if p.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return "", fmt.Errorf("make a peer connection: %w", err)
	}
	if p.sender, err = p.pc.AddTrack(p.video.Track()); err != nil {
		return "", fmt.Errorf("add the video track: %w", err)
	}
	if p.sound, err = p.worker.sound.Add(p.pc, offer); err != nil {
		return "", err
	}
	p.pc.OnDataChannel(p.channel)
	p.pc.OnConnectionStateChange(p.state)
	p.sender.Transport().ICETransport().OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) {
		if p.connected.Load() && p.pacer.Turn(time.Now()) {
			p.keyWanted.Store(true)
		}
		p.screen.viewers.tell() // it may begin by the relay and then find a direct way
	})
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("read the offer: %w", err)
	}
	p.short = !tellsRange(offer)
	if p.takes = takesOf(p.sender.GetParameters().Codecs, p.screen.encoders.makes); len(p.takes) == 0 {
		return "", errNoFormat
	}
	p.pacer.Repeats(repeats(p.sender.GetParameters().Codecs))
	answer, err := p.answer()
	if err != nil {
		return "", err
	}
	p.video.Extends(p.sender.GetParameters().HeaderExtensions)
	return answer, nil
}

func (p *peer) start(before *peer) {
	p.all.Go(func() { p.pacer.Run(p.ctx) })
	p.all.Go(p.report)
	p.all.Go(func() {
		defer close(p.handDone)
		if before != nil {
			select {
			case <-before.handDone:
			case <-time.After(handTime):
			}
		}
		p.hand.Run(p.ctx, p.drop)
	})
	p.all.Go(func() {
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(connectTime):
		}
		if !p.connected.Load() {
			p.end(byeMessage{T: "bye", Reason: "no connection came about in time"})
		}
	})
}

// live runs what belongs to the peer until it ends, and then closes the connection. before, if any, is the peer whose input must have
// been let go first.
func (p *peer) live(before *peer) {
	p.start(before)
	<-p.ctx.Done()
	last := byeMessage{T: "bye", Reason: "the session's streamer ends"}
	if m := p.last.Load(); m != nil {
		last = *m
	}
	p.sendControl(last)
	if c := p.control.Load(); c != nil {
		deadline := time.Now().Add(farewellTime)
		for c.BufferedAmount() > 0 && time.Now().Before(deadline) {
			time.Sleep(farewellTime / 60)
		}
	}
	_ = p.pc.Close()
	p.all.Wait()
	p.screen.viewers.remove(p)
	p.clip.Close()
	p.worker.sound.Listen(p.sound, false)
	p.log.Info("viewer gone", "why", last.T, "reason", last.Reason)
}

// end has the peer say farewell and close; what it held down is let go at once.
func (p *peer) end(last byeMessage) {
	p.last.CompareAndSwap(nil, &last)
	p.cancel()
}

// state follows the connection.
func (p *peer) state(s webrtc.PeerConnectionState) {
	p.log.Debug("connection", "state", s)
	switch s {
	case webrtc.PeerConnectionStateConnected:
		p.rate.Begins(p.rtt())
		p.connected.Store(true)
		p.log.Info("viewer connected", "path", p.path())
		p.screen.viewers.tell()
	case webrtc.PeerConnectionStateDisconnected:
		select { // nothing may stay pressed while the viewer is out of touch
		case p.drop <- struct{}{}:
		default:
		}
	case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
		p.connected.Store(false)
		p.end(byeMessage{T: "bye", Reason: "the connection was lost"})
	}
}

// path says which way the picture goes: "" while there is none.
func (p *peer) path() string {
	if !p.connected.Load() {
		return contract.PathNone
	}
	pair, err := p.sender.Transport().ICETransport().GetSelectedCandidatePair()
	if err == nil && pair != nil && p.relayed(pair) {
		return contract.PathRelay
	}
	return contract.PathDirect
}

// relayed tells by the address too: viewers do not tell their candidates, so one that comes through the node's relay looks like any
// other that was not heard of before.
func (p *peer) relayed(pair *webrtc.ICECandidatePair) bool {
	return pair.Local.Typ == webrtc.ICECandidateTypeRelay || pair.Remote.Typ == webrtc.ICECandidateTypeRelay ||
		p.worker.cfg.Relayed(pair.Remote.Address, int(pair.Remote.Port))
}

// rtt is the round trip that ICE measured last.
func (p *peer) rtt() time.Duration {
	s, ok := p.sender.Transport().ICETransport().GetSelectedCandidatePairStats()
	if !ok {
		return 0
	}
	return time.Duration(s.CurrentRoundTripTime * float64(time.Second))
}

// asksForKey tells whether the viewer asks for a keyframe. One that shows a picture and has every packet asks only because nothing moves: it gets none.
func (p *peer) asksForKey(lastSent, now time.Time) bool {
	if p.keyWanted.Load() && p.confirmed.Load() && now.Sub(lastSent) > keyLimit && p.pacer.HasAll() {
		p.keyWanted.Store(false)
	}
	return p.keyWanted.Load()
}

// hasHand tells whether what the viewer does with pointer, keys and clipboard counts.
func (p *peer) hasHand() bool { return p.worker.company.has(p.who) }

func (p *peer) quality() string {
	if q := p.chosen.Load(); q != nil {
		return *q
	}
	return defaultQuality
}

// sendFrame hands one encoded frame to the pacer. A packet that can't be sent is for the viewer to ask for again; where more waits than the viewer can
// take, only a keyframe helps.
func (p *peer) sendFrame(f Format, pkt Packet, timestamp uint32) {
	payload, ok := p.takes.payload(f)
	if !ok {
		return
	}
	err := p.video.Send(rtpsend.Frame{
		Format: f.payloadFormat(), PayloadType: uint8(payload), Units: pkt.Units, Key: pkt.Key, Timestamp: timestamp,
		Captured: p.worker.clock.absCapture(timestamp, time.Now()),
	})
	if errors.Is(err, rtpsend.ErrQueueFull) {
		p.keyWanted.Store(true)
	}
}
