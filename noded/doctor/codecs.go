package doctor

import (
	"context"
	"fmt"
	"strings"

	"easel/noded/proof"
	"easel/noded/stream/contract"
)

// probe has the streamer prove its encoders. The error says why none of them could be tried, or why the first fails, without which most viewers have
// no picture.
func probe(ctx context.Context, h Host, o Options, args ...string) (contract.Probed, error) {
	out, err := h.StreamerProbe(ctx, o.Streamer, args...)
	if err != nil {
		return contract.Probed{}, fmt.Errorf("%s probe failed: %w", o.Streamer, err)
	}
	p, err := contract.ReadProbed(out)
	if err != nil {
		return p, err
	}
	if !p.OK {
		return p, fmt.Errorf("%s encodes no picture: %s", p.Kind, p.Error)
	}
	return p, nil
}

func checkCodecs(ctx context.Context, h Host, o Options) Result {
	soft, err := probe(ctx, h, o)
	if err != nil {
		return Result{
			Status: Fail, Found: err.Error(),
			Means: "no picture could be encoded, so every session falls back to VNC",
			Mend:  proof.Reinstall,
		}
	}
	found := []string{seen(soft)}
	failed, unseen := lacks(soft)
	switch {
	case len(failed) > 0:
		return Result{
			Status: Warn, Found: strings.Join(append(found, failed...), "; "),
			Means: "these are not offered: viewers whose browser takes nothing else (Firefox without H.264: VP9) fall back to VNC",
			Mend:  proof.Reinstall,
		}
	case len(unseen) > 0:
		return Result{
			Status: Warn, Found: strings.Join(append(found, unseen...), "; "),
			Means: "these encode, and nobody looked whether what they make is the picture",
			Mend:  proof.Reinstall,
		}
	}
	for _, c := range h.GPUs(o.GPULibrary).Cards {
		args := proof.CardArguments(c, o.GPULibrary)
		if args == nil {
			continue
		}
		hard, err := probe(ctx, h, o, args...)
		if failed, _ := lacks(hard); err == nil && len(failed) > 0 {
			err = fmt.Errorf("%s", strings.Join(failed, "; "))
		}
		if err != nil {
			return Result{
				Status: Warn, Found: fmt.Sprintf("%s; card %d: %v", strings.Join(found, "; "), c.Index, err),
				Means: "sessions on this card are encoded by software, which takes a processor core or so each",
				Mend:  "see that /dev/nvidia* may be opened by all (o+rw), /dev/nvidia-uvm among them, and that libnvidia-encode1 is of the driver's version; then run: " + o.Streamer + " probe " + strings.Join(args, " "),
			}
		}
		found = append(found, seen(hard))
	}
	return ok("%s", strings.Join(found, "; "))
}

// lacks are the formats that failed, and those that no decoder looked at, with the reasons.
func lacks(p contract.Probed) (failed, unseen []string) {
	for _, f := range p.Formats {
		switch {
		case f.Error != "":
			failed = append(failed, f.Format+": "+f.Error)
		case f.Unseen != "":
			unseen = append(unseen, f.Format+": "+f.Unseen)
		}
	}
	return failed, unseen
}

// seen says what encodes, and what one picture takes it.
func seen(p contract.Probed) string {
	var all []string
	for _, f := range p.Formats {
		if f.Error == "" {
			all = append(all, fmt.Sprintf("%s %.1f ms", f.Format, f.MS))
		}
	}
	return fmt.Sprintf("one picture by %s: %s", p.Formats[0].Encoder, strings.Join(all, ", "))
}
