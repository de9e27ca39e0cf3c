// Package proof sees that the node's encoders work before sessions use them: each encodes pictures that a decoder of another make then looks at. That
// is done by the streamer's program, as nobody and confined, because a codec's fault must not be the daemon's.
package proof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

const (
	// limit is how long one format may take: a host that is busy has an encoder all the same.
	limit = time.Minute
	// patience is how long a session that starts waits for what is not known yet.
	patience = 20 * time.Second
	// retry is after how long what was not proven is tried again; doubles up to retryMax.
	retry, retryMax = time.Minute, time.Hour
)

// Options is what a Prover is made of.
type Options struct {
	Streamer string // path of its program
	// Probe runs the streamer with arguments and gives what it printed. Its error is a Fault where the program itself failed.
	Probe func(ctx context.Context, args ...string) ([]byte, error)
	Cards Cards
	// Library is the path of NVIDIA's library, "" for where the loader finds it.
	Library string
	Cache   string // file of what was proven before
	Host    string // names what else a proof depends on: processor, driver, where libraries lie (HostIdentity)
	Log     *slog.Logger
}

// Cards are the host's.
type Cards interface {
	Inventory() gpu.Inventory
	Changed() <-chan struct{}
}

// Fault is an error of the streamer's program: it ended badly, as a codec that is broken makes it.
type Fault struct{ Err error }

func (f Fault) Error() string { return f.Err.Error() }
func (f Fault) Unwrap() error { return f.Err }

// subject is one encoder: a format of the processor or of a card.
type subject struct{ card, format string }

func (s subject) kind() string {
	if s.card == "" {
		return contract.X264
	}
	return contract.NVENC
}

// Proof is what came of one.
type Proof struct {
	Card string // UUID, "" for the processor
	contract.ProbedFormat
	Untried string // why it could not be tried
	Cached  bool   // it was proven by an earlier noded
	again   time.Time
	rest    time.Duration
}

// Proven tells that a decoder saw the pictures.
func (p Proof) Proven() bool { return p.Error == "" && p.Unseen == "" && p.Untried == "" }

// Prover proves encoders and remembers what came of it. Its methods are safe for concurrent use.
type Prover struct {
	Options
	now func() time.Time

	mu      sync.Mutex
	known   map[subject]Proof
	once    bool          // all that there were have been tried
	changed chan struct{} // closes at the next change
}

// New gives a prover that knows nothing yet: Run proves.
func New(o Options) *Prover {
	return &Prover{Options: o, now: time.Now, known: map[subject]Proof{}, changed: make(chan struct{})}
}

