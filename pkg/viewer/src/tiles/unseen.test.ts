import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Unseen } from "./unseen";

const BEAT = 16;
let seen: number;
let unseen: Unseen;

beforeEach(() => {
	vi.useFakeTimers();
	seen = 0;
	unseen = new Unseen(() => seen++);
});
afterEach(() => {
	unseen.let();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
});

/** Draws something, and goes on until a beat has shown it. */
function shown(): void {
	unseen.drawn(false);
	vi.advanceTimersToNextFrame();
	vi.advanceTimersByTime(1);
}

it("tells that a beat is near only once it knows the beats", () => {
	unseen.drawn(false);
	expect(unseen.soon).toBe(false);
	vi.advanceTimersToNextFrame();
	// What is drawn now would be shown by this one in its place.
	expect([unseen.soon, seen]).toEqual([true, 0]);
	vi.advanceTimersByTime(1);
	expect([unseen.soon, seen]).toEqual([false, 1]);
	for (let i = 0; i < 3; i++) shown();
	unseen.drawn(false);
	expect(unseen.soon).toBe(false);
	vi.advanceTimersByTime(BEAT - 4);
	expect(unseen.soon).toBe(true);
	vi.advanceTimersToNextFrame();
	vi.advanceTimersByTime(1);
	expect([unseen.soon, seen]).toEqual([false, 5]);
});

it("is at an end right after the beat for which something was drawn", () => {
	unseen.drawn(true);
	expect(unseen.soon).toBe(true);
	vi.advanceTimersByTime(1);
	expect([unseen.soon, seen]).toEqual([false, 1]);
});

it("does not wait for beats that nobody sees", () => {
	for (let i = 0; i < 3; i++) shown();
	vi.stubGlobal("requestAnimationFrame", () => 1);
	vi.stubGlobal("cancelAnimationFrame", () => {});
	unseen.drawn(false);
	vi.advanceTimersByTime(60);
	expect([unseen.soon, seen]).toEqual([false, 4]);
	vi.unstubAllGlobals();
});

it("knows the beats of a display that is quicker, or missed one", () => {
	for (let i = 0; i < 3; i++) {
		shown();
		vi.advanceTimersByTime(BEAT);
	}
	for (let i = 0; i < 3; i++) shown();
	unseen.drawn(false);
	vi.advanceTimersByTime(BEAT - 3);
	expect(unseen.soon).toBe(true);
});
