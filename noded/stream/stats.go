package stream

import (
	"encoding/json"
	"math"
	"slices"
	"sync"
	"time"

	"easel/noded/stream/contract"
)

// Stages of a frame's way through the streamer, in order.
const (
	stageWait    = iota // damage → read begins
	stageRead           // X server → shared memory
	stageConvert        // difference, copy, colours
	stageEncode
	stageSend
	stageTotal // damage → last packet handed to the kernel
	stages
)

var stageNames = [stages]string{"damage", "read", "convert", "encode", "send", "total"}

// statWindow is how many frames the percentiles look back.
const statWindow = 512

// Percentiles of a stage, in milliseconds.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// Stats is the server's half of what the viewer's overlay shows.
type Stats struct {
	Codec   string                 `json:"codec"`
	Profile string                 `json:"profile"`
	Chroma  string                 `json:"chroma"`
	Encoder string                 `json:"encoder"`
	OpenCL  string                 `json:"opencl"`
	Path    string                 `json:"path"`
	Width   int                    `json:"width"`
	Height  int                    `json:"height"`
	Scale   float64                `json:"scale"` // of the video, beside the screen
	Frames  uint64                 `json:"frames"`
	Keys    uint64                 `json:"keyframes"`
	FPS     float64                `json:"fps"`
	Bitrate float64                `json:"bitrate"` // kbit/s over the last seconds
	Limit   int                    `json:"limit"`   // kbit/s that may be used
	Acked   float64                `json:"acked"`   // kbit/s that arrived of late
	RTT     float64                `json:"rtt"`     // ms
	Loss    float64                `json:"loss"`    // of the packets, in per cent
	Queue   float64                `json:"queue"`   // ms that packets wait on their way
	Beat    float64                `json:"beat"`    // ms from one of the viewer's display's beats to the next, 0 where it has not told
	InStep  bool                   `json:"inStep"`  // and frames are captured in step with them
	Resent  uint64                 `json:"resent"`  // packets that the viewer asked for again
	Repairs uint64                 `json:"repairs"` // packets sent against loss
	Stages  map[string]Percentiles `json:"stages"`
	Exact   int                    `json:"exactTiles"` // of the picture, confirmed by the viewer
	Tiles   int                    `json:"tiles"`      // that it has; 0: the viewer takes none
	ByTiles uint64                 `json:"tileFrames"` // changes that went as tiles instead of video
	TileKB  uint64                 `json:"tileKbytes"` // of tiles in all
	Bad     uint64                 `json:"badMessages"`
	Skipped uint64                 `json:"skippedSamples"` // of strokes, lost on their way for good
	Client  json.RawMessage        `json:"client,omitempty"`
}

// meter counts frames and times their stages. It is safe for several goroutines.
type meter struct {
	latency *latency

	mu             sync.Mutex
	ring           [stages][statWindow]float32
	n              uint64
	keys           uint64
	exactly, tiles int // confirmed, in all
	byTiles        uint64
	tileBytes      uint64
	sizes          [statWindow]int
	sentAt         [statWindow]time.Time
}

// frame notes one frame that was sent.
func (m *meter) frame(took [stages]time.Duration, bytes int, key bool, now time.Time) {
	m.latency.observe(contract.StageDamage, took[stageWait:stageTotal]...)
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.n % statWindow
	for i, d := range took {
		m.ring[i][at] = float32(d.Seconds() * 1000)
	}
	m.sizes[at], m.sentAt[at] = bytes, now
	m.n++
	if key {
		m.keys++
	}
}

// tile notes tiles that were sent, for a change or for what was still.
func (m *meter) tile(bytes int, change bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tileBytes += uint64(bytes)
	if change {
		m.byTiles++
	}
}

// exact notes how many of so many tiles the viewer has confirmed.
func (m *meter) exact(confirmed, tiles int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exactly, m.tiles = confirmed, tiles
}

// fill puts what was measured into s.
func (m *meter) fill(s *Stats, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := int(min(m.n, statWindow))
	s.Frames, s.Keys = m.n, m.keys
	s.Exact, s.Tiles, s.ByTiles, s.TileKB = m.exactly, m.tiles, m.byTiles, m.tileBytes/1000
	s.Stages = make(map[string]Percentiles, stages)
	sorted := make([]float32, n)
	for i := range stages {
		copy(sorted, m.ring[i][:n])
		slices.Sort(sorted)
		s.Stages[stageNames[i]] = Percentiles{percentile(sorted, 0.50), percentile(sorted, 0.99)}
	}
	const window = 2 * time.Second
	bytes, frames := 0, 0
	for i := range n {
		if now.Sub(m.sentAt[i]) < window {
			bytes += m.sizes[i]
			frames++
		}
	}
	s.FPS = round(float64(frames)/window.Seconds(), 10)
	s.Bitrate = round(float64(bytes)*8/1000/window.Seconds(), 1)
}

func percentile(sorted []float32, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return round(float64(sorted[int(p*float64(len(sorted)-1))]), 100)
}

func round(v, parts float64) float64 { return math.Round(v*parts) / parts }

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }
