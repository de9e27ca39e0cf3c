import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Rhythm } from "./rhythm";

let waiting: ((d: IdleDeadline) => void)[];
/** What is done once nothing else is to be done. */
let background: (() => void)[];
let rhythm: Rhythm;

beforeEach(() => {
	vi.useFakeTimers();
	waiting = [];
	vi.stubGlobal("requestIdleCallback", (f: (d: IdleDeadline) => void) => waiting.push(f));
	vi.stubGlobal("cancelIdleCallback", (n: number) => waiting.splice(n - 1, 1));
	background = [];
	vi.stubGlobal("window", { scheduler: { postTask: async (f: () => void) => background.push(f) } });
	rhythm = new Rhythm();
});
afterEach(() => {
	rhythm.close();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

function rests(idle: number): void {
	rhythm.hand();
	vi.advanceTimersByTime(120);
	expect(waiting).toHaveLength(1);
	waiting.pop()?.({ didTimeout: false, timeRemaining: () => idle });
}

describe("the page's rhythm", () => {
	it("is steady when idle times are short time and again, until one is long", () => {
		expect(rhythm.steady).toBe(false);
		rests(12);
		expect(rhythm.steady).toBe(false);
		rests(0);
		expect(rhythm.steady).toBe(true);
		rests(14);
		expect(rhythm.steady).toBe(true);
		rests(26);
		expect(rhythm.steady).toBe(false);
	});

	it("is that of a page at rest where the browser has no idle time and nothing else to do either", () => {
		const none = { didTimeout: true, timeRemaining: () => 0 };
		for (const free of [false, false, true, false]) {
			rhythm.hand();
			vi.advanceTimersByTime(120);
			const done = background.pop();
			if (free) done?.();
			waiting.pop()?.(none);
		}
		expect(rhythm.steady).toBe(false);
		rhythm.hand();
		vi.advanceTimersByTime(120);
		waiting.pop()?.(none);
		expect(rhythm.steady).toBe(true);
	});

	it("is asked for once a hand has rested, whose own doing makes frames too", () => {
		for (let i = 0; i < 50; i++) {
			rhythm.hand();
			vi.advanceTimersByTime(10);
		}
		expect(waiting).toHaveLength(0);
		vi.advanceTimersByTime(110);
		expect(waiting).toHaveLength(1);
		rhythm.hand();
		vi.advanceTimersByTime(500);
		expect(waiting).toHaveLength(1);
	});

	it("leaves nothing behind when it ends", () => {
		rhythm.hand();
		vi.advanceTimersByTime(120);
		rhythm.hand();
		rhythm.close();
		expect(waiting).toHaveLength(0);
		expect(vi.getTimerCount()).toBe(0);
	});

	it("is never steady where the browser does not tell", () => {
		vi.stubGlobal("requestIdleCallback", undefined);
		rhythm.hand();
		vi.advanceTimersByTime(1000);
		expect(rhythm.steady).toBe(false);
	});
});
