// Asks the other side for a sign of life, because a network that is gone says nothing.

const EVERY = 2000;
/** Unanswered for this long is dead. */
const PATIENCE = 4000;

export class Heartbeat {
	private timer: ReturnType<typeof setInterval> | null = null;
	private asked = 0;
	private answered = 0;
	private askedAt = 0;
	/** Milliseconds from the last ping to its pong; null before the first. */
	rtt: number | null = null;

	constructor(
		private readonly ping: (id: number) => void,
		private readonly dead: () => void,
		private readonly now: () => number = () => performance.now(),
	) {}

	start(): void {
		this.timer ??= setInterval(this.beat, EVERY);
		this.ask();
	}

	/** The answer to ping `id` came. */
	pong(id: number): void {
		if (id > this.asked || id <= this.answered) return;
		this.answered = id;
		if (id === this.asked) this.rtt = this.now() - this.askedAt;
	}

	stop(): void {
		if (this.timer !== null) clearInterval(this.timer);
		this.timer = null;
	}

	private readonly beat = (): void => {
		if (this.answered === this.asked) this.ask();
		else if (this.now() - this.askedAt >= PATIENCE - 1) {
			this.stop();
			this.dead();
		}
	};

	private ask(): void {
		this.asked++;
		this.askedAt = this.now();
		this.ping(this.asked);
	}
}
