// Holds back what the hand does while something must reach the session before it: the clipboard before the key that pastes.

import type { Hand } from "./sender";
import type { Device, Sample } from "./wire";

export class Gate implements Hand {
	private waiting: (() => void)[] = [];
	private holds = 0;

	constructor(private readonly hand: Hand) {}

	/** Nothing passes until the promise is settled; then everything does, in its order. */
	hold(until: Promise<unknown>): void {
		this.holds++;
		const open = (): void => {
			if (--this.holds === 0) this.flush();
		};
		until.then(open, open);
	}

	/** Whether anything is held back at present. */
	get held(): boolean {
		return this.holds > 0;
	}

	move(device: Device, samples: readonly Sample[]): void {
		const kept = this.held ? samples.slice() : samples;
		this.pass(() => this.hand.move(device, kept));
	}

	button(device: Device, button: number, down: boolean, samples: readonly Sample[]): void {
		const kept = this.held ? samples.slice() : samples;
		this.pass(() => this.hand.button(device, button, down, kept));
	}

	wheel(x: number, y: number, dx: number, dy: number, times?: number): void {
		this.pass(() => this.hand.wheel(x, y, dx, dy, times));
	}

	key(down: boolean, locks: number, keysym: number, code: number): void {
		this.pass(() => this.hand.key(down, locks, keysym, code));
	}

	text(text: string): void {
		this.pass(() => this.hand.text(text));
	}

	release(): void {
		this.pass(() => this.hand.release());
	}

	proximity(device: Device, near: boolean): void {
		this.pass(() => this.hand.proximity(device, near));
	}

	private pass(act: () => void): void {
		if (this.held) this.waiting.push(act);
		else act();
	}

	private flush(): void {
		const acts = this.waiting;
		this.waiting = [];
		for (const act of acts) act();
	}
}
