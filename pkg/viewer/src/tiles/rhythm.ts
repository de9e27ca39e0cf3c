// Whether the page makes frames all the time, as one that animates does. No event tells of that; but the browser's idle times
// are no longer than a frame then. A page at rest may have none at all: Chromium begins one after a frame, and none comes.

/** Idle time (ms) that is longer than a frame. */
const LONG = 18;
/** A hand must have rested so long (ms): what it changes makes frames too. */
const REST = 120;
/** After this long (ms) without any idle time there is none: the page is at rest, or busy all the time. */
const PATIENCE = 300;
/** So many short idle times, one after the other, are no accident. */
const SURE = 2;

/** Prioritized Task Scheduling (WICG), which TypeScript does not know yet. */
interface Scheduling {
	scheduler?: { postTask(task: () => void, options: { priority: "background" }): Promise<unknown> };
}

export class Rhythm {
	private short = 0;
	private moved = 0;
	private timer: ReturnType<typeof setTimeout> | null = null;
	private idle: number | null = null;
	/** What waits for everything else to be done was done, since the browser was asked for idle time. */
	private free = false;

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
		if (left > 0 || this.idle !== null) return;
		this.free = false;
		this.idle = requestIdleCallback(this.look, { timeout: PATIENCE });
		const free = (): void => {
			this.free = true;
		};
		void (window as Scheduling).scheduler?.postTask(free, { priority: "background" });
	};

	private readonly look = (time: IdleDeadline): void => {
		this.idle = null;
		const rests = time.didTimeout ? this.free : time.timeRemaining() > LONG;
		this.short = rests ? 0 : this.short + 1;
	};
}
