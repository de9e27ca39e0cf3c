// Whether the page makes frames all the time, as one that animates does. No event tells of that; but the browser's idle times
// are no longer than a frame then.

/** Idle time (ms) that is longer than a frame. */
const LONG = 18;
/** A hand must have rested so long (ms): what it changes makes frames too. */
const REST = 120;
/** After this long (ms) without any idle time there is none. */
const PATIENCE = 300;
/** So many short idle times, one after the other, are no accident. */
const SURE = 2;

export class Rhythm {
	private short = 0;
	private moved = 0;
	private timer: ReturnType<typeof setTimeout> | null = null;
	private idle: number | null = null;

	/** The page makes frames whether somebody asks for one or not. */
	get steady(): boolean {
		return this.short >= SURE;
	}

	/** A hand moves. Once it rests, the browser is asked. */
	hand(): void {
		this.moved = performance.now();
		if (typeof requestIdleCallback === "function") this.timer ??= setTimeout(this.rest, REST);
	}

	close(): void {
		if (this.timer !== null) clearTimeout(this.timer);
		if (this.idle !== null) cancelIdleCallback(this.idle);
		this.timer = null;
		this.idle = null;
	}

	private readonly rest = (): void => {
		const left = this.moved + REST - performance.now();
		this.timer = left > 0 ? setTimeout(this.rest, left) : null;
		if (left <= 0) this.idle ??= requestIdleCallback(this.look, { timeout: PATIENCE });
	};

	private readonly look = (time: IdleDeadline): void => {
		this.idle = null;
		this.short = time.timeRemaining() > LONG ? 0 : this.short + 1;
	};
}
