import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Resizing } from "./resizing";

beforeEach(() => {
	vi.useFakeTimers();
});
afterEach(() => {
	vi.useRealTimers();
});

describe("asking for sizes", () => {
	it("asks at once, then for the last of many when the first has come", () => {
		const ask = vi.fn(() => true);
		const r = new Resizing(ask);
		r.changed();
		expect(ask).toHaveBeenCalledTimes(1);
		for (let i = 0; i < 20; i++) {
			vi.advanceTimersByTime(10);
			r.changed();
		}
		expect(ask).toHaveBeenCalledTimes(1);
		r.arrived();
		expect(ask).toHaveBeenCalledTimes(2);
		r.arrived();
		vi.advanceTimersByTime(10_000);
		expect(ask).toHaveBeenCalledTimes(2);
	});

	it("asks no more than ten times a second, however quick the session is", () => {
		const r: Resizing = new Resizing(() => {
			queueMicrotask(() => r.arrived());
			times.push(performance.now());
			return true;
		});
		const times: number[] = [];
		for (let i = 0; i < 100; i++) {
			r.changed();
			vi.advanceTimersByTime(10);
			r.arrived();
		}
		vi.advanceTimersByTime(1000);
		expect(times.length).toBeGreaterThan(8);
		expect(times.length).toBeLessThanOrEqual(11);
	});

	it("does not wait for ever for a picture that never comes", () => {
		const ask = vi.fn(() => true);
		const r = new Resizing(ask);
		r.changed();
		r.changed();
		vi.advanceTimersByTime(799);
		expect(ask).toHaveBeenCalledTimes(1);
		vi.advanceTimersByTime(2);
		expect(ask).toHaveBeenCalledTimes(2);
	});

	it("waits for nothing when nothing had to be asked", () => {
		const ask = vi.fn(() => false);
		const r = new Resizing(ask);
		r.changed();
		r.changed();
		expect(ask).toHaveBeenCalledTimes(2);
	});

	it("asks no more once it is closed", () => {
		const ask = vi.fn(() => true);
		const r = new Resizing(ask);
		r.changed();
		r.changed();
		r.close();
		vi.advanceTimersByTime(10_000);
		r.arrived();
		expect(ask).toHaveBeenCalledTimes(1);
	});
});
