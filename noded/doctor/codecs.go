package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"easel/noded/gpu"
)

// encoded is what `streamer probe` prints when it has encoded one picture.
type encoded struct {
	Codec   string   `json:"codec"`
	Encoder string   `json:"encoder"`
	Chroma  []string `json:"chroma"`
	OK      bool     `json:"ok"`
	Ms      float64  `json:"ms"`
	Error   string   `json:"error"`
	Formats []struct {
		Format, Encoder, Decoder, Error string
		Ms                              float64
	} `json:"formats"`
}

// failed are the formats that were not proven, and why; undecoded those that no decoder was at hand for.
func (e encoded) failed() (failed, undecoded []string) {
	for _, f := range e.Formats {
		if f.Error != "" {
			failed = append(failed, f.Format+": "+f.Error)
		} else if f.Decoder == "" {
			undecoded = append(undecoded, f.Format)
		}
	}
	return failed, undecoded
}

// probe has the streamer encode a picture. The error says why it did not.
func probe(ctx context.Context, h Host, o Options, args ...string) (encoded, error) {
	out, err := h.StreamerProbe(ctx, o.Streamer, args...)
	if err != nil {
		return encoded{}, fmt.Errorf("%s probe failed: %w", o.Streamer, err)
	}
	var e encoded
	if err := json.Unmarshal(out, &e); err != nil {
		return encoded{}, fmt.Errorf("%s probe answered what is no JSON: %w", o.Streamer, err)
	}
	if !e.OK {
		return encoded{}, fmt.Errorf("%s could not encode a picture: %s", e.Encoder, e.Error)
	}
	return e, nil
}

func checkCodecs(ctx context.Context, h Host, o Options) Result {
	soft, err := probe(ctx, h, o)
	if err != nil {
		return Result{
			Status: Fail, Found: err.Error(),
			Means: "no picture could be encoded, so every session falls back to VNC",
			Mend:  "install easel-node again with its libraries (apt-get install --reinstall easel-node; libx264, libvpx, libaom and libyuv), then run: " + o.Streamer + " probe",
		}
	}
	found := []string{soft.String()}
	failed, undecoded := soft.failed()
	if len(failed) > 0 {
		return Result{
			Status: Warn, Found: strings.Join(append(found, failed...), "; "),
			Means: "viewers whose browser takes nothing else (Firefox without H.264: VP9) fall back to VNC",
			Mend:  "install easel-node again with its libraries (apt-get install --reinstall easel-node; libvpx and libaom), then run: " + o.Streamer + " probe",
		}
	}
	if len(undecoded) > 0 {
		found = append(found, strings.Join(undecoded, " and ")+" not decoded, as ffmpeg is not installed")
	}
	for _, c := range h.GPUs(o.GPULibrary).Cards {
		args := nvencProbe(c, o.GPULibrary)
		if args == nil {
			continue
		}
		hard, err := probe(ctx, h, o, args...)
		if err != nil {
			return Result{
				Status: Warn, Found: fmt.Sprintf("%s; card %d: %v", strings.Join(found, "; "), c.Index, err),
				Means: "sessions on this card begin with its encoder and fall back to software, which takes a processor core or so each",
				Mend:  "see that /dev/nvidia* may be opened by all (o+rw), /dev/nvidia-uvm among them, and that libnvidia-encode1 is of the driver's version; then run: " + o.Streamer + " probe " + strings.Join(args, " "),
			}
		}
		found = append(found, hard.String())
	}
	return ok("%s", strings.Join(found, "; "))
}

func (e encoded) String() string {
	text := fmt.Sprintf("%s by %s: one picture in %.1f ms", e.Codec, e.Encoder, e.Ms)
	for i, f := range e.Formats {
		if i > 0 && f.Error == "" {
			text += fmt.Sprintf(", %s %.1f ms", f.Format, f.Ms)
		}
	}
	return text
}

// nvencProbe is how a card's encoder is asked for: nil for one that has none, is not well, or has no device to ask. A card that is divided is asked by
// its first part.
func nvencProbe(c gpu.Card, library string) []string {
	_, well := c.Well()
	device := c.UUID
	if c.MIG.Enabled {
		device = ""
		if len(c.Instances) > 0 {
			device = c.Instances[0].UUID
		}
	}
	if !well || device == "" || !slices.Contains(c.Engines.Encode, "h264") {
		return nil
	}
	args := []string{"--encoder", "nvenc", "--device", device}
	if library != "" {
		args = append(args, "--libraries", filepath.Dir(library))
	}
	return args
}
