// The WebRTC link: one offer and answer by HTTP (WHEP's shape), video in, three data channels, and a fourth for exact tiles.

import { makeOffer, type SoundLink } from "../audio";
import { ClipboardChannel } from "../clipboard/channel";
import type { Backlog } from "../input/backlog";
import { askForCaptureTime, capturedAt } from "../input/capture";
import { Sender } from "../input/sender";
import type { TakenUp } from "../input/steady";
import { decodeAck, decodeEcho } from "../input/wire";
import type { Size } from "../options";
import type { Path } from "../state";
import { Latency, type Stage } from "../stats/latency";
import { readReport } from "../stats/report";
import { type ExactLayer, offerTiles } from "../tiles/exact";
import { Beats } from "./beats";
import { NodeClock } from "./clock";
import { type Codec, codecOf, decodable, offersCodec, only, tellRange } from "./codec";
import { Continuity } from "./continuity";
import { parseControl, type Quality, type ToNode } from "./control";
import { Heartbeat } from "./heartbeat";
import { type Ending, type Figures, type Link, LinkError, type LinkHost, type Tiles } from "./link";
import type { Ice, Node } from "./node";

/** A link without a picture for this long (ms) shows none at all. */
const FIRST_PICTURE = 6000;
/** The node repeats its first keyframe until a picture is confirmed; later ones are confirmed this often (ms). */
const CONFIRM = 2000;
/** A node that does not say within this time (ms) how far it has taken what the hand did never will: it is older than the page. */
const TAKE_UP = 2000;
const NO_CODEC = "This browser offers no H.264, VP9 or AV1 video over WebRTC.";

export class Peer implements Link {
	readonly hand: Sender;
	readonly clipboard: ClipboardChannel;
	readonly sound: SoundLink;
	readonly ended: Promise<Ending>;
	path: Path = "direct";
	/** Resolves when the picture comes through the node's relay. */
	readonly relayed: Promise<void>;

	private readonly beat: Heartbeat;
	private readonly stop = new AbortController();
	private end!: (e: Ending) => void;
	private throughRelay!: () => void;
	private over = false;
	private attached = false;
	private readonly continuity: Continuity;
	private readonly beats = new Beats();
	private confirming: ReturnType<typeof setInterval> | null = null;
	private confirmed = 0;
	private located: string | null = null;
	private resumed: (at: { known: boolean; rseq: number; sample: number }) => void = () => {};

	private constructor(
		private readonly pc: RTCPeerConnection,
		private readonly channels: Channels,
		private readonly receiver: RTCRtpReceiver,
		private readonly video: HTMLVideoElement,
		private readonly exact: ExactLayer | null,
		private readonly latency: Latency,
		private readonly node: Node,
		private readonly host: LinkHost,
		/** The start of the relay that the link may go through. */
		readonly relay: string,
		private readonly backlog: Backlog,
	) {
		this.relayed = new Promise((resolve) => {
			this.throughRelay = resolve;
		});
		this.ended = new Promise((resolve) => {
			this.end = resolve;
		});
		this.hand = new Sender(channels.input, channels.motion, latency, undefined, backlog);
		this.clipboard = new ClipboardChannel(pc.createDataChannel("clipboard"));
		const audio = pc.addTransceiver("audio", { direction: "recvonly" });
		this.sound = { track: audio.receiver.track, available: false, listen: (on) => this.say({ t: "audio", on }) };
		this.beat = new Heartbeat(
			(id) => this.say({ t: "ping", id }),
			// While a way is sought, nothing can come.
			() => (this.continuity.mending ? this.beat.start() : this.lose("The connection went quiet.")),
			(sent, back, node) => latency.clock.answered(sent, back, node),
		);
		const { signal } = this.stop;
		this.continuity = new Continuity(
			pc,
			{
				offer: async (sdp) => (await node.offer(sdp, signal, this.located)).sdp,
				held: (why) => host.held(why),
				lost: (why) => this.lose(why),
			},
			signal,
		);
		channels.control.onmessage = (e) => this.heard(e.data);
		channels.motion.binaryType = "arraybuffer";
		channels.motion.onmessage = (e) => {
			const ack = decodeAck(e.data);
			const echo = ack ? null : decodeEcho(e.data);
			this.beat.heard();
			if (ack) this.hand.acknowledged(ack);
			if (echo) this.latency.heard(echo);
		};
		channels.control.onclose = () => this.lose("The stream ended.");
	}

