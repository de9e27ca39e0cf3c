// When the node is asked for another remote size, while the artist drags the window's edge or moves it to another display.

/** Sizes are asked for this often (ms) at most: GIMP must lay itself out for each. */
const EVERY = 100;
/** The picture of a size that was asked for comes within this time (ms), or is waited for no longer. */
const OVERDUE = 800;

/** One size is under way at a time, so that a slow session gets fewer; the last one always follows. */
export class Resizing {
	private wanted = false;
	private timer: ReturnType<typeof setTimeout> | null = null;
	/** When the last size was asked for, and whether its picture is still to come. */
	private asked = Number.NEGATIVE_INFINITY;
	private waiting = false;

	/** `ask` asks for the size that is wanted now; false when that was asked for already. */
	constructor(private readonly ask: () => boolean) {}

	/** Another size may be wanted. */
	changed(): void {
		this.wanted = true;
		this.next();
	}

	/** The picture has its new size. */
	arrived(): void {
		this.waiting = false;
		this.next();
	}

	close(): void {
		this.wanted = false;
		if (this.timer !== null) clearTimeout(this.timer);
		this.timer = null;
	}

	private next(): void {
		if (this.timer !== null) clearTimeout(this.timer);
		this.timer = null;
		if (!this.wanted) return;
		const wait = this.asked + (this.waiting ? OVERDUE : EVERY) - performance.now();
		if (wait > 0) {
			this.timer = setTimeout(() => this.next(), wait);
			return;
		}
		this.wanted = false;
		if (!this.ask()) return;
		this.asked = performance.now();
		this.waiting = true;
	}
}
