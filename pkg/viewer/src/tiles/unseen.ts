// Of two pictures that are drawn between the same two of the browser's beats, the first is never seen. Where something moves that is felt: so a move that
// comes right before the beat that shows the one before it is drawn right after that. It is shown by the beat after, as it would be had it come somewhat later.

/** A beat that is so near (ms) is worth waiting for; after a longer wait the move would be too old. */
const NEAR = 5;
/** After so long (ms) a beat does not come: nobody sees the page. */
const PATIENCE = 40;
/** Beats that are not in these bounds (ms) are none. */
const SHORTEST = 4;
const LONGEST = 50;
/** How much of a new measurement is believed. */
const NEWS = 0.2;

export class Unseen {
	private frame: number | null = null;
	private timer: ReturnType<typeof setTimeout> | null = null;
	/** When the last beat was, and the time between two. */
	private last = Number.NEGATIVE_INFINITY;
	private period = LONGEST;

	/** `seen` is called once what was drawn is on show. */
	constructor(private readonly seen: () => void) {}

	/** Something was drawn that a beat is about to show. */
	get soon(): boolean {
		if (this.timer === null) return false;
		if (this.frame === null) return true;
		const since = performance.now() - this.last;
		return since < PATIENCE && Math.ceil(since / this.period) * this.period - since < NEAR;
	}

	/** Something was drawn, that this beat shows if it was drawn for it, or else the next. */
	drawn(byThisBeat: boolean): void {
		this.let();
		if (!byThisBeat) this.frame = requestAnimationFrame(this.beat);
		this.timer = setTimeout(this.end, byThisBeat ? 0 : PATIENCE);
	}

	/** It is waited for no longer. */
	let(): void {
		if (this.frame !== null) cancelAnimationFrame(this.frame);
		if (this.timer !== null) clearTimeout(this.timer);
		this.frame = null;
		this.timer = null;
	}

	// What is drawn now would still be shown by this one.
	private readonly beat = (at: number): void => {
		this.let();
		this.learn(at - this.last);
		this.last = at;
		this.timer = setTimeout(this.end, 0);
	};

	private learn(gap: number): void {
		if (!(gap >= SHORTEST && gap <= LONGEST)) return;
		const one = gap / Math.max(Math.round(gap / this.period), 1);
		this.period = one < this.period * 0.75 ? one : this.period + (one - this.period) * NEWS;
	}

	private readonly end = (): void => {
		this.let();
		this.seen();
	};
}
