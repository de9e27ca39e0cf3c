// What the hand did lately, by whichever connection: where one breaks, the next one brings what the node has not taken yet.

import type { Run } from "./journal";
import { type Device, SAMPLE_BYTES } from "./wire";

/** What was done longer ago (ms) comes too late: nobody waits so long for their ink. */
export const KEEP = 30_000;
/** So much (bytes, as they are sent) is kept of it. */
const MOST = 1 << 20;
/** What was done longer ago (ms) than it takes to notice that a streamer is gone has reached it. */
const DOUBTFUL = 5000;

/** What a message does, for whoever may have to say it twice: a button (as buttonOf names it), nothing that matters, or what must be done once. */
export type Doing = { button: number; down: boolean } | "nothing" | "once";

/** A reliable message as it was sent, or a stroke's samples. */
export type Done = { rseq: number; message: ArrayBuffer } | { run: Run };
/** Of a message, also the last sample until then: a button's own. */
type Entry = ({ rseq: number; message: ArrayBuffer; doing: Doing; sample: number } | { run: Run }) & {
	at: number;
	bytes: number;
};

/** What the node is told when a connection begins. */
export interface Told {
	page: string;
	rseq: number;
	sample: number;
	/** By device, the bit of each button that is down, by X's number. */
	buttons: number[];
	/** Keysym and code of each key that is down. */
	keys: [number, number][];
}

export class Backlog {
	/** The page's name among those of its artist. */
	private page = newPage();
	/** Numbers of the last reliable message and of the last sample: they go on from one connection to the next. */
	rseq = 0;
	sampled = 0;
	/** Buttons that are down, as buttonOf names them. */
	readonly down = new Set<number>();
	private readonly keys = new Map<number, [number, number]>();
	/** Oldest first. */
	private entries: Entry[] = [];
	private bytes = 0;
	/** What is not kept any more reaches up to here. */
	private gone = { rseq: 0, sample: 0 };
	/** The node has had all samples up to this one. */
	private acknowledged = 0;

	/** Whether nothing was done yet. */
	get fresh(): boolean {
		return this.rseq === 0 && this.sampled === 0;
	}

	/**
	 * What the node is told: where it goes on if it knows nothing of this page, as after the end of the streamer that did. That is where the part of a
	 * stroke begins of which nobody knows whether it was taken: painted twice it is the same. Anything else is not said again; `whole` tells whether
	 * there is nothing else.
	 */
	resumption(now: number): { told: Told; whole: boolean } {
		const { from, down, whole } = this.doubtful(now);
		const again = this.entries.slice(from);
		const buttons = [0, 0, 0, 0];
		for (const b of down) buttons[b >> 4] = (buttons[b >> 4] ?? 0) | (1 << (b & 15));
		const message = again.find((e) => "message" in e);
		const rseq = message === undefined ? this.rseq : (message.rseq - 1) >>> 0;
		const [first] = again;
		const sample = first === undefined ? this.sampled : this.before(first);
		return { told: { page: this.page, rseq, sample, buttons, keys: [...this.keys.values()] }, whole };
	}

	/** The node has had all samples up to this one. */
	acknowledge(sample: number): void {
		if (isAfter(sample, this.acknowledged)) this.acknowledged = sample;
	}

	/** A message was sent, after the samples until now. */
	said(rseq: number, message: ArrayBuffer, doing: Doing, now: number): void {
		this.add({ rseq, message, doing, sample: this.sampled, at: now, bytes: message.byteLength });
	}

	ran(run: Run, now: number): void {
		this.add({ run, at: now, bytes: run.samples.length * SAMPLE_BYTES });
	}

	button(device: Device, button: number, down: boolean): void {
		if (down) this.down.add(buttonOf(device, button));
		else this.down.delete(buttonOf(device, button));
	}

	key(down: boolean, keysym: number, code: number): void {
		const key = code === 0 ? -keysym : code;
		if (down) this.keys.set(key, [keysym, code]);
		else this.keys.delete(key);
	}

	released(): void {
		this.down.clear();
		this.keys.clear();
	}

