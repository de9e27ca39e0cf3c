// The figures that the overlay, and window.easel.stats(), show: the browser's and the node's in one.

import type { Figures, Link, Tiles } from "../link/link";
import type { Path, Phase } from "../state";
import type { OffBeatCounts } from "../tiles/off-beat";
import { STAGES, type Stage } from "./latency";

export interface Snapshot {
	state: Phase;
	transport: "webrtc" | "vnc" | "";
	path: Path | "";
	/** Why the fallback is in use; empty when it is not. */
	fallback: string;
	codec: string;
	profile: string;
	chroma: string;
	encoder: string;
	/** Whether GIMP computes by OpenCL: "on", "off", or "off: " and why; empty while unknown. */
	opencl: string;
	/** The remote screen, in its pixels. */
	width: number;
	height: number;
	/** The video's sides beside the screen's: less than 1 where the way carries no more. */
	scale: number;
	/** Frames shown since the link came up. */
	frames: number;
	fps: number;
	/** Bits a second of video received. */
	bitrate: number;
	/** Round trip in milliseconds; null while unknown. */
	rtt: number | null;
	/** In the order of the way: of pictures that the hand caused; until there are any, what the node says of all. */
	stages: Record<string, Stage>;
	/** Milliseconds a frame, on average since the link came up: of these the browser tells the sum alone. The jitter buffer's wait is a part of the stage `shown`. */
	means: { decode?: number; jitterBuffer?: number };
	/** Tiles of the picture that are shown exactly, proven by their hashes. */
	exactTiles: number;
	/** Tiles that the picture has; 0 where the video is all there is. */
	tiles: number;
	/** The whole picture is. */
	exact: boolean;
	/** How soon changes by tiles were shown, while neither hand nor video had the browser make frames. */
	offBeat: OffBeatCounts;
	packetsLost: number;
	keyFrames: number;
	reconnects: number;
	/** The node's figures as they came; empty before they did. */
	server: Record<string, unknown>;
}

/** What the viewer knows at the moment of asking. */
export interface Now {
	state: Phase;
	link: Link | null;
	fallback: string;
	width: number;
	height: number;
	/** Frames shown, counted by the video element. */
	frames: number;
	reconnects: number;
}

/** The browser's figures are read this often (ms) while somebody looks, and this often while nobody does. */
const LOOKED_AT = 1000;
const UNWATCHED = 5000;
/** Calling stats() counts as looking for this long (ms). */
const LOOK = 10_000;

export class Stats {
	private own: Partial<Figures> = {};
	private server: Record<string, unknown> = {};
	private bitrate = 0;
	private bytes: { at: number; count: number } | null = null;
	private lookedAt = Number.NEGATIVE_INFINITY;
	private pinned = false;
	private watching = false;
	private link: Link | null = null;
	private timer: ReturnType<typeof setTimeout> | null = null;

	/** `now` tells the present; `drawn` is called after each reading. */
	constructor(
		private readonly now: () => Now,
		private readonly drawn: () => void,
		private readonly clock: () => number = () => performance.now(),
	) {}

	/** A new link is up (null: none is). */
	attach(link: Link | null): void {
		this.link = link;
		this.own = {};
		this.server = {};
		this.bitrate = 0;
		this.bytes = null;
		this.watching = false;
		if (this.timer !== null) clearTimeout(this.timer);
		this.timer = null;
		if (!link) return;
		// Once in any case: codec and encoder are known from the start.
		link.watch(true);
		this.watching = true;
		this.lookedAt = Math.max(this.lookedAt, this.clock() - LOOK + 2 * LOOKED_AT);
		void this.read();
	}

	/** The overlay is open: figures come every second. */
	pin(on: boolean): void {
		this.pinned = on;
		this.look();
	}

	/** The node's figures came. */
	heard(stats: Record<string, unknown>): void {
		this.server = stats;
		this.drawn();
	}

	/** The figures now. `looked`: somebody looks, and wants fresh ones for a while. */
	snapshot(looked = true): Snapshot {
		if (looked) this.look();
		return merge(this.now(), this.own, this.server, this.bitrate);
	}

	private look(): void {
		this.lookedAt = this.clock();
		if (this.link && !this.watching) this.soon(0);
	}

