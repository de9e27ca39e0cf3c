// From the hand to the picture: for each input, how long it took until the first picture that it caused was shown, and where that
// time went. The node tells which input a picture is the first to follow (ECHO), and when it did what.

import type { Echo } from "../input/wire";
import type { NodeClock } from "../link/clock";

/** Latency of one stage in milliseconds. */
export interface Stage {
	p50: number;
	p99: number;
}

/** What the page measures itself; the rest an ECHO tells. `input` is the whole. */
const NODE_STAGES = ["node", "gimp", "damage", "read", "convert", "encode", "send"] as const;
const OWN_STAGES = ["hand", "receive", "decode", "shown", "input"] as const;
export const STAGES = ["hand", ...NODE_STAGES, "receive", "decode", "shown", "input", "age"] as const;
type StageName = (typeof STAGES)[number];

/** Upper bounds (ms) of the counts that the node is told; ARCHITECTURE.md, "Proof of latency". */
export const BOUNDS = [0.25, 0.5, 1, 2, 4, 8, 16, 33, 66, 133, 266, 533, 1066] as const;
/** Percentiles look back so many. */
const WINDOW = 512;
/** Inputs that are remembered until a picture follows. */
const INPUTS = 1024;
/** Pictures, and ECHOs, that wait for each other. */
const PICTURES = 64;
/** Inputs this much older (ms) than the one that a picture follows changed nothing: pictures of a moving hand come sooner after each other. */
const TOGETHER = 33;
/** Longer (ms) than this is no latency: the page slept. */
const ASLEEP = 10_000;

/** A picture that was shown: a frame, or a message of tiles. All in the page's time. */
export interface Shown {
	id: number;
	/** All of it was here. */
	received: number;
	decoded: number;
	shown: number;
}

/** What the node is told: counts since it was told last. */
export type Counts = Record<string, { n: number[]; ms: number }>;

export class Latency {
	private readonly windows = new Map<StageName, Window>(STAGES.map((s) => [s, new Window()]));
	private counts: Counts = {};
	private readonly samples = new Times();
	private readonly messages = new Times();
	private readonly pictures: [Shown[], Shown[]] = [[], []];
	private readonly waiting: [Echo[], Echo[]] = [[], []];

	/** `pictured` is told until when what the hand did is on show (the page's time). */
	constructor(
		readonly clock: NodeClock,
		private readonly pictured: (time: number) => void = () => {},
	) {}

	/** Samples numbered from `first` were made at these times. */
	sampled(first: number, times: readonly { time: number }[]): void {
		for (const [i, { time }] of times.entries()) this.samples.put(first + i, time);
	}

	/** The reliable message of this number was made. */
	said(rseq: number, time: number): void {
		this.messages.put(rseq, time);
	}

	/** A video frame was shown, whose picture the node captured at this moment of its own. */
	frame(f: VideoFrameCallbackMetadata, captured: number | null): void {
		const { rtpTimestamp: id, receiveTime: received, presentationTime: shown } = f;
		if (id === undefined || received === undefined) return;
		const decoded = Math.min(received + (f.processingDuration ?? 0) * 1000, shown);
		this.shown(false, { id, received, decoded, shown });
		const at = captured === null ? null : this.clock.local(captured);
		if (at !== null) this.observe("age", shown - at);
	}

	/** A picture was shown: the frame of timestamp `id`, or (`tiles`) the message of number `id`. */
	shown(tiles: boolean, picture: Shown): void {
		const way = tiles ? 1 : 0;
		keep(this.pictures[way], picture);
		this.waiting[way] = this.waiting[way].filter((e) => {
			if (((picture.id - e.picture) | 0) < 0) return true;
			this.follow(e, picture);
			return false;
		});
	}

	/** The node tells which input a picture follows. */
	heard(echo: Echo): void {
		const way = echo.tiles ? 1 : 0;
		// The browser may have left out that very one: the next has it too.
		const picture = this.pictures[way].find((p) => ((p.id - echo.picture) | 0) >= 0);
		if (picture) this.follow(echo, picture);
		else keep(this.waiting[way], echo);
	}

	/** Percentiles of each stage that something is known of, in the order of the way. */
	get stages(): Record<string, Stage> {
		const out: Record<string, Stage> = {};
		for (const [name, w] of this.windows) if (w.filled > 0) out[name] = w.percentiles();
		return out;
	}

	/** What was counted since the last call; null: nothing. */
	take(): Counts | null {
		if (Object.keys(this.counts).length === 0) return null;
		const { counts } = this;
		this.counts = {};
		return counts;
	}

	private follow(e: Echo, p: Shown): void {
		const newest = Math.max(this.samples.get(e.sample) ?? -1, this.messages.get(e.rseq) ?? -1);
		for (const times of [this.samples, this.messages])
			times.takeUpTo(times === this.samples ? e.sample : e.rseq, newest - TOGETHER, (t) =>
				this.observe("input", p.shown - t),
			);
		if (newest >= 0) this.pictured(newest);
		const arrived = this.clock.local(e.arrived);
		if (arrived === null || newest < 0) return;
		const sent = e.stages.reduce((a, b) => a + b, arrived);
		this.observe("hand", arrived - newest);
		for (const [i, name] of NODE_STAGES.entries()) this.observe(name, e.stages[i] ?? 0);
		this.observe("receive", p.received - sent);
		this.observe("decode", p.decoded - p.received);
		this.observe("shown", p.shown - p.decoded);
	}

	private observe(name: StageName, ms: number): void {
		if (!(Math.abs(ms) < ASLEEP)) return;
		this.windows.get(name)?.put(ms);
		if (!(OWN_STAGES as readonly string[]).includes(name)) return;
		const c = this.counts[name] ?? { n: new Array<number>(BOUNDS.length + 1).fill(0), ms: 0 };
		this.counts[name] = c;
		const at = BOUNDS.findIndex((b) => ms <= b);
		const bucket = at < 0 ? BOUNDS.length : at;
		c.n[bucket] = (c.n[bucket] as number) + 1;
		c.ms += Math.max(ms, 0);
	}
}

function keep<T>(list: T[], one: T): void {
	if (list.length === PICTURES) list.shift();
	list.push(one);
}

/** The latest durations of a stage. */
class Window {
	private readonly ring = new Float32Array(WINDOW);
	private n = 0;

	get filled(): number {
		return Math.min(this.n, WINDOW);
	}

	put(ms: number): void {
		this.ring[this.n++ % WINDOW] = ms;
	}

	percentiles(): Stage {
		const sorted = this.ring.slice(0, this.filled).sort();
		const at = (p: number): number => Math.round((sorted[Math.floor(p * (sorted.length - 1))] as number) * 100) / 100;
		return { p50: at(0.5), p99: at(0.99) };
	}
}

/** Times of numbered inputs, until they have had their picture. */
class Times {
	private readonly ring = new Float64Array(INPUTS);
	private newest = 0;
	private taken = 0;

	put(number: number, time: number): void {
		this.ring[number % INPUTS] = time;
		this.newest = number;
	}

	get(number: number): number | undefined {
		return number > 0 && number <= this.newest && number > this.newest - INPUTS
			? this.ring[number % INPUTS]
			: undefined;
	}

	/** Hands on the times of what had no picture yet, up to a number, that are not before `since`. */
	takeUpTo(number: number, since: number, each: (time: number) => void): void {
		const last = Math.min(number, this.newest);
		for (let n = Math.max(this.taken + 1, this.newest - INPUTS + 1); n <= last; n++) {
			const t = this.get(n);
			if (t !== undefined && t >= since) each(t);
		}
		this.taken = Math.max(this.taken, last);
	}
}
