// What has been sent of a stroke and was not yet acknowledged. It is sent again until the node says that it has it.

import type { Device, Sample } from "./wire";

/** The node waits no longer (ms) for a sample that is missing. */
const GIVE_UP = 2000;
/** So many samples are kept: two seconds of a pen that tells of itself a thousand times a second. */
const MOST = 2048;
/** Time (ms) until something unacknowledged counts as lost: bounds, and what it is before anything was measured. */
const LEAST_WAIT = 50;
const MOST_WAIT = 500;
const FIRST_WAIT = 200;
/** The node acknowledges at most this often (ms). */
const ACK_EVERY = 25;

interface Entry {
	device: Device;
	sample: Sample;
	sentAt: number;
	firstAt: number;
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
	/** Samples that were given up. */
	lost = 0;

	/** Samples numbered from `first` were sent. */
	add(device: Device, first: number, samples: readonly Sample[], now: number): void {
		if (this.entries.length === 0) this.first = first;
		for (const sample of samples) this.entries.push({ device, sample, sentAt: now, firstAt: now });
		this.drop(this.entries.length - MOST);
	}

	/** The node has all up to `applied`. Beyond a gap it goes on with `next`; 0: there is no gap. Returns what is missing. */
	acknowledge(applied: number, next: number, now: number): Run[] {
		const had = Math.min((applied - this.first + 1) | 0, this.entries.length);
		if (had > 0) {
			const last = this.entries[had - 1] as Entry;
			// What was sent twice does not tell which of the two arrived.
			if (last.sentAt === last.firstAt) this.measure(now - last.sentAt);
			this.entries.splice(0, had);
			this.first += had;
		}
		const missing = next === 0 ? 0 : Math.min((next - this.first) | 0, this.entries.length);
		// What was sent again a moment ago is on its way.
		return missing > 0 ? this.again(missing, now, Math.min(this.smooth, this.wait)) : [];
	}

	/** When something is to be sent again; null: never. */
	get due(): number | null {
		let oldest = Number.POSITIVE_INFINITY;
		for (const e of this.entries) oldest = Math.min(oldest, e.sentAt);
		return Number.isFinite(oldest) ? oldest + this.wait : null;
	}

	/** What is to be sent again now. */
	overdue(now: number): Run[] {
		let old = 0;
		while (old < this.entries.length && now - (this.entries[old] as Entry).firstAt > GIVE_UP) old++;
		this.lost += old;
		this.drop(old);
		return this.again(this.entries.length, now, this.wait);
	}

	/** Takes all that is not acknowledged: from now on another channel cares for it. */
	takeAll(): Run[] {
		const runs = this.runs(this.entries, this.first, () => true);
		this.entries = [];
		return runs;
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

	private again(count: number, now: number, wait: number): Run[] {
		const late = (e: Entry): boolean => now - e.sentAt >= wait;
		const runs = this.runs(this.entries.slice(0, count), this.first, late);
		for (const e of this.entries.slice(0, count)) if (late(e)) e.sentAt = now;
		return runs;
	}

	private runs(entries: readonly Entry[], first: number, wanted: (e: Entry) => boolean): Run[] {
		const runs: Run[] = [];
		let open: Run | null = null;
		entries.forEach((e, i) => {
			if (!wanted(e)) {
				open = null;
			} else if (open?.device === e.device) {
				open.samples.push(e.sample);
			} else {
				open = { device: e.device, first: first + i, samples: [e.sample] };
				runs.push(open);
			}
		});
		return runs;
	}

	private drop(count: number): void {
		if (count <= 0) return;
		this.entries.splice(0, count);
		this.first += count;
	}
}
