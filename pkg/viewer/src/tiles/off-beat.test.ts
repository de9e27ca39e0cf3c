import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { OffBeat } from "./off-beat";

const BEAT = 1000 / 60;
/** As Chromium does it: a beat that showed something is followed by another that is awaited, and what is asked for meanwhile waits for it. */
class Browser {
	private asked: FrameRequestCallback[] = [];
	private awaited = 0;
	ask(f: FrameRequestCallback): number {
		return this.asked.push(f);
	}
	/** The page's script has ended. */
	idle(): void {
		const now = performance.now();
		if (this.asked.length > 0 && now > this.awaited) this.show(Math.floor(now / BEAT) * BEAT);
	}
	/** Goes on to a time, by the beats that are awaited until then. */
	until(at: number): void {
		for (; this.asked.length > 0 && this.awaited <= at; this.show(this.awaited)) this.to(this.awaited);
		this.to(at);
	}
	private to(at: number): void {
		vi.advanceTimersByTime(Math.max(at - performance.now(), 0));
	}
	private show(beat: number): void {
		this.awaited = beat + BEAT;
		for (const f of this.asked.splice(0)) f(beat);
	}
	/** Something else that has a frame made. */
	disturb(): void {
		this.ask(() => {});
		this.idle();
	}
}

let browser: Browser;
let released: number;
let offBeat: OffBeat;
/** How long each change waited for its frame; -1 for one that was kept. */
let waits: number[];

beforeEach(() => {
	vi.useFakeTimers();
	browser = new Browser();
	vi.stubGlobal("requestAnimationFrame", (f: FrameRequestCallback) => browser.ask(f));
	released = 0;
	waits = [];
	offBeat = new OffBeat(() => {
		released++;
		offBeat.let();
	});
});
afterEach(() => {
	offBeat.let();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

/** So many changes, each `every` ms, some ms after a beat; `also` happens after each. */
function changes(n: number, every = BEAT, also: (i: number) => void = () => {}): void {
	const from = Math.ceil(performance.now() / BEAT) * BEAT + 5;
	for (let i = 0; i < n; i++) {
		browser.until(from + i * every);
		if (offBeat.keeps()) waits.push(-1);
		else {
			const now = performance.now();
			browser.ask(() => waits.push(performance.now() - now));
			offBeat.drawn();
			browser.idle();
		}
		also(i);
	}
	browser.until(performance.now() + 100);
}

const shownAtOnce = (list: number[]): number => list.filter((w) => w >= 0 && w < 1).length;

it("leaves changes alone that are shown at once", () => {
	changes(300);
	expect(waits).not.toContain(-1);
	expect(shownAtOnce(waits)).toBe(300);
	expect(offBeat.counts).toEqual({ atOnce: 299, late: 0, kept: 0, worth: 0 });
});

it("has changes that waited for their beats shown at once, for one that is kept", () => {
	changes(300, BEAT, (i) => i === 0 && browser.disturb());
	expect(waits.filter((w) => w === -1)).toHaveLength(1);
	expect(shownAtOnce(waits)).toBeGreaterThan(285);
	expect(offBeat.counts).toMatchObject({ kept: 1, worth: 1 });
	expect(offBeat.counts.atOnce).toBeGreaterThan(285);
});

it("tries ever more rarely where that does not last", () => {
	changes(60 * 60, BEAT, (i) => i % 10 === 0 && browser.disturb());
	const kept = waits.filter((w) => w === -1).length;
	expect(kept).toBeGreaterThan(3);
	expect(kept).toBeLessThan(8);
	expect(offBeat.counts.kept).toBe(kept);
});

it("tries again each time where it does", () => {
	changes(10 * 60, BEAT, (i) => i % 150 === 0 && browser.disturb());
	const kept = waits.filter((w) => w === -1).length;
	expect(kept).toBe(4);
	expect(shownAtOnce(waits)).toBeGreaterThan(480);
});

it("keeps nothing of changes that are rarer or more frequent than beats", () => {
	changes(300, 3 * BEAT, () => browser.disturb());
	changes(300, BEAT / 3);
	expect(waits).not.toContain(-1);
});

it("keeps no change after a rest, and none for long if no other comes", () => {
	for (let i = 0; i < 20; i++) changes(1, BEAT, () => browser.disturb());
	expect(waits).not.toContain(-1);
	const from = Math.ceil(performance.now() / BEAT) * BEAT + 5;
	for (let i = 0; !offBeat.keeps(); i++) {
		expect(i).toBeLessThan(20);
		browser.ask(() => {});
		offBeat.drawn();
		browser.idle();
		if (i === 1) browser.disturb();
		browser.until(from + (i + 1) * BEAT);
	}
	expect(released).toBe(0);
	browser.until(performance.now() + 25);
	expect(released).toBe(1);
});