	/** Opens a link; throws NodeError when the node refuses and LinkError when the way does not open before `signal` aborts. */
	static async dial(node: Node, on: Surface, host: LinkHost, way: Way, signal: AbortSignal): Promise<Peer> {
		if (typeof RTCPeerConnection === "undefined") throw new LinkError("This browser has WebRTC turned off.");
		const codecs = decodable();
		if (codecs !== null && !codecs.some(codecOf)) throw new LinkError(NO_CODEC);
		if (way.onlyRelay && way.ice.servers.length === 0)
			throw new LinkError("The address asks for the node's relay, and the node has none.");
		const pc = new RTCPeerConnection({
			bundlePolicy: "max-bundle",
			iceServers: way.ice.servers,
			iceTransportPolicy: way.onlyRelay ? "relay" : "all",
		});
		const transceiver = pc.addTransceiver("video", { direction: "recvonly" });
		if (way.codec !== null && codecs !== null) transceiver.setCodecPreferences(only(way.codec, codecs));
		const { receiver } = transceiver;
		const latency = new Latency(new NodeClock(), (time) => host.pictured(time));
		const exact = offerTiles(pc, on.root, {
			onShow: () => onShow(on.video),
			exact: (all) => host.exact(all),
			drawn: (id, received, decoded) => latency.shown(true, { id, received, decoded, shown: performance.now() }),
		});
		const peer = new Peer(
			pc,
			makeChannels(pc),
			receiver,
			on.video,
			exact,
			latency,
			node,
			host,
			way.ice.relay,
			way.backlog,
		);
		try {
			await peer.negotiate(transceiver, signal);
			await peer.connected(signal);
			await peer.locate();
			peer.start();
			return peer;
		} catch (e) {
			peer.close();
			// The browser's own refusals; an aborted request is not one.
			if (e instanceof DOMException && !signal.aborted) throw new LinkError(`WebRTC failed here: ${e.message}`);
			throw e;
		}
	}

	resize(size: Size, scale: number): void {
		this.say({ t: "resize", w: size.w, h: size.h, scale });
	}

	quality(value: Quality): void {
		this.say({ t: "quality", value });
	}

	/** Asks that the hand go to somebody. */
	give(to: string): void {
		this.say({ t: "hand", to });
	}

	watch(on: boolean): void {
		this.say({ t: "watch", on });
	}

	async figures(): Promise<Partial<Figures>> {
		const f = readReport(await this.pc.getStats());
		if (f.path) this.goes(f.path);
		if (this.beat.rtt !== null && f.rtt === undefined) f.rtt = this.beat.rtt;
		// The node may learn how its picture is seen.
		this.say({ t: "client", stats: { ...f, lostSamples: this.hand.lost } });
		const counts = this.latency.take();
		if (counts) this.say({ t: "latency", stages: counts });
		return f;
	}

	/** Brings the node what went before by other connections and it has not taken. */
	takeUp(): Promise<TakenUp> {
		const { backlog, stop } = this;
		const { told, whole } = backlog.resumption(performance.now());
		this.say({ t: "resume", ...told });
		if (backlog.fresh) return Promise.resolve("all");
		return new Promise((resolve) => {
			const old = setTimeout(() => {
				this.hand.begin();
				resolve("unknown");
			}, TAKE_UP);
			this.resumed = ({ known, rseq, sample }) => {
				clearTimeout(old);
				this.resumed = () => {};
				if (!known) backlog.forget(rseq, sample);
				const all = this.hand.takeUp(rseq, sample);
				resolve(!all ? "late" : known || whole ? "all" : "unknown");
			};
			const broken = (): void => {
				clearTimeout(old);
				resolve("broken");
			};
			if (stop.signal.aborted) broken();
			stop.signal.addEventListener("abort", broken, { once: true });
		});
	}

	/** The node says that the stream's other end is gone. */
	orphaned(): void {
		this.lose("The session's stream is started anew.");
	}

	close(): void {
		this.finish({ kind: "closed" });
	}

