package lend

import (
	"context"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// measure adds to a device's use how busy each session kept it since the last look. A driver says so of whole cards only.
func (l *Lender) measure(ctx context.Context, device string, u *use) {
	since := uint64(time.Now().Add(-l.look).UnixMicro())
	if ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	samples := make(chan []nvml.ProcessUtilizationSample, 1)
	err := l.Cards.Ask(ctx, device, func(d nvml.Device) error {
		found, ret := d.GetProcessUtilization(since)
		switch ret {
		case nvml.SUCCESS, nvml.ERROR_NOT_FOUND: // nothing ran
			samples <- found
			return nil
		}
		return ret
	})
	if err != nil {
		return // it says nothing of this: Used tells
	}
	type sum struct{ percent, samples float64 }
	of := map[uint32]sum{}
	for _, s := range <-samples {
		if s.Pid != 0 && s.TimeStamp != 0 {
			have := of[s.Pid]
			of[s.Pid] = sum{have.percent + float64(s.SmUtil), have.samples + 1}
		}
	}
	u.timed = true
	for pid, s := range of {
		session, _ := l.SessionOf(int(pid))
		took, counts := u.sessions[session]
		if counts {
			took.busy = min(1, took.busy+s.percent/s.samples/100)
			u.sessions[session] = took
		}
	}
}
