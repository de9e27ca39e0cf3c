package stream

import (
	"context"
	"errors"
	"time"

	"easel/noded/stream/clipboard"
	"easel/noded/stream/contract"
	"easel/pkg/display"
)

// leastLead is how much of what the line carries a content may have on its way, beside half of a round trip's.
const leastLead = 10 * time.Millisecond

// clipLost is what the session's status says of a clipboard that is gone.
const clipLost = "the clipboard does not work"

// clipboards works with a display's clipboard until ctx ends. Without one the session goes on.
func (w *Worker) clipboards(ctx context.Context, d *display.Display) error {
	defer w.board.degrade(clipLost, false)
	for {
		err := w.clipboardOf(ctx, d)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, display.ErrUnresponsive) {
			return err
		}
		w.log.Warn("clipboard lost", "err", err)
		w.board.degrade(clipLost, true)
		if !pause(ctx, displayRetryMax) {
			return nil
		}
	}
}

func (w *Worker) clipboardOf(ctx context.Context, d *display.Display) error {
	x, err := d.OpenClipboard(ctx, display.Config{Dial: w.dialX, Cookie: w.cfg.Cookie(), Log: w.log})
	if err != nil {
		return err
	}
	defer x.Close()
	w.board.degrade(clipLost, false)
	return w.clipboard.Run(ctx, x)
}

// crossed notes that a content reached the other side. noded writes the audit from the health's counts: the session cannot drown its log.
func (w *Worker) crossed(in bool, format display.Format, n int) {
	w.board.update(func(h *contract.Health) {
		way := &h.Clipboard.Out
		if in {
			way = &h.Clipboard.In
		}
		count := map[display.Format]*contract.Count{display.ClipText: &way.Text, display.ClipHTML: &way.HTML, display.ClipPNG: &way.PNG}[format]
		count.N++
		count.Bytes += int64(n)
	})
}

func (p *peer) newClipFlow() *clipboard.Flow {
	return p.worker.clipboard.NewFlow(p.ctx, clipboard.Viewer{
		Refuse: p.refuse, May: p.hasHand,
		Window: func() int { return int(float64(p.rate.Kbps()) * 125 * max(p.rtt()/2, leastLead).Seconds()) },
		Keyed: func() error {
			if k := p.worker.keyboard(); k != nil {
				return k.Settle()
			}
			return display.ErrClosed
		},
	}, p.log)
}
