// Asks the other side for signs of life, because a network that is gone says nothing.

const EVERY = 2000;
/** The first pings come this soon (ms) after each other: the node's clock is wanted at once. */
const SOON = 200;
const FIRST = 5;
/** Pings whose answer is still of interest. */
const REMEMBERED = 16;
/** Silence for this long is death. It spans two pings: one that gets lost in a restless moment is none. */
const PATIENCE = 4500;

export class Heartbeat {
	private timer: ReturnType<typeof setInterval> | null = null;
	private soon: ReturnType<typeof setInterval> | null = null;
	private asked = 0;
	/** When the last pings went out, by number. */
	private readonly askedAt = new Array<number>(REMEMBERED).fill(0);
	private alive = 0;
	/** Pings since the last sign of life. */
	private unanswered = 0;
	/** Milliseconds from the last ping to its pong; null before the first. */
	rtt: number | null = null;

	constructor(
		private readonly ping: (id: number) => void,
		private readonly dead: () => void,
		/** A ping went out and was answered at these times, the node's own being `node`. */
		private readonly told: (sent: number, back: number, node: number) => void,
		private readonly now: () => number = () => performance.now(),
	) {}

	start(): void {
		this.alive = this.now();
		this.timer ??= setInterval(this.beat, EVERY);
		this.soon ??= setInterval(() => (this.asked < FIRST ? this.send() : this.calm()), SOON);
		this.ask();
	}

	/** The answer to ping `id` came, of this time at the node. */
	pong(id: number, node: number | null = null): void {
		if (id > this.asked) return;
		this.heard();
		if (id <= this.asked - REMEMBERED) return;
		const now = this.now();
		const sent = this.askedAt[id % REMEMBERED] as number;
		this.rtt = now - sent;
		if (node !== null) this.told(sent, now, node);
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
		this.calm();
	}

	private calm(): void {
		if (this.soon !== null) clearInterval(this.soon);
		this.soon = null;
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
		this.unanswered++;
		this.send();
	}

	private send(): void {
		this.asked++;
		this.askedAt[this.asked % REMEMBERED] = this.now();
		this.ping(this.asked);
	}
}
