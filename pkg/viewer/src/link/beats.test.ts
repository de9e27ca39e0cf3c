import { describe, expect, it } from "vitest";
import { type Beat, Beats } from "./beats";

const PERIOD = 1000 / 60;

/** Has frames shown that are captured every `every` ms from a timestamp on and ready `way` ms later; the page's clock is 1234.5 ms ahead. */
function watch(
	rtp: number,
	o: { every?: number; way?: (i: number) => number; n?: number; period?: number } = {},
): Beat[] {
	const { every = PERIOD, way = () => 7, n = 100, period = PERIOD } = o;
	const beats = new Beats();
	const told: Beat[] = [];
	for (let i = 0; i < n; i++) {
		const ready = 1234.5 + i * every + way(i);
		const beat = Math.ceil(ready / period) * period;
		const b = beats.shown({ beat, ready, rtp: (rtp + Math.round(i * every * 90)) >>> 0, count: 50 + i });
		if (b) told.push(b);
	}
	return told;
}

/** How long before a beat the frame captured `t` ms after the first is ready, as a message has it. */
function waitOf(b: Beat, rtp: number, t: number): number {
	const at = b.wait - (t - ((b.rtp - rtp) | 0) / 90);
	return at - Math.floor(at / b.period) * b.period;
}

describe("the display's beats", () => {
	it("are told, wherever frames fall between them", () => {
		for (let way = 0; way < PERIOD; way += 0.7) {
			const told = watch(90_000, { way: () => way });
			expect(told).toHaveLength(3);
			for (const b of told) {
				expect(b.period).toBeCloseTo(PERIOD, 3);
				expect(b.spread).toBeLessThan(0.1);
				const ready = 1234.5 + way;
				expect(waitOf(b, 90_000, 0)).toBeCloseTo(Math.ceil(ready / PERIOD) * PERIOD - ready, 1);
			}
		}
	});

	it("are known by frames that come unsteadily on either side of one", () => {
		// Those of every other frame are just before a beat, and just after it.
		const near = Math.ceil(1300 / PERIOD) * PERIOD - 1234.5;
		const [b] = watch(0, { way: (i) => near + (i % 2 === 0 ? 0.6 : -0.6) });
		expect(b).toBeDefined();
		const wait = waitOf(b as Beat, 0, 0);
		expect(Math.min(wait, PERIOD - wait)).toBeLessThan(0.1);
		expect(b?.spread).toBeCloseTo(0.6, 1);
	});

	it("tell of frames that shared one with the next", () => {
		const beats = new Beats();
		let told: Beat | null = null;
		// The browser tells of one frame a beat: every tenth is never told of.
		for (let i = 0, looks = 0; told === null; i++) {
			if (i % 10 === 9) continue;
			told = beats.shown({
				beat: Math.ceil((i * PERIOD + 7) / PERIOD) * PERIOD,
				ready: i * PERIOD + 7,
				rtp: Math.round(i * 1500),
				count: i,
			});
			if (++looks > 50) throw new Error("nothing is told");
		}
		expect(told.missed).toBe(3);
	});

	it("keep their time when frames are rarer, or their timestamps begin anew", () => {
		const rtp = 0xffff_f000;
		for (const every of [2 * PERIOD, 25]) {
			for (const b of watch(rtp, { every })) {
				expect(b.period).toBeCloseTo(every === 25 ? PERIOD : every, 3);
				expect(waitOf(b, rtp, 0)).toBeCloseTo(Math.ceil((1234.5 + 7) / PERIOD) * PERIOD - (1234.5 + 7), 1);
			}
		}
	});

	it("are not told of where nothing is known", () => {
		expect(watch(0, { every: 90, period: 70 })).toEqual([]);
	});

	it("are told of as doubtful where frames come anyhow, and for certain where one does now and then", () => {
		for (const b of watch(0, { way: (i) => (i * 7919) % 17 })) expect(b.spread).toBeGreaterThan(4);
		for (const b of watch(0, { way: (i) => (i % 9 === 0 ? 13 : 7) })) {
			expect(b.spread).toBeLessThan(0.1);
			expect(waitOf(b, 0, 0)).toBeCloseTo(Math.ceil((1234.5 + 7) / PERIOD) * PERIOD - (1234.5 + 7), 1);
		}
	});

	it("are not told of while the picture moves now and then", () => {
		expect(watch(0, { every: 250 })).toEqual([]);
	});
});
