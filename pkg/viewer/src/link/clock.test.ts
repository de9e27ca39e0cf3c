import { describe, expect, it } from "vitest";
import { NodeClock } from "./clock";

describe("the node's clock", () => {
	it("is unknown before a ping came back", () => {
		const c = new NodeClock();
		expect(c.local(5000)).toBeNull();
		expect(c.doubt).toBe(Number.POSITIVE_INFINITY);
		c.answered(100, 90, 5000);
		c.answered(100, 110, Number.NaN);
		expect(c.local(5000)).toBeNull();
	});

	it("is told best by the ping that came back soonest", () => {
		const c = new NodeClock();
		const ahead = 1_700_000_000_000;
		for (const [sent, there, back] of [
			[0, 90, 20],
			[1000, 3, 4],
			[2000, 1, 160],
		] as const)
			c.answered(sent, sent + there + back, ahead + sent + there);
		expect(Math.abs((c.local(ahead + 5000) as number) - 5000)).toBeLessThanOrEqual(c.doubt);
		expect(c.doubt).toBe(3.5);
	});

	it("forgets a ping after a minute, and keeps only so many", () => {
		const c = new NodeClock();
		c.answered(0, 2, 1);
		c.answered(59_000, 59_100, 59_060);
		expect(c.doubt).toBe(1);
		c.answered(61_000, 61_050, 61_020);
		expect(c.doubt).toBe(25);
		for (let i = 0; i < 100; i++) c.answered(62_000, 62_010 + i, 62_000);
		expect(c.doubt).toBeGreaterThan(30);
	});
});
