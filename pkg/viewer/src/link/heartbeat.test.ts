import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Heartbeat } from "./heartbeat";

let pings: number[];
let dead: number;
let told: number[][];
let beat: Heartbeat;
let clock: number;
beforeEach(() => {
	vi.useFakeTimers();
	pings = [];
	dead = 0;
	told = [];
	clock = 0;
	beat = new Heartbeat(
		(id) => pings.push(id),
		() => void dead++,
		(...times) => told.push(times),
		() => clock,
	);
});
afterEach(() => {
	beat.stop();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
});

function pass(ms: number): void {
	for (; ms > 0; ms -= 10) {
		clock += 10;
		vi.advanceTimersByTime(10);
	}
}

it("goes on while answers come, and measures them", () => {
	beat.start();
	for (let i = 1; i <= 20; i++) {
		pass(30);
		beat.pong(pings.at(-1) as number);
		expect(beat.rtt).toBe(30);
		pass(1970);
	}
	expect(pings).toHaveLength(25);
	expect(dead).toBe(0);
});

it("finds a silent network within six seconds, once", () => {
	beat.start();
	pass(6000);
	expect(dead).toBe(1);
	pass(60_000);
	expect(dead).toBe(1);
});

it("outlives one answer that never came", () => {
	beat.start();
	pass(2010);
	beat.pong(2);
	pass(4000);
	expect(dead).toBe(0);
});

it("takes any message for life, but no invented answer", () => {
	beat.start();
	for (let i = 0; i < 10; i++) {
		pass(1000);
		beat.heard();
	}
	expect(dead).toBe(0);
	for (let i = 0; i < 7; i++) {
		pass(1000);
		beat.pong(99);
	}
	expect(dead).toBe(1);
});

it("asks again before it judges after its timers slept", () => {
	beat.start();
	pass(10);
	beat.pong(1);
	clock += 3_600_000;
	vi.advanceTimersByTime(2000);
	expect(dead).toBe(0);
	pass(10);
	beat.pong(2);
	pass(4000);
	expect(dead).toBe(0);
});

it("asks five times in the first second, and tells what the node's clock said", () => {
	beat.start();
	pass(1000);
	expect(pings).toEqual([1, 2, 3, 4, 5]);
	beat.pong(4, 5000.5);
	beat.pong(5, null);
	expect(told).toEqual([[600, 1000, 5000.5]]);
	pass(3010);
	expect(pings).toEqual([1, 2, 3, 4, 5, 6, 7]);
});
