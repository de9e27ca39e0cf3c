// When the node captured a picture, by RTP's abs-capture-time extension, where the browser has it.

const URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
/** 1970 in NTP's milliseconds. */
const NTP_EPOCH = 2_208_988_800_000;

interface Extension {
	uri: string;
	direction: RTCRtpTransceiverDirection;
}

/** Chromium knows the extension and does not offer it by itself. */
type Negotiable = RTCRtpTransceiver & {
	getHeaderExtensionsToNegotiate?: () => Extension[];
	setHeaderExtensionsToNegotiate?: (extensions: Extension[]) => void;
};

type Source = RTCRtpSynchronizationSource & { captureTimestamp?: number };

/** Has the offer ask for capture times. */
export function askForCaptureTime(transceiver: RTCRtpTransceiver): void {
	const t = transceiver as Negotiable;
	const extensions = t.getHeaderExtensionsToNegotiate?.() ?? [];
	for (const e of extensions) if (e.uri === URI) e.direction = "sendrecv";
	t.setHeaderExtensionsToNegotiate?.(extensions);
}

/** The node's time (ms since 1970) at which it captured the frame of this timestamp; null where the browser does not tell. */
export function capturedAt(receiver: Pick<RTCRtpReceiver, "getSynchronizationSources">, rtp: number): number | null {
	const [source] = receiver.getSynchronizationSources() as Source[];
	return source?.captureTimestamp && source.rtpTimestamp === rtp ? source.captureTimestamp - NTP_EPOCH : null;
}
