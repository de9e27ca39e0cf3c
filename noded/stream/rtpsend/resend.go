package rtpsend

import (
	"slices"
	"time"

	"easel/noded/stream/congestion"
)

const (
	// maxLost is how many packets may wait to be sent again, resendShare what part of the rate they may take.
	maxLost     = 256
	resendShare = 0.5
	// resendRest is the least time between two copies of a packet. Chromium asks again a round trip after it asked, and that is shorter than the one that
	// its reports tell of: half of that rests too.
	resendRest = 10 * time.Millisecond
	// resendTime is how old a packet may be to be worth it: after that a keyframe is sooner there than all that is missing.
	resendTime = 500 * time.Millisecond
	// callEvery is how often a viewer that has fallen silent is sent something that it can answer.
	callEvery = 100 * time.Millisecond
	// askEvery is how often a viewer that is asked for reports gets something to report on. It is out of step with Chromium's reports, so that now and
	// then one comes soon after.
	askEvery = 70 * time.Millisecond
	// callFrom is how long after a packet, beside the round trip, feedback must have come: Chromium sends it every 50 to 250 ms.
	callFrom = 300 * time.Millisecond
	// wireOverhead is what SRTP, UDP and IP add to a packet, maxPacket the most that one takes.
	wireOverhead = 10 + 8 + 20
	maxPacket    = rtpPayload + 64
)

// ask has packets sent again that the viewer says to lack, and gives whether a keyframe would do better.
func (p *Pacer) ask(seqs []uint16, now time.Time) (key bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.video == nil || p.dropped {
		return false
	}
	trip, since, waits := p.rate.Trip(), p.video.next-p.key, p.video.waits(p.key)
	if since > keptPackets && !waits {
		p.keyed = false // or numbers that wrap would seem older
	}
	// What is sent again takes part of the rate; who lacks more is better served by a keyframe.
	kbps := float64(p.rate.Plan().Kbps)*resendShare - p.again.Kbps(now)
	most := int(min(max(kbps*1000/8*resendTime.Seconds()/rtpPayload, 1), maxLost))
	rest, old := max(trip/2, resendRest), max(resendTime, 3*trip)
	for _, s := range seqs {
		k, ofKey, tooOld := p.video.at(s), p.ofKey(s), old
		if ofKey { // another would be as long on its way, and lose as much
			tooOld += p.keyTime()
		}
		switch {
		case int16(s-p.video.next) >= 0, p.keyed && !waits && p.video.next-s > since: // never sent, or of no use any more
		case !k.filled || k.seq != s || now.Sub(k.sent) > tooOld:
			key = true
			p.log.Debug("too late to send again", "packet", s, "kept", k.filled && k.seq == s, "age", now.Sub(k.sent))
		case now.Sub(k.resent) < rest:
		case len(p.lost) >= most && ofKey: // it is asked for again
		case len(p.lost) >= most:
			p.lost = slices.DeleteFunc(p.lost, func(s uint16) bool { return !p.ofKey(s) })
			return true
		default:
			k.resent = now
			p.lost = append(p.lost, s)
		}
	}
	p.poke()
	return key
}

// ofKey tells whether a packet is one of the last keyframe's.
func (p *Pacer) ofKey(s uint16) bool {
	last := p.keyEnd
	if p.keyOpen {
		last = p.video.end - 1
	}
	return p.keyed && s-p.key <= last-p.key
}

// sendLost sends one packet that was lost, and tells whether there was one.
func (p *Pacer) sendLost(now time.Time) bool {
	for len(p.lost) > 0 && p.video != nil {
		s := p.lost[0]
		p.lost = p.lost[:copy(p.lost, p.lost[1:])]
		if k := p.video.at(s); k.filled && k.seq == s {
			p.again.Add(len(k.payload), now)
			p.repeat(k, now)
			p.resent++
			return true
		}
	}
	return false
}

// repeat sends a packet once more, by the stream for that where the viewer has one (RFC 4588).
func (p *Pacer) repeat(k *keptPacket, now time.Time) {
	l, d := p.video, departure{rtp: k.seq, video: true, more: true}
	payload := p.repeats[k.header.PayloadType]
	if l.info.SSRCRetransmission == 0 || payload == 0 {
		d.replay = true
		p.write(l, &k.header, k.payload, d, now)
		return
	}
	h := k.header
	h.SSRC, h.PayloadType, h.SequenceNumber = l.info.SSRCRetransmission, payload, l.rtx
	l.rtx++
	l.copy = append(append(l.copy[:0], byte(k.seq>>8), byte(k.seq)), k.payload...)
	p.write(l, &h, l.copy, d, now)
}

// burstProbe is one that is being sent.
type burstProbe struct {
	congestion.Probe        // what is left of it
	back             uint16 // how far behind the newest the next packet is
}

func (p *burstProbe) active() bool { return p.Bytes > 0 }

// sendProbe sends a packet of a probe, if one is on its way or due.
func (p *Pacer) sendProbe(now time.Time) bool {
	if p.video == nil || p.dropped {
		return false
	}
	if !p.probing.active() {
		probe, ok := p.rate.Probe(now)
		if !ok {
			return false
		}
		p.probing = burstProbe{Probe: probe}
	}
	k := p.redundant()
	if k == nil {
		p.probing = burstProbe{}
		return false
	}
	p.probing.Bytes -= len(k.payload)
	p.repeat(k, now)
	return true
}

// redundant is a packet that the viewer has most likely, and not a small one.
func (p *Pacer) redundant() *keptPacket {
	var best *keptPacket
	for range 32 {
		p.probing.back++
		k := p.video.at(p.video.next - p.probing.back%keptPackets)
		if !k.filled || k.seq != p.video.next-p.probing.back {
			if p.probing.back = 0; best != nil {
				break
			}
			continue // there are few: begin with the newest again
		}
		if best == nil || len(k.payload) > len(best.payload) {
			best = k
		}
		if len(best.payload) > rtpPayload/2 {
			break
		}
	}
	return best
}

// silence tells whether the viewer says nothing of what it is sent. All that waits is left out then, and the viewer called now and then, so that it is
// heard as soon as it is back. One that only lacks the last packet has it by the first call.
func (p *Pacer) silence(now time.Time) bool {
	if p.video == nil || p.video.twcc == 0 || p.quiet.IsZero() || p.video.waiting() > 0 && now.Sub(p.quiet) < callFrom {
		return false
	}
	quiet := now.Sub(p.quiet)
	if quiet < callFrom+p.rate.Trip() {
		return false
	}
	if k := p.video.at(p.video.last); now.Sub(p.calledAt) >= callEvery && k.filled && k.seq == p.video.last {
		p.calledAt = now
		p.repeat(k, now)
	}
	if quiet < p.rate.Patience() {
		return false
	}
	if p.rate.Hush() {
		p.log.Info("the viewer is silent: its picture is held", "after", quiet.Round(time.Millisecond))
		p.drop()
	}
	if p.audio != nil {
		p.audio.next = p.audio.end
	}
	return true
}

// Ask has the viewer report on its way for a while, though nothing moves.
func (p *Pacer) Ask(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked.Before(time.Now()) {
		p.poke()
	}
	p.asked = until
}

// sendCall sends a packet that the viewer has, where it is asked for reports and nothing else went out.
func (p *Pacer) sendCall(now time.Time) bool {
	if !now.Before(p.asked) || now.Sub(p.wrote) < askEvery || p.video == nil || p.dropped {
		return false
	}
	k := p.video.at(p.video.last)
	if !k.filled || k.seq != p.video.last {
		return false
	}
	p.repeat(k, now)
	return true
}
