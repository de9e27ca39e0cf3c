package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// Viewer is a browser that looks at a session: signed in at the node by the session's link, its picture by WebRTC.
type Viewer struct {
	c       *Cluster
	page    string // https://node/s/ID
	cookie  *http.Cookie
	peer    *webrtc.PeerConnection
	close   []func() error
	packets atomic.Uint64
}

// Look opens a session's link and returns when the first packets of the picture have come.
func (c *Cluster) Look(ctx context.Context, link string) (*Viewer, error) {
	page, token, ok := strings.Cut(link, "#token=")
	if !ok {
		return nil, fmt.Errorf("look at a session: its link %q has no token", link)
	}
	v := &Viewer{c: c, page: page}
	text, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return nil, err
	}
	resp, _, err := v.request(ctx, http.MethodPost, "/auth", "application/json", text)
	if err != nil {
		return nil, fmt.Errorf("sign in at the node: %w", err)
	}
	for _, cookie := range resp.Cookies() {
		v.cookie = cookie
	}
	return v, v.Connect(ctx)
}

// request asks the session's page, with the cookie of the sign-in.
func (v *Viewer) request(ctx context.Context, method, path, kind string, body []byte) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, v.page+path, bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	u, err := url.Parse(v.page)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Origin", u.Scheme+"://"+u.Host)
	req.Header.Set("Content-Type", kind)
	if v.cookie != nil {
		req.AddCookie(v.cookie)
	}
	resp, err := v.c.http().Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode >= 300 {
		err = &refused{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	return resp, string(text), err
}

// Connect makes the stream anew, as the page does when it has lost it, and returns when the picture comes.
func (v *Viewer) Connect(ctx context.Context) (err error) {
	if err := v.Close(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("view %s: %w", v.page, err), v.Close())
		}
	}()
	offer, err := v.offer(ctx)
	if err != nil {
		return err
	}
	_, answer, err := v.request(ctx, http.MethodPost, "/whep", "application/sdp", []byte(offer))
	if err != nil {
		return err
	}
	if err := v.peer.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return err
	}
	return v.Streams(ctx, 20*time.Second)
}

func (v *Viewer) offer(ctx context.Context) (string, error) {
	socket, err := v.c.artist.listenUDP()
	if err != nil {
		return "", err
	}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: socket})
	var settings webrtc.SettingEngine
	settings.SetICEUDPMux(mux)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	v.peer, err = webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	v.close = []func() error{mux.Close, socket.Close}
	if err != nil {
		return "", err
	}
	v.close = []func() error{v.peer.Close, mux.Close, socket.Close}
	v.peer.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			if _, _, err := t.ReadRTP(); err != nil {
				return
			}
			v.packets.Add(1)
		}
	})
	if _, err := v.peer.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		return "", err
	}
	unordered, none := false, uint16(0)
	for name, init := range map[string]*webrtc.DataChannelInit{"input": nil, "control": nil, "motion": {Ordered: &unordered, MaxRetransmits: &none}} {
		if _, err := v.peer.CreateDataChannel(name, init); err != nil {
			return "", err
		}
	}
	offer, err := v.peer.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(v.peer)
	if err := v.peer.SetLocalDescription(offer); err != nil {
		return "", err
	}
	select {
	case <-gathered:
		return v.peer.LocalDescription().SDP, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Streams waits until a few more packets of the picture have come: the session's screen changes all the time.
func (v *Viewer) Streams(ctx context.Context, limit time.Duration) error {
	from := v.packets.Load()
	return eventually(ctx, limit, "the picture of "+v.page+" goes on", func() error {
		if n := v.packets.Load() - from; n < 3 {
			return fmt.Errorf("%d packets came", n)
		}
		return nil
	})
}

// Close ends the stream; the session lives on.
func (v *Viewer) Close() error {
	var errs []error
	for _, end := range v.close {
		if err := end(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	v.close = nil
	return errors.Join(errs...)
}
