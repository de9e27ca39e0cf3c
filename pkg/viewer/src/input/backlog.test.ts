import { describe, expect, it } from "vitest";
import { Backlog, type Done, KEEP } from "./backlog";
import { Device, type Sample } from "./wire";

const at = (x: number): Sample => ({ x, y: 0, pressure: 0, tiltX: 0, tiltY: 0, twist: 0, buttons: 1, time: x });
const run = (first: number, n: number) => ({
	device: Device.pen,
	first,
	samples: Array.from({ length: n }, (_, i) => at(first + i)),
});
const shown = (all: Done[] | null) =>
	all?.map((d) => ("run" in d ? [d.run.first, d.run.samples.map((s) => s.x)] : d.rseq)) ?? null;

/** A press (message 1, sample 1), samples 2 to 6 in two runs, a lift (message 2, sample 7). */
function stroke(): Backlog {
	const b = new Backlog();
	b.said(1, new ArrayBuffer(36), 0);
	b.ran(run(2, 3), 10);
	b.ran(run(5, 2), 20);
	b.said(2, new ArrayBuffer(36), 30);
	b.rseq = 2;
	b.sampled = 7;
	return b;
}

describe("Backlog", () => {
	it("has what the node has not taken, in its order, each sample once", () => {
		const b = stroke();
		expect(shown(b.after(0, 0, 40))).toEqual([1, [2, [2, 3, 4]], [5, [5, 6]], 2]);
		expect(shown(b.after(1, 3, 40))).toEqual([[4, [4]], [5, [5, 6]], 2]);
		expect(shown(b.after(1, 6, 40))).toEqual([2]);
		expect(shown(b.after(2, 7, 40))).toEqual([]);
	});

	it("has nothing to say when a part of that is too old: what follows might be painted with another tool", () => {
		const b = stroke();
		expect(b.after(1, 3, 10 + KEEP)).not.toBeNull();
		expect(b.after(1, 3, 11 + KEEP)).toBeNull();
		// But the node that has that part needs the rest alone.
		expect(shown(b.after(1, 4, 11 + KEEP))).toEqual([[5, [5, 6]], 2]);
	});

	it("keeps so many bytes and no more", () => {
		const b = new Backlog();
		for (let i = 0; i < 1200; i++) b.ran(run(1 + i * 50, 50), i);
		expect(b.after(0, 0, 1200)).toBeNull();
		const kept = b.after(0, 1200 * 50 - 40_000, 1200) ?? [];
		expect(kept.reduce((n, d) => n + ("run" in d ? d.run.samples.length : 0), 0)).toBe(40_000);
	});

	it("tells the node which page it is, where it goes on, and what is down", () => {
		const b = stroke();
		b.button(Device.pen, 1, true);
		b.button(Device.pen, 3, true);
		b.button(Device.mouse, 1, true);
		b.button(Device.mouse, 1, false);
		b.key(true, 0xffe1, 42);
		b.key(true, 0x61, 30);
		b.key(false, 0x41, 30);
		const { page, ...rest } = b.told;
		expect(page).toMatch(/^[0-9a-f]{32}$/);
		expect(rest).toEqual({ rseq: 2, sample: 7, buttons: [0, 2 | 8, 0, 0], keys: [[0xffe1, 42]] });
		b.released();
		expect(b.told).toMatchObject({ buttons: [0, 0, 0, 0], keys: [] });
		b.restart();
		expect(b.fresh).toBe(true);
		expect(b.told.page).not.toBe(page);
	});

	it("knows numbers that have come around", () => {
		const b = new Backlog();
		b.rseq = 0xfffffffe;
		b.forget();
		b.said(0xffffffff, new ArrayBuffer(8), 0);
		b.said(0, new ArrayBuffer(8), 0);
		expect(shown(b.after(0xffffffff, 0, 0))).toEqual([0]);
		expect(shown(b.after(0xfffffffe, 0, 0))).toEqual([0xffffffff, 0]);
	});
});
