// Asks the other side for signs of life, because a network that is gone says nothing.

const EVERY = 2000;
/** Silence for this long is death. It spans two pings: one that gets lost in a restless moment is none. */
const PATIENCE = 4500;

export class Heartbeat {
	private timer: ReturnType<typeof setInterval> | null = null;
	private asked = 0;
	private askedAt = 0;
	private alive = 0;
	/** Pings since the last sign of life. */
	private unanswered = 0;
	/** Milliseconds from the last ping to its pong; null before the first. */
	rtt: number | null = null;

	constructor(
		private readonly ping: (id: number) => void,
		private readonly dead: () => void,
		private readonly now: () => number = () => performance.now(),
	) {}

	start(): void {
		this.alive = this.now();
		this.timer ??= setInterval(this.beat, EVERY);
		this.ask();
	}

	/** The answer to ping `id` came. */
	pong(id: number): void {
		if (id > this.asked) return;
		this.heard();
		if (id === this.asked) this.rtt = this.now() - this.askedAt;
	}

	/** Anything at all came. */
	heard(): void {
		this.alive = this.now();
		this.unanswered = 0;
	}

	/** For how long (ms) nothing has come. */
	get quiet(): number {
		return this.now() - this.alive;
	}

	stop(): void {
		if (this.timer !== null) clearInterval(this.timer);
		this.timer = null;
	}

	private readonly beat = (): void => {
		// A page whose timers slept (a lid closed, a tab in the background) asks before it judges.
		if (this.unanswered >= 2 && this.now() - this.alive >= PATIENCE) {
			this.stop();
			this.dead();
		} else {
			this.ask();
		}
	};

	private ask(): void {
		this.asked++;
		this.unanswered++;
		this.askedAt = this.now();
		this.ping(this.asked);
	}
}