	private async negotiate(transceiver: RTCRtpTransceiver, signal: AbortSignal): Promise<void> {
		const { receiver } = transceiver;
		// Show each frame as soon as it is decoded.
		if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
		askForCaptureTime(transceiver);
		// The first picture may come before the channels open. But a last one that is still on show stays until then.
		if (this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) this.pc.ontrack = () => this.attach();
		await makeOffer(this.pc);
		// No candidate of ours is needed or told: the node is reachable, and learns our address from our first check.
		const offer = this.pc.localDescription?.sdp ?? "";
		if (!offersCodec(offer)) throw new LinkError(NO_CODEC);
		const answer = await this.node.offer(tellRange(offer), signal);
		this.located = answer.peer;
		await this.pc.setRemoteDescription({ type: "answer", sdp: answer.sdp }).catch((e: unknown) => {
			throw new LinkError(`The node's answer does not fit this browser (${String(e)}).`);
		});
		if (transceiver.currentDirection !== "recvonly")
			throw new LinkError("The node and this browser have no video format in common.");
	}

	private connected(signal: AbortSignal): Promise<void> {
		const { pc, channels } = this;
		return new Promise((resolve, reject) => {
			const check = (): void => {
				if (signal.aborted) reject(new LinkError("The network lets no direct stream through."));
				else if (pc.connectionState === "failed" || pc.connectionState === "closed")
					reject(new LinkError("The network lets no direct stream through."));
				else if (pc.connectionState === "connected" && Object.values(channels).every((c) => c.readyState === "open"))
					resolve();
			};
			signal.addEventListener("abort", check, { once: true, signal: this.stop.signal });
			pc.onconnectionstatechange = check;
			for (const c of Object.values(channels)) c.onopen = check;
			check();
		});
	}

	private start(): void {
		this.attach();
		const ice = this.receiver.transport?.iceTransport;
		// Firefox may not tell; then the way is the one that the connection began with, or what the figures say.
		if (ice) ice.onselectedcandidatepairchange = () => void this.locate();
		this.pc.onconnectionstatechange = () => this.continuity.follow();
		this.continuity.follow();
		this.beat.start();
		this.confirmNext();
		this.confirm();
		this.confirming = setInterval(() => this.confirm(), CONFIRM);
		this.followFrames();
		this.video.addEventListener("resize", () => this.confirmNext(), { signal: this.stop.signal });
		this.video.addEventListener("loadeddata", () => this.confirm(), { signal: this.stop.signal });
	}

	private attach(): void {
		if (this.attached) return;
		this.attached = true;
		this.video.srcObject = new MediaStream([this.receiver.track]);
		// What lies above it belonged to the stream before.
		this.exact?.alone();
		// Muted video may always play; a pause while the page is hidden mends itself.
		this.video.play().catch(() => {});
	}

	/** Finds out which way the picture goes. */
	private async locate(): Promise<void> {
		const { path } = readReport(await this.pc.getStats());
		if (path) this.goes(path);
	}

	private goes(path: Path): void {
		if (path === "relay") this.throughRelay();
		if (path === this.path) return;
		this.path = path;
		this.host.path(path);
	}

	private heard(data: unknown): void {
		const m = parseControl(data);
		this.beat.heard();
		switch (m?.t) {
			case "screen":
				return this.host.screen(m, m.video);
			case "cursor":
				return this.host.cursor(m.id, m.shape);
			case "gimp":
				return this.host.gimp(m);
			case "stats":
				return this.host.stats(m.stats);
			case "notice":
				return this.host.notice(m.notice);
			case "people":
				return this.host.company(m.company);
			case "audio":
				this.sound.available = m.on;
				return this.host.sound();
			case "resumed":
				return this.resumed(m);
			case "files":
				return this.host.files();
			case "pong":
				return this.beat.pong(m.id, m.at);
			case "replaced":
				return this.finish({ kind: "replaced" });
			case "bye":
				return this.finish({ kind: "bye", reason: m.reason });
		}
	}

	private say(m: ToNode): void {
		const { control } = this.channels;
		if (control.readyState === "open") control.send(JSON.stringify(m));
	}