	/** All that comes after this message and this sample, in its order; null when a part of that is not kept any more. */
	after(rseq: number, sample: number, now: number): Done[] | null {
		this.age(now);
		if (isAfter(this.gone.rseq, rseq) || isAfter(this.gone.sample, sample)) return null;
		return this.entries.flatMap((e): Done[] => {
			if ("message" in e) return isAfter(e.rseq, rseq) ? [e] : [];
			const { device, first, samples } = e.run;
			const had = Math.min(Math.max((sample - first + 1) | 0, 0), samples.length);
			return had === samples.length ? [] : [{ run: { device, first: first + had, samples: samples.slice(had) } }];
		});
	}

	/** Whether anything was done since then. */
	since(at: number): boolean {
		return (this.entries.at(-1)?.at ?? Number.NEGATIVE_INFINITY) >= at;
	}

	/** Keeps nothing of what was done until this message and this sample, or until now. */
	forget(rseq = this.rseq, sample = this.sampled): void {
		this.entries = this.entries.filter((e) => isAfter("run" in e ? last(e.run) : e.rseq, "run" in e ? sample : rseq));
		this.bytes = this.entries.reduce((sum, e) => sum + e.bytes, 0);
		this.gone = { rseq, sample };
	}

	/** Begins anew, as another page would: for a node that does not know how to go on, or an artist who is done. */
	restart(): void {
		this.page = newPage();
		this.rseq = this.sampled = this.acknowledged = 0;
		this.released();
		this.forget();
	}

	// The entries from the last ones back that may be said again, which buttons are down before them, and whether the node has had all others.
	private doubtful(now: number): { from: number; down: Set<number>; whole: boolean } {
		const down = new Set(this.down);
		let sure = { from: this.entries.length, down: new Set(down), whole: false };
		let lifted = false;
		for (let from = this.entries.length; ; from--) {
			const e = this.entries[from - 1];
			if (e === undefined || this.taken(e)) return { from, down, whole: true };
			const doing = "run" in e ? "nothing" : e.doing;
			if (doing === "once" || now - e.at > DOUBTFUL) return sure;
			if (doing !== "nothing") {
				// All of a stroke, from its press to its lift, may be a click on something that is not to be clicked twice.
				if (doing.down && lifted) return sure;
				if (doing.down) down.delete(doing.button);
				else down.add(doing.button);
				lifted ||= !doing.down;
			}
			if (!lifted) sure = { from: from - 1, down: new Set(down), whole: false };
		}
	}

	// Whether the node is known to have had it. But the sample that it has had last is said again: the stroke goes on from there.
	private taken(e: Entry): boolean {
		if ("run" in e) return isAfter(this.acknowledged, last(e.run));
		return isAfter(this.acknowledged, e.sample) || (typeof e.doing === "object" && this.acknowledged === e.sample);
	}

	// The last sample before an entry that is said again.
	private before(e: Entry): number {
		if ("run" in e) return ((isAfter(this.acknowledged, e.run.first) ? this.acknowledged : e.run.first) - 1) >>> 0;
		return typeof e.doing === "object" ? (e.sample - 1) >>> 0 : e.sample;
	}

	private add(e: Entry): void {
		this.entries.push(e);
		this.bytes += e.bytes;
		this.age(e.at);
	}

	private age(now: number): void {
		let drop = 0;
		for (const e of this.entries) {
			if (now - e.at <= KEEP && this.bytes <= MOST) break;
			this.bytes -= e.bytes;
			if ("message" in e) this.gone.rseq = e.rseq;
			else this.gone.sample = last(e.run);
			drop++;
		}
		if (drop > 0) this.entries.splice(0, drop);
	}
}

/** One number for a device's button. */
export const buttonOf = (device: Device, button: number): number => device * 16 + button;

function newPage(): string {
	return Array.from(crypto.getRandomValues(new Uint8Array(16)), (v) => v.toString(16).padStart(2, "0")).join("");
}

/** The number of a run's last sample. */
const last = ({ first, samples }: Run): number => first + samples.length - 1;

// The numbers wrap around.
const isAfter = (a: number, b: number): boolean => ((a - b) | 0) > 0;
