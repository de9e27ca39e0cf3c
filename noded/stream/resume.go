package stream

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"easel/noded/stream/input"
	"easel/pkg/display"
)

const (
	// maxPages is how many pages' hands are remembered, and maxHeldKeys how many keys a page may say it holds down.
	maxPages    = 16
	maxHeldKeys = 32
	// knownButtons is the bits of the buttons that there are.
	knownButtons = 1<<1 | 1<<2 | 1<<3 | 1<<8 | 1<<9
)

var pagePattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// resumeTold is what a page says when a connection of its begins: which page it is, and where its hand goes on if nothing is known of it.
type resumeTold struct {
	Page    string      `json:"page"`
	RSeq    uint32      `json:"rseq"`
	Sample  uint32      `json:"sample"`
	Buttons [4]uint16   `json:"buttons"`
	Keys    [][2]uint32 `json:"keys"` // keysym and evdev code
}

// resumedMessage tells a page how far what its hand did was taken: it says the rest again. Known is false where that is the page's own word.
type resumedMessage struct {
	T      string `json:"t"`
	Known  bool   `json:"known"`
	RSeq   uint32 `json:"rseq"`
	Sample uint32 `json:"sample"`
}

func (r resumeTold) check() error {
	if !pagePattern.MatchString(r.Page) {
		return errors.New("a page is named by 32 hexadecimal digits")
	}
	for _, b := range r.Buttons {
		if b&^knownButtons != 0 {
			return fmt.Errorf("there are no buttons %#x", b)
		}
	}
	if len(r.Keys) > maxHeldKeys {
		return fmt.Errorf("%d keys are held down, at most %d are believed", len(r.Keys), maxHeldKeys)
	}
	for _, k := range r.Keys {
		if k[1] > 0xffff {
			return fmt.Errorf("there is no key %d", k[1])
		}
	}
	return nil
}

func (r resumeTold) progress() input.Progress {
	at := input.Progress{Sample: r.Sample, RSeq: r.RSeq, Buttons: r.Buttons}
	for _, k := range r.Keys {
		at.Keys = append(at.Keys, display.Key{Sym: display.Keysym(k[0]), Code: uint16(k[1])})
	}
	return at
}

// hands remembers which page moves which hand, beyond the hand's end: a page whose connection broke goes on where it had come to. Each person has one
// on a screen. It is safe for several goroutines.
type hands struct {
	mu  sync.Mutex
	all []pageHand // the newest last
}

type pageHand struct {
	who, page string
	hand      *input.Hand
	ended     <-chan struct{}
}

// note says that a page moves p's hand from now on, and returns the one that it moved before, if that is known.
func (h *hands) note(p *peer, page string) (before pageHand, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = slices.DeleteFunc(h.all, func(one pageHand) bool {
		if one.who != p.who.ID {
			return false
		}
		before, known = one, one.page == page && one.hand != p.hand
		return true
	})
	h.all = append(h.all, pageHand{p.who.ID, page, p.hand, p.handDone})
	h.all = h.all[max(0, len(h.all)-maxPages):]
	return before, known
}

// resume has the peer's hand go on where its page's last one came to.
func (p *peer) resume(told resumeTold) {
	before, known := p.screen.hands.note(p, told.Page)
	p.hand.Resume(input.Resuming{
		From: told.progress(),
		Before: func() (input.Progress, bool) {
			if !known {
				return input.Progress{}, false
			}
			select {
			case <-before.ended:
				return before.hand.Progress(), true
			case <-time.After(handTime):
				p.log.Warn("a hand of before has not ended in time: what its page did last is not known")
				return input.Progress{}, false
			}
		},
		Answer: func(at input.Progress, known bool) {
			p.sendControl(resumedMessage{"resumed", known, at.RSeq, at.Sample})
		},
	})
}
