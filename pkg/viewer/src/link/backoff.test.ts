import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Backoff, Nap, sleep } from "./backoff";

describe("Backoff", () => {
	it("tries at once, then ever later, to five seconds", () => {
		const b = new Backoff(() => 0.5);
		expect(Array.from({ length: 9 }, () => b.next())).toEqual([0, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
		b.reset();
		expect(b.next()).toBe(0);
	});

	it("spreads viewers by a quarter either way and never overflows", () => {
		const low = new Backoff(() => 0);
		const high = new Backoff(() => 1);
		for (let i = 0; i < 5000; i++) {
			const [l, h] = [low.next(), high.next()];
			if (i > 10) expect([l, h]).toEqual([3750, 6250]);
		}
	});
});

describe("sleep", () => {
	beforeEach(() => void vi.useFakeTimers());
	afterEach(() => void vi.useRealTimers());

	it("ends after its time", async () => {
		let done = false;
		void sleep(1000, new AbortController().signal).then(() => {
			done = true;
		});
		await vi.advanceTimersByTimeAsync(999);
		expect(done).toBe(false);
		await vi.advanceTimersByTimeAsync(1);
		expect(done).toBe(true);
	});

	it("ends early when told, and leaves no timer", async () => {
		const stop = new AbortController();
		const slept = sleep(60_000, stop.signal);
		stop.abort();
		await slept;
		expect(vi.getTimerCount()).toBe(0);
		await sleep(60_000, stop.signal);
	});
});

describe("Nap", () => {
	it("ends every wait when woken, and those that come later are waits again", async () => {
		vi.useFakeTimers();
		const { signal } = new AbortController();
		const nap = new Nap();
		const ended: string[] = [];
		void nap.sleep(60_000, signal).then(() => ended.push("sleep"));
		void nap.woken(signal).then(() => ended.push("woken"));
		await vi.advanceTimersByTimeAsync(1000);
		expect(ended).toEqual([]);
		nap.wake();
		await vi.advanceTimersByTimeAsync(0);
		expect(ended.sort()).toEqual(["sleep", "woken"]);
		void nap.sleep(60_000, signal).then(() => ended.push("another"));
		await vi.advanceTimersByTimeAsync(59_000);
		expect(ended).toHaveLength(2);
		await vi.advanceTimersByTimeAsync(1000);
		expect(ended).toHaveLength(3);
		vi.useRealTimers();
	});

	it("ends when the page does", async () => {
		const stop = new AbortController();
		const nap = new Nap();
		const waits = [nap.sleep(60_000, stop.signal), nap.woken(stop.signal)];
		stop.abort();
		await Promise.all(waits);
		await nap.woken(stop.signal);
	});
});