	/** Resolves with the first picture; throws LinkError when none comes. */
	picture(): Promise<void> {
		if (this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return Promise.resolve();
		return new Promise((resolve, reject) => {
			let waited = 0;
			// A hidden page shows no frame and is no proof of anything: its time does not count.
			const late = setInterval(() => {
				if (!document.hidden) waited += 500;
				if (waited >= FIRST_PICTURE) done(() => reject(new LinkError("The stream shows no picture in this browser.")));
			}, 500);
			const done = (then: () => void): void => {
				clearInterval(late);
				this.video.removeEventListener("loadeddata", shown);
				then();
			};
			const shown = (): void => done(resolve);
			this.video.addEventListener("loadeddata", shown);
			this.stop.signal.addEventListener("abort", () => done(() => reject(new LinkError("The stream ended."))));
		});
	}

	// Confirms the next frame that is really shown.
	private confirmNext(): void {
		this.video.requestVideoFrameCallback((_now, frame) => {
			if (!this.over) this.seen(frame.rtpTimestamp ?? this.newest());
		});
	}

	// A hidden page is shown no frame, but has it all the same.
	private confirm(): void {
		const frames = this.video.getVideoPlaybackQuality().totalVideoFrames;
		if (frames === this.confirmed) return;
		this.confirmed = frames;
		this.seen(this.newest());
	}

	/** Tiles of the screen, and how many are shown exactly; null where the video is all there is. */
	get tiles(): Tiles | null {
		return this.exact?.tiles ?? null;
	}

	/** Latency of each stage from the hand to the picture, as far as is known. */
	get stages(): Record<string, Stage> {
		return this.latency.stages;
	}

	// What lies above the video is kept in step by its frames, which are a sign of life too: after a dark moment they come before the messages.
	private followFrames(): void {
		const each = (now: number, frame: VideoFrameCallbackMetadata): void => {
			if (this.over) return;
			this.video.requestVideoFrameCallback(each);
			this.beat.heard();
			const took = frame.receiveTime === undefined ? undefined : now - frame.receiveTime;
			if (frame.rtpTimestamp === undefined) return;
			this.exact?.video(frame.rtpTimestamp, took);
			const beat = this.beats.shown({
				beat: now,
				ready: frame.presentationTime,
				rtp: frame.rtpTimestamp,
				count: frame.presentedFrames,
			});
			if (beat !== null) this.say({ t: "beat", ...beat });
			this.latency.frame(frame, capturedAt(this.receiver, frame.rtpTimestamp));
		};
		this.video.requestVideoFrameCallback(each);
	}

	private newest(): number {
		return this.receiver.getSynchronizationSources()[0]?.rtpTimestamp ?? 0;
	}

	private seen(rtp: number): void {
		this.say({ t: "seen", rtp });
	}

	private lose(why: string): void {
		this.finish({ kind: "lost", why, quiet: this.beat.quiet });
	}

	private finish(e: Ending): void {
		if (this.over) return;
		this.over = true;
		if (this.attached && (e.kind === "lost" || e.kind === "bye")) this.host.going();
		this.stop.abort();
		this.beat.stop();
		this.hand.close();
		this.clipboard.close();
		this.exact?.close();
		if (this.confirming !== null) clearInterval(this.confirming);
		this.pc.onconnectionstatechange = null;
		this.pc.close();
		if (this.located !== null && e.kind !== "replaced") this.node.hangUp(this.located);
		this.end(e);
	}
}

/** Where the picture is shown. */
export interface Surface {
	video: HTMLVideoElement;
	/** What holds the video, and the canvas above it. */
	root: HTMLElement;
}

// Chromium tells which frame a picture of the video is; what it has received says less.
function onShow(video: HTMLVideoElement): number | null {
	if (typeof VideoFrame === "undefined" || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return null;
	const frame = new VideoFrame(video) as VideoFrame & { metadata?: () => { rtpTimestamp?: number } };
	const rtp = frame.metadata?.().rtpTimestamp ?? null;
	frame.close();
	return rtp;
}

/** Which ways a link may take. */
export interface Way {
	ice: Ice;
	onlyRelay: boolean;
	/** The one codec that the picture may come in; null leaves it to the node. */
	codec: Codec | null;
	/** What the hand did by connections before this one. */
	backlog: Backlog;
}

type Channels = Record<"input" | "motion" | "control", RTCDataChannel>;

function makeChannels(pc: RTCPeerConnection): Channels {
	return {
		input: pc.createDataChannel("input"),
		motion: pc.createDataChannel("motion", { ordered: false, maxRetransmits: 0 }),
		control: pc.createDataChannel("control"),
	};
}
