// How long to wait before another try: soon at first, for a network that blinked, then calmly, and never all viewers at once.

const FIRST = 250;
const LONGEST = 5000;

export class Backoff {
	private tries = 0;

	/** `random` gives 0 to 1; injected for tests. */
	constructor(private readonly random: () => number = Math.random) {}

	/** Milliseconds to wait before the next try, `longest` at most: 0 the first time. */
	next(longest = LONGEST): number {
		const n = this.tries++;
		if (n === 0) return 0;
		const full = Math.min(FIRST * 2 ** Math.min(n - 1, 16), longest);
		return Math.round(full * (0.75 + 0.5 * this.random()));
	}

	/** A try succeeded: the next failure is a new story. */
	reset(): void {
		this.tries = 0;
	}
}

/** Waits `ms`; ends early, without error, when `signal` aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		if (signal.aborted) return resolve();
		const done = (): void => {
			clearTimeout(timer);
			signal.removeEventListener("abort", done);
			resolve();
		};
		const timer = setTimeout(done, ms);
		signal.addEventListener("abort", done);
	});
}

/** Waits that all end at once when somebody says that now is a good time. */
export class Nap {
	private early = new AbortController();

	/** Ends every wait. */
	wake(): void {
		this.early.abort();
		this.early = new AbortController();
	}

	/** Waits `ms`, or until woken; ends early, without error, when `stop` aborts. */
	sleep(ms: number, stop: AbortSignal): Promise<void> {
		return sleep(ms, AbortSignal.any([stop, this.early.signal]));
	}

	/** Waits until woken. */
	woken(stop: AbortSignal): Promise<void> {
		const { signal } = this.early;
		return new Promise((resolve) => {
			if (stop.aborted) return resolve();
			for (const s of [signal, stop]) s.addEventListener("abort", () => resolve(), { once: true });
		});
	}
}
