import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Heartbeat } from "./heartbeat";

let pings: number[];
let dead: number;
let beat: Heartbeat;
beforeEach(() => {
	vi.useFakeTimers();
	pings = [];
	dead = 0;
	beat = new Heartbeat(
		(id) => pings.push(id),
		() => void dead++,
		() => Date.now(),
	);
});
afterEach(() => {
	beat.stop();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
});

it("goes on while answers come, and measures them", () => {
	beat.start();
	for (let i = 1; i <= 100; i++) {
		vi.advanceTimersByTime(30);
		beat.pong(i);
		expect(beat.rtt).toBe(30);
		vi.advanceTimersByTime(1970);
	}
	expect(pings).toHaveLength(101);
	expect(dead).toBe(0);
});

it("finds a silent network within four seconds, once", () => {
	beat.start();
	vi.advanceTimersByTime(4001);
	expect(dead).toBe(1);
	vi.advanceTimersByTime(60_000);
	expect(dead).toBe(1);
});

it("does not take an old or invented answer for a new one", () => {
	beat.start();
	beat.pong(1);
	vi.advanceTimersByTime(2000);
	beat.pong(1);
	beat.pong(9);
	vi.advanceTimersByTime(4001);
	expect(dead).toBe(1);
});
