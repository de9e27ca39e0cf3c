package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/rtpfb"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"easel/pkg/pionlog"
)

const (
	playoutDelayURI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	// nackPackets is how many sent packets are kept for a viewer that lost some: half a second of the highest rate.
	nackPackets = 2048
	socketBytes = 4 << 20
	// firstPayload is the first of the payload types that nobody means: those of the browser's offer count.
	firstPayload = 102
	// Limits of ICE: how long without a word until a viewer counts as out of touch, and then as gone.
	iceDisconnected = 3 * time.Second
	iceFailed       = 10 * time.Second
	iceKeepalive    = 2 * time.Second
)

// transport makes peer connections over the session's one UDP port.
type transport struct {
	api   *webrtc.API
	conns []net.PacketConn
	mux   ice.UDPMux
}

// newTransport listens on the port at every address.
func newTransport(addrs []string, port int, log *slog.Logger) (*transport, error) {
	t := &transport{}
	var muxes []ice.UDPMux
	loopback := false
	for _, a := range addrs {
		ip := net.ParseIP(a)
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: port})
		if err != nil {
			t.close()
			return nil, fmt.Errorf("listen for media on %s port %d: %w", a, port, err)
		}
		// The kernel grants what its limits allow.
		_ = conn.SetWriteBuffer(socketBytes)
		_ = conn.SetReadBuffer(socketBytes)
		t.conns = append(t.conns, conn)
		muxes = append(muxes, ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn, Logger: pionlog.Logger{Log: log}}))
		loopback = loopback || ip.IsLoopback()
	}
	t.mux = ice.NewMultiUDPMuxDefault(muxes...)
	me, err := mediaEngine()
	if err != nil {
		t.close()
		return nil, err
	}
	registry, err := interceptors(log)
	if err != nil {
		t.close()
		return nil, err
	}
	t.api = webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(t.settings(loopback, log)))
	return t, nil
}

func (t *transport) settings(loopback bool, log *slog.Logger) webrtc.SettingEngine {
	se := webrtc.SettingEngine{LoggerFactory: pionlog.Factory{Log: log}}
	se.SetICEUDPMux(t.mux)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	se.SetIncludeLoopbackCandidate(loopback)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetICETimeouts(iceDisconnected, iceFailed, iceKeepalive)
	se.SetSCTPMaxMessageSize(64 << 10)
	return se
}

// mediaEngine knows all formats that browsers offer; what this node makes of them is for takesOf to say.
func mediaEngine() (*webrtc.MediaEngine, error) {
	me := &webrtc.MediaEngine{}
	feedback := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}, {Type: webrtc.TypeRTCPFBTransportCC}}
	payload := webrtc.PayloadType(firstPayload)
	for _, f := range formats {
		for _, line := range f.fmtp {
			err := me.RegisterCodec(webrtc.RTPCodecParameters{
				RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: f.mime, ClockRate: 90000, RTCPFeedback: feedback, SDPFmtpLine: line},
				PayloadType:        payload,
			}, webrtc.RTPCodecTypeVideo)
			if err != nil {
				return nil, fmt.Errorf("register %s: %w", f.format, err)
			}
			payload++
		}
	}
	for _, uri := range []string{playoutDelayURI, sdp.TransportCCURI} {
		if err := me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, fmt.Errorf("register header extension %s: %w", uri, err)
		}
	}
	return me, nil
}

// interceptors are what a sender needs and nothing with a clock of its own. A packet passes the last one first: the NACK responder
// keeps it before it is numbered, so that one sent again gets a transport number of its own.
func interceptors(log *slog.Logger) (*interceptor.Registry, error) {
	registry := &interceptor.Registry{}
	reports, err1 := rtpfb.NewInterceptor(rtpfb.WithLoggerFactory(pionlog.Factory{Log: log}))
	numbers, err2 := twcc.NewHeaderExtensionInterceptor()
	resend, err3 := nack.NewResponderInterceptor(nack.ResponderSize(nackPackets), nack.WithResponderLoggerFactory(pionlog.Factory{Log: log}))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("make interceptors: %w", err)
	}
	registry.Add(reports)
	registry.Add(numbers)
	registry.Add(resend)
	return registry, nil
}

// port is the UDP port that media goes through.
func (t *transport) port() int { return t.conns[0].LocalAddr().(*net.UDPAddr).Port }

func (t *transport) close() {
	if t.mux != nil {
		_ = t.mux.Close()
	}
	for _, c := range t.conns {
		_ = c.Close()
	}
}