// Run proves all encoders, those of cards as they appear, and what failed again from time to time, until ctx ends.
func (p *Prover) Run(ctx context.Context) error {
	for {
		cards := p.Cards.Changed()
		next := p.round(ctx)
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(next.Sub(p.now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-cards:
		case <-timer:
		}
	}
}

// round proves what is due, and tells when the next is: zero when nothing is.
func (p *Prover) round(ctx context.Context) time.Time {
	cache := p.openCache()
	var next time.Time
	all := p.subjects()
	for _, s := range all {
		old, tried := p.get(s)
		if tried && (old.Proven() || p.now().Before(old.again)) {
			next = earliest(next, old)
			continue
		}
		one, libraries := cache.find(s), []string(nil)
		if one == nil {
			var fresh Proof
			if fresh, libraries = p.prove(ctx, s); ctx.Err() != nil {
				return time.Time{}
			}
			one = &fresh
		}
		p.put(s, old, one)
		next = earliest(next, *one)
		if one.Proven() && !one.Cached {
			cache.keep(s, *one, libraries)
		}
	}
	p.finish(all)
	return next
}

func earliest(t time.Time, p Proof) time.Time {
	if p.Proven() || (!t.IsZero() && t.Before(p.again)) {
		return t
	}
	return p.again
}

// subjects are the encoders that there are now.
func (p *Prover) subjects() []subject {
	var all []subject
	for _, f := range contract.SoftwareFormats() {
		all = append(all, subject{format: f})
	}
	for _, c := range p.Cards.Inventory().Cards {
		if CardArguments(c, p.Library) == nil {
			continue
		}
		for _, f := range contract.NVENCFormats() {
			all = append(all, subject{c.UUID, f})
		}
	}
	return all
}

func (p *Prover) arguments(s subject) []string {
	if s.card == "" {
		return nil
	}
	for _, c := range p.Cards.Inventory().Cards {
		if c.UUID == s.card {
			return CardArguments(c, p.Library)
		}
	}
	return nil
}

// prove has the streamer prove one format.
func (p *Prover) prove(ctx context.Context, s subject) (Proof, []string) {
	out := Proof{Card: s.card, ProbedFormat: contract.ProbedFormat{Format: s.format}}
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b, err := p.Probe(within, append(append([]string{"probe"}, p.arguments(s)...), "--format", s.format)...)
	answer, bad := contract.ReadProbed(b)
	switch {
	case bad == nil && answer.Kind == s.kind() && len(answer.Formats) == 1 && answer.Formats[0].Format == s.format:
		out.ProbedFormat = answer.Formats[0]
		return out, answer.Libraries
	case bad == nil && answer.Error != "":
		out.Error = answer.Error
	case within.Err() != nil:
		out.Error = fmt.Sprintf("no answer within %v", limit)
	case errors.As(err, new(Fault)):
		out.Error = err.Error()
	case err != nil:
		out.Untried = err.Error()
	default:
		out.Untried = fmt.Sprintf("the streamer answered what is no proof of %s: %v", s.format, bad)
	}
	return out, nil
}

func (p *Prover) get(s subject) (Proof, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, ok := p.known[s]
	return one, ok
}

// put makes known what came of a proof, and says so in the log.
func (p *Prover) put(s subject, old Proof, one *Proof) {
	if !one.Proven() {
		one.rest = min(max(2*old.rest, retry), retryMax)
		one.again = p.now().Add(one.rest)
	}
	switch {
	case one.Proven():
		p.Log.Info("an encoder is proven", "format", s.format, "encoder", one.Encoder, "card", s.card, "dB", one.PSNR, "worst", one.Worst, "ms", one.MS, "before", one.Cached)
	case one.Error != "":
		p.Log.Warn("an encoder fails its proof and is not used", "format", s.format, "card", s.card, "why", one.Error)
	default:
		p.Log.Warn("an encoder is not proven", "format", s.format, "card", s.card, "why", one.Unseen+one.Untried)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[s] = *one
	p.tell()
}

// tell wakes who waits for a change. p.mu is held.
func (p *Prover) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// finish ends a round, and drops what is no more: a card that is gone.
func (p *Prover) finish(all []subject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.once = true
	p.tell()
	for s := range p.known {
		if !slices.Contains(all, s) {
			delete(p.known, s)
		}
	}
}

// Failed are the encoders that a session on a card ("" for none) must not use. What has not been tried yet is waited for, for a while.
func (p *Prover) Failed(ctx context.Context, card string) []contract.FailedEncoder {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		failed, complete, changed := p.failed(card)
		if complete {
			return failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			p.Log.Warn("a session begins before all encoders are proven")
			return failed
		}
	}
}

func (p *Prover) failed(card string) (failed []contract.FailedEncoder, complete bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := []subject{}
	for _, f := range contract.SoftwareFormats() {
		wanted = append(wanted, subject{format: f})
	}
	if card != "" {
		for _, f := range contract.NVENCFormats() {
			wanted = append(wanted, subject{card, f})
		}
	}
	complete = true
	for _, s := range wanted {
		one, tried := p.known[s]
		if complete = complete && (tried || p.once); one.Error != "" {
			failed = append(failed, contract.FailedEncoder{Kind: s.kind(), Format: s.format, Why: one.Error})
		}
	}
	return failed, complete, p.changed
}

// Proofs are all that are known, the processor's first.
func (p *Prover) Proofs() []Proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Proof
	for _, s := range p.ordered() {
		out = append(out, p.known[s])
	}
	return out
}

// ordered are the known subjects, in an order that stays.
func (p *Prover) ordered() []subject {
	var all []subject
	for s := range p.known {
		all = append(all, s)
	}
	place := func(s subject) int { return slices.Index(contract.SoftwareFormats(), s.format) }
	slices.SortFunc(all, func(a, b subject) int {
		if a.card != b.card {
			if a.card < b.card {
				return -1
			}
			return 1
		}
		return place(a) - place(b)
	})
	return all
}
