// How much of a content may be on its way to the node: what the line carries at once, and little more, because what the hand does goes the same way,
// and would wait behind it.

import { PART } from "./wire";

/** Bounds of the window, and what it begins with, in bytes. */
const LEAST = 16 << 10;
const FIRST = 32 << 10;
const MOST = 1 << 20;
/** Queues (ms) that a content may make for what comes after it: up to the first one the window grows, beyond the second it shrinks. */
const SHORT = 10;
const LONG = 20;
const GROW = 1.25;

export class SendWindow {
	private readonly sent: { bytes: number; at: number }[] = [];
	private onWay = 0;
	private bytes = FIRST;
	/** The quickest answer of all (ms): that of an empty line. */
	private base = Number.POSITIVE_INFINITY;
	/** The quickest one since the window last changed, and how much was answered since. The quickest, because a busy page hears of some late. */
	private best = Number.POSITIVE_INFINITY;
	private answered = 0;

	/** Nothing more may go until something has come. */
	get full(): boolean {
		return this.onWay >= this.bytes;
	}

	/** Bytes of the next part: little ones where little may be on its way. */
	get part(): number {
		return Math.min(this.bytes >> 2, PART);
	}

	/** A part of so many bytes has gone. */
	went(bytes: number, now: number): void {
		this.sent.push({ bytes, at: now });
		this.onWay += bytes;
	}

	/** The node has the part that went first of those on their way. */
	came(now: number): void {
		const first = this.sent.shift();
		if (!first) return;
		this.onWay -= first.bytes;
		this.answered += first.bytes;
		this.best = Math.min(this.best, now - first.at);
		this.base = Math.min(this.base, this.best);
		if (this.answered < this.bytes) return;
		const queue = this.best - this.base;
		if (queue > LONG) this.bytes = Math.max(LEAST, (this.bytes * (this.base + LONG)) / this.best);
		else if (queue < SHORT) this.bytes = Math.min(MOST, this.bytes * GROW);
		this.best = Number.POSITIVE_INFINITY;
		this.answered = 0;
	}
}
