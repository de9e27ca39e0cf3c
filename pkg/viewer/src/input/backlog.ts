// What the hand did lately, by whichever connection: where one breaks, the next one brings what the node has not taken yet.

import type { Run } from "./journal";
import { type Device, SAMPLE_BYTES } from "./wire";

/** What was done longer ago (ms) comes too late: nobody waits so long for their ink. */
export const KEEP = 30_000;
/** So much (bytes, as they are sent) is kept of it. */
const MOST = 1 << 20;

/** A reliable message as it was sent, or a stroke's samples. */
export type Done = { rseq: number; message: ArrayBuffer } | { run: Run };
type Entry = Done & { at: number; bytes: number };

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
	/** Buttons that are down: 16 times the device, and X's number. */
	readonly down = new Set<number>();
	private readonly keys = new Map<number, [number, number]>();
	/** Oldest first. */
	private entries: Entry[] = [];
	private bytes = 0;
	/** What is not kept any more reaches up to here. */
	private gone = { rseq: 0, sample: 0 };

	/** Whether nothing was done yet. */
	get fresh(): boolean {
		return this.rseq === 0 && this.sampled === 0;
	}

	get told(): Told {
		const buttons = [0, 0, 0, 0];
		for (const b of this.down) buttons[b >> 4] = (buttons[b >> 4] ?? 0) | (1 << (b & 15));
		return { page: this.page, rseq: this.rseq, sample: this.sampled, buttons, keys: [...this.keys.values()] };
	}

	said(rseq: number, message: ArrayBuffer, now: number): void {
		this.add({ rseq, message, at: now, bytes: message.byteLength });
	}

	ran(run: Run, now: number): void {
		this.add({ run, at: now, bytes: run.samples.length * SAMPLE_BYTES });
	}

	button(device: Device, button: number, down: boolean): void {
		if (down) this.down.add(device * 16 + button);
		else this.down.delete(device * 16 + button);
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

	/** Keeps nothing of what was done until now. */
	forget(): void {
		this.entries = [];
		this.bytes = 0;
		this.gone = { rseq: this.rseq, sample: this.sampled };
	}

	/** Begins anew, as another page would: for a node that does not know how to go on, or an artist who is done. */
	restart(): void {
		this.page = newPage();
		this.rseq = this.sampled = 0;
		this.released();
		this.forget();
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
			else this.gone.sample = e.run.first + e.run.samples.length - 1;
			drop++;
		}
		if (drop > 0) this.entries.splice(0, drop);
	}
}

function newPage(): string {
	return Array.from(crypto.getRandomValues(new Uint8Array(16)), (v) => v.toString(16).padStart(2, "0")).join("");
}

// The numbers wrap around.
const isAfter = (a: number, b: number): boolean => ((a - b) | 0) > 0;
