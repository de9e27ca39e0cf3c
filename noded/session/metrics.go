package session

import "github.com/prometheus/client_golang/prometheus"

// Metrics is what sessions tell Prometheus. No label holds a session or a user: their number has no bound.
type Metrics struct {
	states           *prometheus.GaugeVec
	ready            *prometheus.HistogramVec
	starts           *prometheus.CounterVec
	opencl           *prometheus.GaugeVec
	slices           *prometheus.GaugeVec
	sliceMemory      *prometheus.GaugeVec
	sliceBusy        *prometheus.GaugeVec
	failed           prometheus.Counter
	streamerRestarts prometheus.Counter
	gimpRestarts     prometheus.Counter
	fallbacks        prometheus.Counter
	handsGiven       prometheus.Counter
	viewers          *prometheus.GaugeVec
	tilesLost        prometheus.Gauge
	clipboard        *prometheus.CounterVec
	clipboardBytes   *prometheus.CounterVec
	refused          *prometheus.CounterVec
	memory, cpu      prometheus.Gauge
	leaks            *prometheus.CounterVec
	duty             *prometheus.GaugeVec
	isolated         prometheus.Gauge
	latency          *latencies
	links            *links
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &Metrics{
		states: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "easel_sessions", Help: "Sessions that hold resources, by state; warm ones that nobody has claimed are not among them."}, []string{"state"}),
		ready: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "easel_session_ready_seconds", Help: "From the reservation of a session to its GIMP's window, by what it began from: cold, desktop or ready.",
			Buckets: []float64{.1, .25, .5, 1, 2, 3, 4, 5, 7, 10, 15, 30, 60, 120},
		}, []string{"start"}),
		starts:           prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_session_starts_total", Help: "Sessions that users were given, by what they began from: cold, or a warm desktop or ready session that was claimed."}, []string{"start"}),
		opencl:           prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "easel_sessions_opencl", Help: "Sessions whose card should compute for GIMP, by what came of the proof: on, proving or failed."}, []string{"state"}),
		slices:           prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "easel_gpu_slices", Help: "GPU slices by class: total (those that can be handed out, or are), used, and held back: their session has ended, and their memory is not seen to be free."}, []string{"class", "state"}),
		sliceMemory:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "easel_gpu_slice_memory_bytes", Help: "Memory that the session which holds a slice takes of its card."}, []string{"slice", "class"}),
		sliceBusy:        prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "easel_gpu_slice_busy_ratio", Help: "Part of the time that the session which holds a slice keeps its card busy; cards in MIG mode do not say."}, []string{"slice", "class"}),
		failed:           counter("easel_sessions_failed_total", "Sessions that failed."),
		streamerRestarts: counter("easel_streamer_restarts_total", "Streamers that ended and were started again."),
		gimpRestarts:     counter("easel_gimp_restarts_total", "GIMPs that ended and were started again."),
		fallbacks:        counter("easel_encoder_fallbacks_total", "Times that a session's picture was to be encoded by a card and a worse encoder had to stand in."),
		clipboard:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_clipboard_contents_total", Help: "Contents that crossed by sessions' clipboards, by direction (in is to the session) and kind."}, []string{"direction", "kind"}),
		clipboardBytes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_clipboard_bytes_total", Help: "Bytes of the contents that crossed by sessions' clipboards, by direction and kind."}, []string{"direction", "kind"}),
		refused:          prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_sessions_refused_total", Help: "Sessions that were refused, by reason."}, []string{"reason"}),
		memory:           gauge("easel_sessions_memory_bytes", "Memory that all sessions take."),
		cpu:              gauge("easel_sessions_cpu_seconds", "Processor time that the sessions of now have taken."),
		leaks:            prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_leaks_removed_total", Help: "Things that no session owned and that were removed, by kind."}, []string{"kind"}),
		duty:             prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "easel_node_duty", Help: "1 for what the node does for new sessions: serving, cordoned or draining."}, []string{"duty"}),
		latency:          newLatencies(),
		links:            newLinks(r),
		isolated:         gauge("easel_node_isolated", "1 while the node sees no coordinator and takes no new sessions."),
	}
	m.handsGiven = counter("easel_hands_given_total", "Times that a session's owner gave a guest the hand.")
	m.viewers = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "easel_viewers", Help: "Who watches sessions now, by role: owner, take-part or view."}, []string{"role"})
	m.tilesLost = gauge("easel_viewers_tiles_lost", "Viewers that are shown the video alone, because exact tiles did not get to them.")
	r.MustRegister(m.handsGiven, m.viewers, m.tilesLost)
	r.MustRegister(m.states, m.ready, m.starts, m.opencl, m.failed, m.streamerRestarts, m.gimpRestarts, m.fallbacks, m.refused, m.memory, m.cpu, m.leaks, m.duty, m.isolated)
	r.MustRegister(m.latency, m.slices, m.sliceMemory, m.sliceBusy, m.clipboard, m.clipboardBytes)
	return m
}
