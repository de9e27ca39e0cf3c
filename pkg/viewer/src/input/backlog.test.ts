import { describe, expect, it } from "vitest";
import { Backlog, buttonOf, type Doing, type Done, KEEP } from "./backlog";
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
	press(b, true, 0);
	ran(b, 3, 10);
	ran(b, 2, 20);
	press(b, false, 30);
	return b;
}

const tip = buttonOf(Device.pen, 1);

/** The pen's tip goes down or up, at a sample of its own. */
function press(b: Backlog, down: boolean, now: number): void {
	b.sampled++;
	say(b, { button: tip, down }, now);
	b.button(Device.pen, 1, down);
}

function say(b: Backlog, doing: Doing, now: number): void {
	b.said(++b.rseq, new ArrayBuffer(36), doing, now);
}

function ran(b: Backlog, n: number, now: number): void {
	b.ran(run(b.sampled + 1, n), now);
	b.sampled += n;
}

/** What a node that knows nothing is told of the pen, and what it is then told again. */
function again(b: Backlog, now: number): unknown[] {
	const { told, whole } = b.resumption(now);
	return [told.buttons[Device.pen] === 2, shown(b.after(told.rseq, told.sample, now)), whole];
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
		b.acknowledge(7);
		const { page, ...rest } = b.resumption(40).told;
		expect(page).toMatch(/^[0-9a-f]{32}$/);
		expect(rest).toEqual({ rseq: 2, sample: 7, buttons: [0, 2 | 8, 0, 0], keys: [[0xffe1, 42]] });
		b.released();
		expect(b.resumption(40).told).toMatchObject({ buttons: [0, 0, 0, 0], keys: [] });
		b.restart();
		expect(b.fresh).toBe(true);
		expect(b.resumption(40).told.page).not.toBe(page);
	});

	it("says the part of a stroke again that its streamer may not have had before it died", () => {
		const b = new Backlog();
		press(b, true, 0);
		ran(b, 3, 10);
		b.acknowledge(1);
		expect(again(b, 20)).toEqual([true, [[2, [2, 3, 4]]], true]);
		// From the last one that it has had: the stroke goes on there.
		b.acknowledge(3);
		ran(b, 2, 20);
		expect(again(b, 20)).toEqual([
			true,
			[
				[3, [3, 4]],
				[5, [5, 6]],
			],
			true,
		]);
		press(b, false, 30);
		say(b, "nothing", 30);
		expect(again(b, 40)).toEqual([true, [[3, [3, 4]], [5, [5, 6]], 2, 3], true]);
		b.acknowledge(7);
		expect(again(b, 40)).toEqual([false, [3], true]);
	});

	it("presses again what is down still, but nothing that went down and up", () => {
		const b = new Backlog();
		press(b, true, 0);
		ran(b, 2, 10);
		expect(again(b, 20)).toEqual([false, [1, [2, [2, 3]]], true]);
		press(b, false, 20);
		expect(again(b, 20)).toEqual([false, [], false]);
		// Of two strokes that nobody knows to be taken, the one that is not at its end.
		press(b, true, 30);
		ran(b, 2, 40);
		expect(again(b, 50)).toEqual([false, [3, [6, [6, 7]]], false]);
		b.acknowledge(2);
		expect(again(b, 50)).toEqual([true, [[2, [2, 3]], 2, 3, [6, [6, 7]]], true]);
	});

	it("says nothing twice that must be done once, nor what is so old that it must have been taken", () => {
		const b = new Backlog();
		press(b, true, 0);
		ran(b, 3, 10);
		b.acknowledge(2);
		say(b, "once", 20);
		ran(b, 2, 30);
		expect(again(b, 40)).toEqual([true, [[5, [5, 6]]], false]);
		press(b, false, 40);
		expect(again(b, 40)).toEqual([false, [], false]);
		const old = new Backlog();
		press(old, true, 0);
		ran(old, 3, 10);
		old.acknowledge(2);
		press(old, false, 20);
		expect(again(old, 5000)[1]).toEqual([[2, [2, 3, 4]], 2]);
		expect(again(old, 6000)).toEqual([false, [], false]);
	});

	it("forgets what came before the place where a node goes on", () => {
		const b = stroke();
		b.forget(1, 4);
		expect(shown(b.after(1, 4, 40))).toEqual([[5, [5, 6]], 2]);
		expect(b.after(1, 3, 40)).toBeNull();
		b.forget();
		expect(shown(b.after(2, 7, 40))).toEqual([]);
	});

	it("knows numbers that have come around", () => {
		const b = new Backlog();
		b.rseq = 0xfffffffe;
		b.forget();
		b.said(0xffffffff, new ArrayBuffer(8), "once", 0);
		b.said(0, new ArrayBuffer(8), "once", 0);
		expect(shown(b.after(0xffffffff, 0, 0))).toEqual([0]);
		expect(shown(b.after(0xfffffffe, 0, 0))).toEqual([0xffffffff, 0]);
	});
});
