// A change that comes while the browser awaits its next beat is shown by that one; if it awaits none, at once. It awaits one more after each
// that showed something. So with changes about as frequent as beats, one that waited has the next wait too, and one that was shown at once
// does not: both last. Where changes wait for long, one is kept until the next comes: a beat passes without anything to show, and those
// that follow are shown at once, off the beat.

/** Changes that are about as frequent as the browser's beats (ms). */
const OFTEN = 12;
const SELDOM = 30;
/** A wait (ms) that is worth a change. */
const LONG = 4;
/** So many long waits, one after the other, are no accident. */
const SURE = 6;
/** A change is kept for so long (ms), which is less than a beat and its wait, and for no longer than PATIENCE if no other comes. */
const KEEP = 12;
const PATIENCE = 25;
/** The rest (ms) between two tries, at first and at most: it doubles while one does not bring so many changes that are shown at once. */
const REST = 1000;
const MAX_REST = 32_000;
const WORTH = 20;

/** What came of it, of the changes that were drawn while nothing else had the browser make frames. */
export interface OffBeatCounts {
	/** Shown at once, and only after a long wait for a beat. */
	atOnce: number;
	late: number;
	/** Kept until the next came, and how often so many that followed were shown at once that it was worth it. */
	kept: number;
	worth: number;
}

export class OffBeat {
	readonly counts: OffBeatCounts = { atOnce: 0, late: 0, kept: 0, worth: 0 };
	private last = Number.NEGATIVE_INFINITY;
	/** Long waits in a row, and short ones since the last try. */
	private waits = 0;
	private short = WORTH;
	private tried = Number.NEGATIVE_INFINITY;
	private rest = REST;
	private since: number | null = null;
	private late: ReturnType<typeof setTimeout> | null = null;
	private asked = false;

	/** `release` is called when what was kept must wait no longer. */
	constructor(private readonly release: () => void) {}

	/** A change has come. Tells whether it is to be kept until this is asked again. */
	keeps(): boolean {
		const now = performance.now();
		if (this.since !== null) {
			if (now - this.since < KEEP) return true;
			this.let();
			return false;
		}
		if (this.waits < SURE || now - this.last > SELDOM || now - this.tried < this.rest) return false;
		this.rest = this.short >= WORTH ? REST : Math.min(2 * this.rest, MAX_REST);
		this.short = 0;
		this.waits = 0;
		this.tried = now;
		this.since = now;
		this.counts.kept++;
		this.late = setTimeout(this.release, PATIENCE);
		return true;
	}

	/** What was kept is no longer. */
	let(): void {
		this.since = null;
		if (this.late !== null) clearTimeout(this.late);
		this.late = null;
	}

	/** A change was drawn, and nothing else has the browser make frames. */
	drawn(): void {
		const now = performance.now();
		const gap = now - this.last;
		this.last = now;
		if (gap < OFTEN || gap > SELDOM) this.waits = 0;
		if (gap > SELDOM || this.asked) return;
		this.asked = true;
		requestAnimationFrame(() => {
			this.asked = false;
			if (performance.now() - now >= LONG) {
				this.counts.late++;
				this.waits++;
				return;
			}
			this.waits = 0;
			this.counts.atOnce++;
			if (++this.short === WORTH) this.counts.worth++;
		});
	}
}