	private looking(): boolean {
		return this.pinned || this.clock() - this.lookedAt < LOOK;
	}

	private soon(ms: number): void {
		if (this.timer !== null) clearTimeout(this.timer);
		this.timer = setTimeout(() => void this.read(), ms);
	}

	private async read(): Promise<void> {
		const { link } = this;
		if (!link) return;
		const looking = this.looking();
		// VNC's figures are asked for each time; WebRTC's node is only told of a change.
		if (looking !== this.watching || (looking && link.path === "vnc")) link.watch(looking);
		this.watching = looking;
		const own = await link.figures().catch((): Partial<Figures> => ({}));
		if (link !== this.link) return;
		this.own = own;
		this.measure(own.bytes);
		this.soon(looking ? LOOKED_AT : UNWATCHED);
		if (looking) this.drawn();
	}

	private measure(count: number | undefined): void {
		if (count === undefined) return;
		const at = this.clock();
		if (this.bytes && at > this.bytes.at)
			this.bitrate = Math.round(((count - this.bytes.count) * 8000) / (at - this.bytes.at));
		this.bytes = { at, count };
	}
}

function merge(now: Now, own: Partial<Figures>, server: Record<string, unknown>, bitrate: number): Snapshot {
	const vnc = now.link?.path === "vnc";
	// The node's figures are of its own stream, which VNC is not.
	const stream: Record<string, unknown> = vnc ? {} : server;
	const said = (key: string): string => (typeof stream[key] === "string" ? (stream[key] as string) : "");
	return {
		state: now.state,
		transport: now.link ? (vnc ? "vnc" : "webrtc") : "",
		path: now.link ? (own.path ?? now.link.path) : "",
		fallback: vnc ? now.fallback : "",
		codec: own.codec ?? said("codec"),
		profile: said("profile") || (own.profile ?? ""),
		chroma: said("chroma") || (own.chroma ?? ""),
		encoder: said("encoder"),
		opencl: typeof server.opencl === "string" ? server.opencl : "",
		width: now.width,
		height: now.height,
		scale: number(stream.scale) || 1,
		frames: now.frames,
		fps: own.fps ?? 0,
		bitrate,
		rtt: own.rtt ?? null,
		stages: ordered({ ...stages(stream.stages), ...now.link?.stages }),
		means: means(own),
		...exactness(now.link?.tiles ?? null),
		packetsLost: own.packetsLost ?? 0,
		keyFrames: own.keyFrames ?? 0,
		reconnects: now.reconnects,
		server,
	};
}

function exactness(tiles: Tiles | null): Pick<Snapshot, "exactTiles" | "tiles" | "exact" | "offBeat"> {
	if (tiles === null)
		return { exactTiles: 0, tiles: 0, exact: false, offBeat: { atOnce: 0, late: 0, kept: 0, worth: 0 } };
	const exact = tiles.all > 0 && tiles.exact === tiles.all;
	return { exactTiles: tiles.exact, tiles: tiles.all, exact, offBeat: { ...tiles.offBeat } };
}

function means({ decode, jitterBuffer }: Partial<Figures>): Snapshot["means"] {
	return { ...(decode !== undefined && { decode }), ...(jitterBuffer !== undefined && { jitterBuffer }) };
}

// In the order of the way from the hand to the picture; what is no part of it comes last.
function ordered(all: Record<string, Stage>): Record<string, Stage> {
	const names = [...STAGES.filter((s) => s in all), ...Object.keys(all).filter((s) => !STAGES.includes(s as never))];
	return Object.fromEntries(names.map((s) => [s, all[s] as Stage]));
}

function stages(v: unknown): Record<string, Stage> {
	if (typeof v !== "object" || v === null) return {};
	const out: Record<string, Stage> = {};
	for (const [name, stage] of Object.entries(v)) {
		if (typeof stage !== "object" || stage === null) continue;
		const { p50, p99 } = stage as Record<string, unknown>;
		out[name] = { p50: number(p50), p99: number(p99) };
	}
	return out;
}

function number(v: unknown): number {
	return typeof v === "number" && Number.isFinite(v) ? v : 0;
}
