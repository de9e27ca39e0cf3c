// Whether the session's applications have what was offered: an application that is told to paste asks for it, and does what it is told next meanwhile.

import type { Format } from "./wire";

// These bounds are for who does not tell when it has pasted, or is busy.
/** An application that pastes asks about what there is within this time (ms) and a round trip, the first time, or pastes nothing. */
const ASKS = 1000;
/** One that has asked says within this time (ms) which content it wants, or wants none. */
const CHOOSES = 500;
/** A text is waited for so long (ms). */
const COMES = 2000;

/** The way of one offer into an application. */
export class Handover {
	private step: "offered" | "asked" | "fetched" | "over" = "offered";
	private patience = ASKS;
	/** Keys that have been pasted by. */
	private keys = 0;
	private readonly waiting = new Set<() => void>();

	/** An application asks what there is. */
	asks(): void {
		if (this.step === "offered") this.become("asked");
	}

	/** An application wants one of its contents. A picture is not waited for: it may take long. */
	fetches(format: Format): void {
		if (format === "png") this.end();
		else if (this.step !== "over") this.become("fetched");
	}

	/** An application has one of its contents. */
	has(format: Format): void {
		if (format !== "png") this.end();
	}

	/** An application has done what it was told, and has what it asked for by then: nothing more comes of it. */
	pasted(): void {
		this.keys++;
		this.wake();
	}

	/** There is nothing to wait for any more. */
	end(): void {
		this.become("over");
	}

	/** Waits until an application has it, or has pasted something else; not for one that does not ask. `trip` is a round trip to the session (ms). */
	async settled(trip: number): Promise<void> {
		const patience = { offered: Math.min(this.patience + trip, COMES), asked: CHOOSES + trip, fetched: COMES };
		this.patience = CHOOSES; // GIMP knows what there is once it has asked, and does not ask again
		const { keys } = this;
		while (this.step !== "over" && this.keys === keys) {
			const { step } = this;
			await this.next(patience[step]);
			if (this.step === step) return;
		}
	}

	private become(step: typeof this.step): void {
		this.step = step;
		this.wake();
	}

	private wake(): void {
		for (const go of this.waiting) go();
		this.waiting.clear();
	}

	/** Waits for another step, or so long. */
	private next(limit: number): Promise<void> {
		return new Promise((resolve) => {
			const go = (): void => {
				clearTimeout(timer);
				resolve();
			};
			const timer = setTimeout(() => {
				this.waiting.delete(go);
				resolve();
			}, limit);
			this.waiting.add(go);
		});
	}
}
