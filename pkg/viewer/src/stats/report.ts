// RTCPeerConnection.getStats() → the few figures that Easel shows.

import type { Figures } from "../link/link";

type Entry = Record<string, unknown> & { type: string; id: string };

const number = (v: unknown): number | undefined => (typeof v === "number" && Number.isFinite(v) ? v : undefined);

/** Reads the report; what the browser does not tell is left out. */
export function readReport(report: Iterable<[string, unknown]>): Partial<Figures> {
	const entries = new Map<string, Entry>();
	for (const [id, e] of report) entries.set(id, e as Entry);
	const all = [...entries.values()];
	const figures: Partial<Figures> = {};
	const video = all.find((e) => e.type === "inbound-rtp" && e.kind === "video");
	if (video) readVideo(video, entries, figures);
	readPair(all, entries, figures);
	return figures;
}

function readVideo(v: Entry, entries: ReadonlyMap<string, Entry>, f: Partial<Figures>): void {
	const codec = entries.get(String(v.codecId));
	if (typeof codec?.mimeType === "string") {
		f.codec = codec.mimeType.replace(/^video\//i, "");
		Object.assign(f, h264Profile(String(codec.sdpFmtpLine ?? "")));
	}
	const decoded = number(v.framesDecoded);
	const emitted = number(v.jitterBufferEmittedCount);
	set(f, "frames", decoded);
	set(f, "bytes", number(v.bytesReceived));
	set(f, "fps", number(v.framesPerSecond));
	set(f, "packetsLost", number(v.packetsLost));
	set(f, "keyFrames", number(v.keyFramesDecoded));
	set(f, "width", number(v.frameWidth));
	set(f, "height", number(v.frameHeight));
	set(f, "decode", mean(v.totalDecodeTime, decoded));
	set(f, "jitterBuffer", mean(v.jitterBufferDelay, emitted));
}

function readPair(all: Entry[], entries: ReadonlyMap<string, Entry>, f: Partial<Figures>): void {
	const transport = all.find((e) => e.type === "transport" && typeof e.selectedCandidatePairId === "string");
	const pair =
		entries.get(String(transport?.selectedCandidatePairId)) ??
		all.find((e) => e.type === "candidate-pair" && e.nominated === true && e.state === "succeeded");
	if (!pair) return;
	const rtt = number(pair.currentRoundTripTime);
	set(f, "rtt", rtt === undefined ? undefined : rtt * 1000);
	const relayed = [pair.localCandidateId, pair.remoteCandidateId].some(
		(id) => entries.get(String(id))?.candidateType === "relay",
	);
	f.path = relayed ? "relay" : "direct";
}

// Seconds in all → milliseconds each.
function mean(total: unknown, count: number | undefined): number | undefined {
	const t = number(total);
	return t === undefined || !count ? undefined : (t * 1000) / count;
}

function set<K extends keyof Figures>(f: Partial<Figures>, key: K, v: Figures[K] | undefined): void {
	if (v !== undefined) f[key] = v;
}

const profiles: Readonly<Record<string, readonly [profile: string, chroma: string]>> = {
	"42": ["Baseline", "4:2:0"],
	"4d": ["Main", "4:2:0"],
	"64": ["High", "4:2:0"],
	f4: ["High 4:4:4 Predictive", "4:4:4"],
};
const CONSTRAINT_SET1 = 0x40;

/** The profile and chroma that an H.264 fmtp line's profile-level-id names (RFC 6184, 8.1). */
export function h264Profile(fmtp: string): { profile?: string; chroma?: string } {
	const m = /profile-level-id=([0-9a-f]{2})([0-9a-f]{2})[0-9a-f]{2}/i.exec(fmtp);
	const idc = m?.[1]?.toLowerCase();
	const known = idc === undefined ? undefined : profiles[idc];
	if (!known) return {};
	const constrained = idc === "42" && (Number.parseInt(m?.[2] ?? "0", 16) & CONSTRAINT_SET1) !== 0;
	return { profile: constrained ? "Constrained Baseline" : known[0], chroma: known[1] };
}
