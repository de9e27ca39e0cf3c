package stream

import (
	"errors"
	"image"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"easel/noded/stream/tile"
	"easel/pkg/codec"
	"easel/pkg/codec/nvenctest"
)

// shelf is a codec that has encoders or, as long as why is there, none.
type shelf struct {
	name  string
	why   error
	asked int
}

type idle struct{ info CodecInfo }

func (*shelf) Makes(Format) bool { return true }

func (s *shelf) Open(image.Point, Coding, Quality, Encoder) (Encoder, error) {
	s.asked++
	if s.why != nil {
		return nil, s.why
	}
	return idle{CodecInfo{Codec: "H264", Chroma: "4:4:4", Encoder: s.name, Hardware: s.name == "card"}}, nil
}

func (idle) Update([]byte, int, []image.Rectangle) (int, error) { return 0, nil }
func (idle) Encode(bool, int) (Packet, error)                   { return Packet{}, nil }
func (idle) SetQuality(Quality) error                           { return nil }
func (idle) Tiles() tile.Coder                                  { return nil }
func (i idle) Info() CodecInfo                                  { return i.info }
func (idle) ColourLoss() float64                                { return 0 }
func (idle) Close()                                             {}

func TestWorseEncoderStandsInAndSaysSo(t *testing.T) {
	card, cpu := &shelf{name: "card"}, &shelf{name: "cpu"}
	b := newBoard()
	e := newEncoders([]Codec{card, cpu}, b, slog.New(slog.DiscardHandler))
	now := time.Now()
	open := func(want string, degraded ...string) {
		t.Helper()
		enc, err := e.open(image.Pt(320, 320), Coding{Format: H264}, Quality{}, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		if h, _ := b.get(); enc.Info().Encoder != want || h.Encoder != want || !slices.Equal(h.Degraded, degraded) {
			t.Fatalf("the encoder is %q, the health says %q and %q; want %q and %q", enc.Info().Encoder, h.Encoder, h.Degraded, want, degraded)
		}
	}
	open("card")
	card.why = errors.New("no session is free")
	standIn := []string{"encoder: cpu", "encoder: cpu stands in: no session is free"}
	open("cpu", standIn...)
	card.why = nil
	open("cpu", standIn...) // it is left alone for a while
	now = now.Add(encoderRest)
	open("card")
	if !e.broke(errors.New("the card is lost")) {
		t.Fatal("nothing goes on for a card that is lost")
	}
	asked := card.asked
	now = now.Add(1000 * encoderRest)
	open("cpu", "encoder: cpu", "encoder: cpu stands in: the card is lost")
	if card.asked != asked {
		t.Error("a card that was lost in the middle of a stream was asked again")
	}
	if e.broke(errors.New("no memory")) {
		t.Error("something goes on for the last codec")
	}
	if h, _ := b.get(); h.Fallbacks != 2 {
		t.Errorf("%d fallbacks are told, want 2", h.Fallbacks)
	}
	cpu.why = errors.New("no memory")
	if _, err := e.open(image.Pt(320, 320), Coding{Format: H264}, Quality{}, nil, now); err == nil || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("without any encoder: %v", err)
	}
}

// Whatever happens to the card, the stream goes on: by x264, with a keyframe, and the session's health says why.
func TestStreamOutlivesItsCard(t *testing.T) {
	built := nvenctest.Build(t)
	for _, c := range []struct {
		name, fault string
		value       int
		limit       time.Duration
		first       string
		why         string
	}{
		{"no session", "sessions", 0, time.Minute, "x264 (software)", "takes no further session"},
		{"lost", "lost_at", 5, time.Minute, "NVENC (Double of a card)", "device does not exist"},
		{"hung", "hang_at", 5, 5 * time.Second, "NVENC (Double of a card)", "no answer within 5s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := built.Again(t)
			card, err := codec.OpenNVENC(codec.NVENCOptions{Device: nvenctest.Card, Libraries: d.Libraries, FrameLimit: c.limit})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(card.Close)
			d.Fault(c.fault, c.value)
			s := startSession(t, testCodec{card}, testCodec{})
			a := newArtist(t, s.x)
			s.ready(t)
			v := connect(t, s)
			s.await(t, "a first encoder", func() bool { return s.health(t, 0).Encoder != "" })
			if h := s.health(t, 0); h.Fallbacks == 0 && h.Encoder != c.first {
				t.Fatalf("the first encoder is %q, want %q", h.Encoder, c.first)
			}
			i := 0
			s.await(t, "x264", func() bool {
				i++
				a.fill(t, image.Rect(0, 0, 200, 200), uint32(i*77777))
				return s.health(t, 0).Encoder == "x264 (software)"
			})
			h := s.health(t, 0)
			if h.Fallbacks != 1 || h.Error != "" || !slices.ContainsFunc(h.Degraded, func(text string) bool {
				return strings.Contains(text, "stands in") && strings.Contains(text, c.why)
			}) {
				t.Errorf("the health is %+v", h)
			}
			frames, keys := v.count()
			s.await(t, "a keyframe of x264, and what comes after it", func() bool {
				i++
				a.fill(t, image.Rect(0, 0, 200, 200), uint32(i*77777))
				f, k := v.count()
				return k > keys && f > frames+3
			})
			if c.fault == "hang_at" {
				d.Fault("hang_at", -1)
				d.Await("frame=5", 1)
				d.Forgive() // what a hung driver has cannot be given back
			}
		})
	}
}
