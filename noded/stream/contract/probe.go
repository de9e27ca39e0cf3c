package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// MaxProbed bounds, in bytes, what `streamer probe` prints.
const MaxProbed = 64 << 10

// Bounds of what a probe may say.
const (
	maxWhy       = 300
	maxLibraries = 128
	maxMS        = 1e6
	maxPSNR      = 200
)

// SoftwareFormats are what the processor encodes, NVENCFormats what a card does, the first one first.
func SoftwareFormats() []string {
	return []string{"h264", "h264-444", "vp9", "vp9-444", "av1", "av1-444"}
}

// NVENCFormats are those that a card's encoder is asked for.
func NVENCFormats() []string { return []string{"h264", "h264-444"} }

// Probed is what `streamer probe` prints: what came of proving encoders of one kind.
type Probed struct {
	Kind string `json:"kind"` // X264 or NVENC
	// OK tells that the first format that was asked for works.
	OK      bool           `json:"ok"`
	Codecs  []string       `json:"codecs,omitempty"` // all that the card says it can make
	Formats []ProbedFormat `json:"formats"`
	// Libraries are the files that the encoder's code was mapped from, the streamer's own among them.
	Libraries []string `json:"libraries"`
	Error     string   `json:"error,omitempty"` // why nothing was tried
}

// ProbedFormat is what came of one. Of its two ranges of colours and its pictures it is the worst that counts.
type ProbedFormat struct {
	Format  string  `json:"format"`
	Encoder string  `json:"encoder"`
	MS      float64 `json:"ms"`                // of a whole picture of 1920×1080
	Decoder string  `json:"decoder,omitempty"` // none was there where it is empty
	PSNR    float64 `json:"psnr,omitempty"`    // dB of the decoded picture
	Worst   int     `json:"worst"`             // levels that a patch is off
	Unseen  string  `json:"unseen,omitempty"`  // why it was not decoded
	Error   string  `json:"error,omitempty"`   // why it failed
}

// ReadProbed reads one and checks it.
func ReadProbed(b []byte) (Probed, error) {
	var p Probed
	if len(b) > MaxProbed {
		return p, fmt.Errorf("read the streamer's probe: longer than %d bytes", MaxProbed)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("read the streamer's probe: no JSON of its kind: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, errors.New("read the streamer's probe: something follows the JSON document")
	}
	return p, p.validate()
}

func (p *Probed) validate() error {
	known := SoftwareFormats()
	if p.Kind == NVENC {
		known = NVENCFormats()
	}
	switch {
	case p.Kind != X264 && p.Kind != NVENC:
		return fmt.Errorf("read the streamer's probe: kind %.20q is not known", p.Kind)
	case p.OK && len(p.Formats) == 0:
		return errors.New("read the streamer's probe: all is well with no format")
	case len(p.Formats) > len(known):
		return fmt.Errorf("read the streamer's probe: %d formats, there are %d", len(p.Formats), len(known))
	case len(p.Libraries) > maxLibraries || slices.ContainsFunc(p.Libraries, func(l string) bool { return !filepath.IsAbs(l) }):
		return fmt.Errorf("read the streamer's probe: libraries must be at most %d absolute paths", maxLibraries)
	}
	p.Error, p.Codecs = short(p.Error), p.Codecs[:min(len(p.Codecs), 16)]
	seen := map[string]bool{}
	for i := range p.Formats {
		f := &p.Formats[i]
		if !slices.Contains(known, f.Format) || seen[f.Format] {
			return fmt.Errorf("read the streamer's probe: format %.20q", f.Format)
		}
		seen[f.Format] = true
		if !(f.MS >= 0 && f.MS <= maxMS) || !(f.PSNR >= -maxPSNR && f.PSNR <= maxPSNR) || f.Worst < 0 || f.Worst > 255 {
			return fmt.Errorf("read the streamer's probe: the figures of %s cannot be", f.Format)
		}
		f.Encoder, f.Decoder, f.Unseen, f.Error = short(f.Encoder), short(f.Decoder), short(f.Unseen), short(f.Error)
	}
	return nil
}

// short is a text that may stand in a log or a status.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > maxWhy {
		s = string(r[:maxWhy])
	}
	return s
}

// FailedEncoder is one that failed the node's proof: it makes nothing.
type FailedEncoder struct {
	Kind   string `json:"kind"` // X264 stands for all that the processor encodes
	Format string `json:"format"`
	Why    string `json:"why"`
}

func validateFailed(all []FailedEncoder) error {
	if most := len(SoftwareFormats()) + len(NVENCFormats()); len(all) > most {
		return fmt.Errorf("%d encoders, there are %d", len(all), most)
	}
	for _, f := range all {
		known := (f.Kind == X264 && slices.Contains(SoftwareFormats(), f.Format)) || (f.Kind == NVENC && slices.Contains(NVENCFormats(), f.Format))
		if !known {
			return fmt.Errorf("no encoder of kind %.20q makes %.20q", f.Kind, f.Format)
		}
		if f.Why == "" || len(f.Why) > 4*maxWhy {
			return fmt.Errorf("why %s failed must be said in 1 to %d bytes", f.Format, 4*maxWhy)
		}
	}
	return nil
}
