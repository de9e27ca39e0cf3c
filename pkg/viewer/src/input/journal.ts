// The samples of a stroke until the node says that it has them: what is to be sent, and what is to be sent again.

import type { Device, Sample } from "./wire";

/** What was not acknowledged for so long (ms) goes by a channel that loses nothing. The node waits twice as long for a sample that is missing. */
const LATE = 1000;
/** And so does what comes on top of so many samples, which are all that the node holds beyond a gap. */
const MOST = 2048;
/** Time (ms) until something unacknowledged counts as lost: bounds, and what it is before anything was measured. */
const LEAST_WAIT = 50;
const MOST_WAIT = 500;
const FIRST_WAIT = 200;
/** The node acknowledges at most this often (ms). */
const ACK_EVERY = 25;
/** Samples in one message: it stays below one network packet. */
export const MOST_SAMPLES = 52;
const LEAST_REPEATED = 4;
export const MOST_REPEATED = 16;

/** How many samples of the message before a message repeats: what that one brought, within bounds. One that is lost alone costs nothing. */
export const repeats = (brought: number): number => Math.min(Math.max(brought, LEAST_REPEATED), MOST_REPEATED);

interface Entry {
	device: Device;
	sample: Sample;
	madeAt: number;
	/** Null: not yet. */
	sentAt: number | null;
	/** How often it was. */
	sent: number;
	/** The node told that it is not there. */
	missing: boolean;
}

/** Samples of one device, numbered from `first` without a gap. */
export interface Run {
	device: Device;
	first: number;
	samples: Sample[];
}

export class Journal {
	/** Oldest first, numbered from `first` without a gap. */
	private entries: Entry[] = [];
	private first = 1;
	private smooth = 0;
	private spread = 0;
	/** What the last message brought that was new. */
	private brought = 0;
	/** Samples numbered from `first` are to be sent. */
	add(device: Device, first: number, samples: readonly Sample[], now: number): void {
		if (this.entries.length === 0) this.first = first;
		for (const sample of samples)
			this.entries.push({ device, sample, madeAt: now, sentAt: null, sent: 0, missing: false });
	}

	/** Whether motion does not get through: all that is there is better taken, and sent by another channel. */
	late(now: number): boolean {
		const [oldest] = this.entries;
		return oldest !== undefined && (now - oldest.madeAt > LATE || this.entries.length > MOST);
	}

	/** The node has all up to `applied`. Beyond a gap it goes on with `next`; 0: there is no gap. */
	acknowledge(applied: number, next: number, now: number): void {
		const had = Math.min((applied - this.first + 1) | 0, this.entries.length);
		if (had > 0) {
			const last = this.entries[had - 1] as Entry;
			// What was sent twice does not tell which of the two arrived.
			if (last.sent === 1 && last.sentAt !== null) this.measure(now - last.sentAt);
			this.drop(had);
		}
		const gap = next === 0 ? 0 : Math.min((next - this.first) | 0, this.entries.length);
		for (const e of this.entries.slice(0, Math.max(gap, 0))) e.missing = true;
	}

	/** When something is to be sent; null: never. */
	get due(): number | null {
		let due = Number.POSITIVE_INFINITY;
		for (const e of this.entries) due = Math.min(due, this.dueAt(e));
		return due === Number.POSITIVE_INFINITY ? null : due;
	}

	/** Takes the oldest samples of one message that are to be sent now, after some that were; null: none are. */
	take(now: number): Run | null {
		const at = this.entries.findIndex((e) => this.dueAt(e) <= now);
		if (at < 0) return null;
		const { device, sent } = this.entries[at] as Entry;
		const from = sent > 0 ? at : this.reach(at, device);
		let end = at;
		for (; end - from < MOST_SAMPLES; end++) {
			const e = this.entries[end];
			if (e?.device !== device || this.dueAt(e) > now) break;
			e.sentAt = now;
			e.sent++;
			e.missing = false;
		}
		if (sent === 0) this.brought = end - at;
		return { device, first: this.first + from, samples: this.entries.slice(from, end).map((e) => e.sample) };
	}

	/** Takes all that is not acknowledged: from now on another channel cares for it. */
	takeAll(): Run[] {
		const runs: Run[] = [];
		for (const [i, { device, sample }] of this.entries.entries()) {
			const open = runs.at(-1);
			if (open?.device === device) open.samples.push(sample);
			else runs.push({ device, first: this.first + i, samples: [sample] });
		}
		this.entries = [];
		return runs;
	}

	// How far back a message repeats that begins with entry `at`.
	private reach(at: number, device: Device): number {
		let from = at;
		for (let n = repeats(this.brought); n > 0 && this.entries[from - 1]?.device === device; n--) from--;
		return from;
	}

	// What the node misses was sent before something that it has: if that is a round trip ago, it is lost.
	private dueAt(e: Entry): number {
		if (e.sentAt === null) return Number.NEGATIVE_INFINITY;
		return e.sentAt + (e.missing ? Math.min(this.smooth, this.wait) : this.wait);
	}

	private get wait(): number {
		if (this.smooth === 0) return FIRST_WAIT;
		return Math.min(Math.max(this.smooth + 4 * this.spread + ACK_EVERY, LEAST_WAIT), MOST_WAIT);
	}

	// RFC 6298's estimate of the round trip.
	private measure(rtt: number): void {
		if (this.smooth === 0) {
			this.smooth = Math.max(rtt, 1);
			this.spread = rtt / 2;
			return;
		}
		this.spread += (Math.abs(this.smooth - rtt) - this.spread) / 4;
		this.smooth += (rtt - this.smooth) / 8;
	}

	private drop(count: number): void {
		this.entries.splice(0, count);
		this.first += count;
	}
}
