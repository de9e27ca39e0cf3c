// Holds back what the hand does while something must reach the session before it (the clipboard before the key that pastes, what is pasted before what
// follows that key), and while there is no way to the session.

import { buttonOf, KEEP } from "./backlog";
import type { Hand } from "./sender";
import type { Device, Sample } from "./wire";

/** So many doings wait at most while there is no way: a pen's of half a minute. */
const MOST = 20_000;

interface Doing {
	act: (hand: Hand) => void;
	at: number;
	/** The artist would miss it. */
	work: boolean;
	/** The key that it lets go of. */
	up: string | null;
	behind: Behind | null;
}

/** What must happen behind one of the hand's doings, before the next. */
interface Behind {
	until: () => Promise<unknown>;
	/** The key that was pressed; it may go up meanwhile, for it would repeat in the session. */
	key: string | null;
}

export class Gate implements Hand {
	private waiting: Doing[] = [];
	private holds = 0;
	/** What the next doing is to be followed by, and what is waited for behind one that has passed. */
	private next: (() => Promise<unknown>) | null = null;
	private behind: Behind | null = null;
	/** Buttons that are down, and who waits until none is. */
	private readonly down = new Set<number>();
	private resting: (() => void)[] = [];
	/** What was done is lost: there was no way for too long. Nothing is taken any more until there is one. */
	spent = false;

	/** `hand` is null while there is no way; `over` is called when what waits comes too late. */
	constructor(
		private hand: Hand | null = null,
		private readonly over: () => void = () => {},
		private readonly now: () => number = () => performance.now(),
	) {}

	/** What is done goes this way from now on; null: none. */
	lead(hand: Hand | null): void {
		this.expire();
		this.hand = hand;
		this.flush();
	}

	/** Whether something was done for nothing since this was asked last. */
	takeSpent(): boolean {
		const { spent } = this;
		this.spent = false;
		return spent;
	}

	/** Forgets what waits, and says whether any of it was work. */
	clear(): boolean {
		const work = this.waiting.some((d) => d.work);
		this.waiting = [];
		this.lift();
		return work;
	}

	/** Nothing passes until the promise is settled; then everything does, in its order, but what is done next alone at first, until `behind` is settled. */
	hold(until: Promise<unknown>, behind: (() => Promise<unknown>) | null = null): void {
		this.holds++;
		this.next = behind;
		const open = (): void => {
			this.holds--;
			this.flush();
		};
		until.then(open, open);
	}

	/** Whether anything is held back at present. */
	get held(): boolean {
		return this.holds > 0 || this.behind !== null || this.hand === null;
	}

	move(device: Device, samples: readonly Sample[]): void {
		// Where the pointer went meanwhile is of no interest, unless it painted.
		if (this.hand === null && this.down.size === 0) return;
		const kept = this.held ? samples.slice() : samples;
		this.pass((hand) => hand.move(device, kept));
	}

	button(device: Device, button: number, down: boolean, samples: readonly Sample[]): void {
		if (down) this.down.add(buttonOf(device, button));
		else this.lift(buttonOf(device, button));
		const kept = this.held ? samples.slice() : samples;
		this.pass((hand) => hand.button(device, button, down, kept));
	}

	wheel(x: number, y: number, dx: number, dy: number, times?: number): void {
		this.pass((hand) => hand.wheel(x, y, dx, dy, times));
	}

	key(down: boolean, locks: number, keysym: number, code: number): void {
		const act = (hand: Hand): void => hand.key(down, locks, keysym, code);
		const key = `${keysym} ${code}`;
		if (!down && this.hand !== null && this.behind?.key === key) {
			this.behind.key = null;
			return act(this.hand);
		}
		this.pass(act, true, key, down);
	}

	text(text: string): void {
		this.pass((hand) => hand.text(text));
	}

	release(): void {
		this.lift();
		this.pass((hand) => hand.release(), false);
	}

	proximity(device: Device, near: boolean): void {
		this.pass((hand) => hand.proximity(device, near), false);
	}

	/** Waits until no button is down. */
	rests(): Promise<void> {
		return new Promise((resolve) => {
			if (this.down.size === 0) resolve();
			else this.resting.push(resolve);
		});
	}

	/** A button has gone up, or all have. */
	private lift(button?: number): void {
		if (button === undefined) this.down.clear();
		else this.down.delete(button);
		if (this.down.size > 0) return;
		for (const go of this.resting.splice(0)) go();
	}

	private pass(act: (hand: Hand) => void, work = true, key: string | null = null, down = false): void {
		const behind = this.next && { until: this.next, key };
		this.next = null;
		const doing = { act, at: this.now(), work, up: down ? null : key, behind };
		if (this.hand !== null && !this.held) return this.do(doing, this.hand);
		this.expire();
		if (!this.spent) this.waiting.push(doing);
	}

	private do({ act, behind }: Doing, hand: Hand): void {
		act(hand);
		if (behind === null) return;
		this.behind = behind;
		const over = (): void => {
			this.behind = null;
			this.flush();
		};
		behind.until().then(over, over);
		const up = this.waiting.findIndex((d) => d.up !== null && d.up === behind.key);
		if (up < 0) return;
		behind.key = null;
		for (const d of this.waiting.splice(up, 1)) d.act(hand);
	}

	// All or nothing: what follows something that is missing might paint with another tool.
	private expire(): void {
		if (this.hand !== null) return;
		const first = this.waiting.find((d) => d.work);
		if (first === undefined || (this.now() - first.at <= KEEP && this.waiting.length < MOST)) return;
		this.clear();
		this.spent = true;
		this.over();
	}

	private flush(): void {
		while (this.hand !== null && !this.held) {
			const doing = this.waiting.shift();
			if (doing === undefined) return;
			this.do(doing, this.hand);
		}
	}
}
