package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/safesocket"
)

// Bounds of what a streamer may tell.
const (
	maxPID        = 1 << 22
	maxCount      = 1 << 20
	maxWindowMS   = 24 * 3600 * 1000
	maxDegraded   = 16
	maxServices   = 16
	maxServiceLen = 32
)

var (
	healthStates = []string{"", contract.Starting, contract.Running, contract.Restarting, contract.Backoff, contract.Failed}
	healthPaths  = []string{contract.PathNone, contract.PathDirect, contract.PathRelay, contract.PathVNC}
)

// checkHealth refuses a health that cannot be true, and makes its texts fit to read: the streamer is
// unprivileged and parses what a hostile container says.
func checkHealth(h contract.Health) (contract.Health, error) {
	bad := func(what string) (contract.Health, error) {
		return contract.Health{}, fmt.Errorf("the streamer's health makes no sense: %s", what)
	}
	process := func(state string, pid, restarts int) bool {
		return slices.Contains(healthStates, state) && pid >= 0 && pid <= maxPID && restarts >= 0 && restarts <= maxCount
	}
	switch {
	case h.Viewers < 0 || h.Viewers > maxCount:
		return bad("its number of viewers")
	case h.Guests.TakePart < 0 || h.Guests.View < 0 || h.Guests.TakePart > maxCount || h.Guests.View > maxCount || h.Guests.Count() > h.Viewers:
		return bad("its number of guests")
	case h.TilesLost < 0 || h.TilesLost > h.Viewers:
		return bad("its number of viewers without tiles")
	case h.Hand != "" && (contract.Viewer{ID: h.Hand, Role: contract.RoleTakePart}).Validate() != nil:
		return bad("who has the hand")
	case !slices.Contains(healthPaths, h.Path):
		return bad("its path")
	case h.XPID < 0 || h.XPID > maxPID:
		return bad("its X server's pid")
	case !process(h.GIMP.State, h.GIMP.PID, h.GIMP.Restarts):
		return bad("its GIMP")
	case h.GIMP.WindowMS < 0 || h.GIMP.WindowMS > maxWindowMS:
		return bad("its window's time")
	case h.Fallbacks < 0 || h.Fallbacks > maxCount:
		return bad("its encoder's fallbacks")
	case !h.Clipboard.Valid():
		return bad("its clipboard")
	case !h.OpenCL.Valid():
		return bad("its OpenCL")
	case h.Latency.Check() != nil:
		return bad("its latency: " + h.Latency.Check().Error())
	case !h.Link.Valid():
		return bad("its link")
	case len(h.Services) > maxServices:
		return bad("its number of services")
	}
	for name, s := range h.Services {
		if len(name) > maxServiceLen || words(name, maxServiceLen+1) != name || !process(s.State, s.PID, s.Restarts) {
			return bad("its services")
		}
	}
	h.Degraded = slices.Clone(h.Degraded[:min(len(h.Degraded), maxDegraded)])
	for i, text := range h.Degraded {
		h.Degraded[i] = words(text, maxWords)
	}
	h.Error, h.Encoder = words(h.Error, maxWords), words(h.Encoder, maxWords)
	h.OpenCL.Device, h.OpenCL.Why = words(h.OpenCL.Device, maxWords), words(h.OpenCL.Why, maxWords)
	return h, nil
}

// lacking says, in words, what a session that is not ready still waits for.
func lacking(h contract.Health) string {
	if h.Seq == 0 {
		return "its streamer never spoke"
	}
	if h.Error != "" {
		return h.Error
	}
	if len(h.Services) == 0 {
		return "its first process, easel-init, never reported"
	}
	var waiting []string
	for name, s := range h.Services {
		if s.State != contract.Running {
			waiting = append(waiting, fmt.Sprintf("%s is %s", name, s.State))
		}
	}
	slices.Sort(waiting)
	if len(waiting) == 0 {
		return "GIMP's window never came up"
	}
	return words(fmt.Sprint(waiting), maxWords)
}

// shortfalls says what of the container does not work as it should, in words.
func shortfalls(h contract.Health) []string {
	var short []string
	for name, s := range h.Services {
		if s.State == contract.Failed || s.State == contract.Backoff {
			short = append(short, name+" does not run: it ended and is started again")
		}
	}
	slices.Sort(short)
	if h.OpenCL.State == contract.OpenCLFailed {
		short = append(short, "GIMP computes without OpenCL: "+h.OpenCL.Why)
	}
	return short
}

// watchPatience bounds one long poll: the streamer answers within 30 s.
const watchPatience = 40 * time.Second

// StreamerClient asks streamers over their unix sockets.
type StreamerClient struct{}

// Watch implements Streamers.
func (StreamerClient) Watch(ctx context.Context, dir string, after uint64) (contract.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	resp, err := askStreamer(ctx, dir, http.MethodGet, fmt.Sprintf("/watch?after=%d", after), nil)
	if err != nil {
		return contract.Health{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return contract.Health{}, fmt.Errorf("ask the streamer: it answers %s", words(resp.Status, 64))
	}
	h, err := contract.ReadHealth(resp.Body)
	if err != nil {
		return contract.Health{}, err
	}
	return checkHealth(h)
}

// ErrRefused means that a streamer has heard what it was told, and does not take it.
var ErrRefused = errors.New("it refuses that")

// Notify implements Streamers. A streamer of before an upgrade, which knows no notices, is not asked again: its
// viewers find the notice in the session's status.
func (StreamerClient) Notify(ctx context.Context, dir string, n contract.Notice) error {
	return tellStreamer(ctx, dir, "/notice", n)
}

// SetPolicy implements Streamers. A streamer of before an upgrade, which knows no policy, has nothing that it is about.
func (StreamerClient) SetPolicy(ctx context.Context, dir string, p contract.Policy) error {
	return tellStreamer(ctx, dir, "/policy", p)
}

// tellStreamer posts a document. Who does not know the path is not asked again.
func tellStreamer(ctx context.Context, dir, path string, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("encode for the streamer: %w", err)
	}
	resp, err := askStreamer(ctx, dir, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode/100 == 2, resp.StatusCode == http.StatusNotFound:
		return nil
	case resp.StatusCode/100 == 4:
		return fmt.Errorf("tell the streamer: %w: %s", ErrRefused, words(resp.Status, 64))
	}
	return fmt.Errorf("tell the streamer: it answers %s", words(resp.Status, 64))
}

// askStreamer asks for what lies on the streamer's socket in dir. The caller closes the answer's body.
func askStreamer(ctx context.Context, dir, method, path string, body io.Reader) (*http.Response, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return safesocket.Dial(ctx, safesocket.Stream, dir, StreamerSocket)
		},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://streamer"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask the streamer: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the streamer: %w", err)
	}
	return resp, nil
}
