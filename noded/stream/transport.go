package stream

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"easel/noded/stream/rtpsend"
	"easel/noded/stream/sound"
	"easel/pkg/pionlog"
)

// Payload types, which nobody means: those of the browser's offer count.
const (
	firstPayload = 102
	fecPayload   = 49
)

const (
	socketBytes = 4 << 20
	// Limits of ICE: how long without a word until a viewer counts as out of touch, and then as gone.
	iceDisconnected = 3 * time.Second
	iceFailed       = 10 * time.Second
	iceKeepalive    = 2 * time.Second
	// sctpPatience is the longest wait until data channels try again: after a dark moment, they are back as soon as the picture is.
	sctpPatience = time.Second
)

// transport makes peer connections over the session's one UDP port.
type transport struct {
	conns    []net.PacketConn
	mux      ice.UDPMux
	loopback bool
	log      *slog.Logger
}

// newTransport listens on the port at every address.
func newTransport(addrs []string, port int, log *slog.Logger) (*transport, error) {
	t := &transport{log: log}
	var muxes []ice.UDPMux
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
		t.loopback = t.loopback || ip.IsLoopback()
	}
	t.mux = ice.NewMultiUDPMuxDefault(muxes...)
	return t, nil
}

// api makes connections of one viewer, whose packets go out by the pacer and whose reports come in by reports.
func (t *transport) api(p *rtpsend.Pacer, r *rtpsend.Reports) (*webrtc.API, error) {
	me, err := mediaEngine()
	if err != nil {
		return nil, err
	}
	registry := &interceptor.Registry{}
	registry.Add(p)
	se := t.settings()
	se.BufferFactory = r.Open
	return webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(se)), nil
}

func (t *transport) settings() webrtc.SettingEngine {
	se := webrtc.SettingEngine{LoggerFactory: pionlog.Factory{Log: t.log}}
	se.SetICEUDPMux(t.mux)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	se.SetIncludeLoopbackCandidate(t.loopback)
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.SetICETimeouts(iceDisconnected, iceFailed, iceKeepalive)
	se.SetSCTPMaxMessageSize(64 << 10)
	se.SetSCTPRTOMax(sctpPatience)
	return se
}

// mediaEngine knows all formats that browsers offer; what this node makes of them is for takesOf to say.
func mediaEngine() (*webrtc.MediaEngine, error) {
	me := &webrtc.MediaEngine{}
	feedback := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}, {Type: webrtc.TypeRTCPFBTransportCC}}
	payload := webrtc.PayloadType(firstPayload)
	for _, f := range formats {
		for _, line := range f.fmtp {
			c := webrtc.RTPCodecCapability{MimeType: f.mime, ClockRate: 90000, RTCPFeedback: feedback, SDPFmtpLine: line}
			if err := registerVideo(me, c, payload); err != nil {
				return nil, err
			}
			payload += 2
		}
	}
	fec := webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeFlexFEC03, ClockRate: 90000, SDPFmtpLine: "repair-window=10000000"},
		PayloadType:        fecPayload,
	}
	if err := me.RegisterCodec(fec, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, fmt.Errorf("register FlexFEC: %w", err)
	}
	if err := me.RegisterCodec(sound.Format, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, fmt.Errorf("register Opus: %w", err)
	}
	for _, uri := range []string{rtpsend.PlayoutDelayURI, rtpsend.AbsCaptureURI, sdp.TransportCCURI} {
		if err := me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, fmt.Errorf("register header extension %s: %w", uri, err)
		}
	}
	return me, nil
}

// registerVideo has the engine know a video format, and its stream for packets sent again, which has the next payload type.
func registerVideo(me *webrtc.MediaEngine, c webrtc.RTPCodecCapability, payload webrtc.PayloadType) error {
	again := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: c.ClockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", payload)}
	for i, c := range []webrtc.RTPCodecCapability{c, again} {
		err := me.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: c, PayloadType: payload + webrtc.PayloadType(i)}, webrtc.RTPCodecTypeVideo)
		if err != nil {
			return fmt.Errorf("register %s: %w", c.MimeType, err)
		}
	}
	return nil
}

// repeats tells by which payload type packets of another are sent again, as was agreed on.
func repeats(codecs []webrtc.RTPCodecParameters) map[uint8]uint8 {
	m := make(map[uint8]uint8)
	for _, c := range codecs {
		if n, err := strconv.ParseUint(parameter(c.SDPFmtpLine, "apt", ""), 10, 7); err == nil && strings.EqualFold(c.MimeType, webrtc.MimeTypeRTX) {
			m[uint8(n)] = uint8(c.PayloadType)
		}
	}
	return m
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
