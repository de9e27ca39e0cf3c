import { describe, expect, it } from "vitest";
import { SendWindow } from "./window";
import { PART } from "./wire";

/** Sends over a line that carries so many bytes a ms, in order, and answers after a round trip; returns the window and the longest wait in its queue. */
function over(rate: number, trip: number, bytes: number, jitter: (n: number) => number = () => 0) {
	const window = new SendWindow();
	const answers: number[] = [];
	let [now, free, sent, queue, n] = [0, 0, 0, 0, 0];
	let largest = 0;
	while (sent < bytes) {
		if (!window.full) {
			const part = window.part;
			window.went(part, now);
			sent += part;
			largest = Math.max(largest, part);
			free = Math.max(free, now) + part / rate;
			// What it begins with may be too much.
			if (sent > bytes / 4) queue = Math.max(queue, free - now);
			answers.push(Math.max(free + trip + jitter(n++), answers.at(-1) ?? 0));
			continue;
		}
		now = answers.shift() ?? Number.NaN;
		window.came(now);
	}
	return { took: now, queue, largest };
}

describe("what is on its way to the node", () => {
	const mbit = 1e6 / 8 / 1000;
	for (const [rate, trip] of [
		[100 * mbit, 2],
		[20 * mbit, 20],
		[10 * mbit, 40],
		[5 * mbit, 100],
		[2 * mbit, 40],
	] as const)
		it(`fills a line of ${rate / mbit} Mbit/s and ${trip} ms, and makes no long queue`, () => {
			const bytes = 8 << 20;
			const { took, queue } = over(rate, trip, bytes);
			expect(bytes / took / rate).toBeGreaterThan(0.8);
			expect(queue).toBeLessThan(100);
		});

	it("is little where the line is narrow", () => {
		const { queue, largest } = over(0.5 * mbit, 40, 1 << 20);
		expect(largest).toBeLessThanOrEqual(10 << 10);
		expect(queue).toBeLessThan(300);
	});

	it("is not taken for a queue where only the page is busy now and then", () => {
		const rate = 20 * mbit;
		const bytes = 8 << 20;
		const { took } = over(rate, 20, bytes, (n) => (n % 25 === 0 ? 60 : 0));
		expect(bytes / took / rate).toBeGreaterThan(0.5);
	});

	it("is in parts as large as a message takes where there is room", () => {
		expect(over(100 * mbit, 20, 8 << 20).largest).toBe(PART);
	});

	it("hears of nothing that was not sent", () => {
		const window = new SendWindow();
		window.came(1);
		expect(window.full).toBe(false);
	});
});
