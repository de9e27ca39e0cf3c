import { describe, expect, it } from "vitest";
import { Gate } from "./gate";
import { HandNotes } from "./handnotes";
import type { Sample } from "./wire";

function deferred(): { promise: Promise<void>; resolve: () => void; reject: (why: Error) => void } {
	let resolve = (): void => {};
	let reject = (_: Error): void => {};
	const promise = new Promise<void>((yes, no) => {
		[resolve, reject] = [yes, no];
	});
	return { promise, resolve, reject };
}

const settled = () => new Promise((resolve) => setTimeout(resolve));
const sample = { x: 1, y: 2 } as unknown as Sample;

describe("Gate", () => {
	it("lets everything pass at once while nothing holds it", () => {
		const { hand, notes } = new HandNotes();
		const gate = new Gate(hand);
		gate.key(true, 0, 118, 47);
		gate.move(0, [sample]);
		expect(notes).toEqual([
			["key", true, 0, 118, 47],
			["move", 0, [sample]],
		]);
	});

	it("holds everything back, in its order, until all that holds it has settled", async () => {
		const { hand, notes } = new HandNotes();
		const gate = new Gate(hand);
		const samples = [sample];
		const first = deferred();
		const second = deferred();
		gate.hold(first.promise);
		gate.hold(second.promise);
		gate.key(true, 0, 118, 47);
		gate.move(0, samples);
		samples.pop(); // who moved may use it again
		gate.button(0, 1, true, [sample]);
		gate.wheel(1, 2, 3, 4);
		gate.text("é");
		gate.proximity(1, true);
		gate.release();
		expect(notes).toEqual([]);
		first.reject(new Error("late"));
		await first.promise.catch(() => {});
		expect(gate.held).toBe(true);
		expect(notes).toEqual([]);
		second.resolve();
		await second.promise;
		expect(notes.map(([what]) => what)).toEqual(["key", "move", "button", "wheel", "text", "proximity", "release"]);
		expect(notes[1]).toEqual(["move", 0, [sample]]);
		gate.text("after");
		expect(notes.at(-1)).toEqual(["text", "after"]);
	});

	it("keeps what a pen does without a way within bounds", () => {
		let over = 0;
		const gate = new Gate(
			null,
			() => over++,
			() => 0,
		);
		gate.button(1, 1, true, [sample]);
		for (let i = 0; i < 30_000; i++) gate.move(1, [sample]);
		expect([over, gate.spent]).toEqual([1, true]);
		const { hand, notes } = new HandNotes();
		gate.lead(hand);
		expect(notes).toEqual([]);
		expect([gate.takeSpent(), gate.takeSpent()]).toEqual([true, false]);
		gate.text("a");
		expect(notes).toEqual([["text", "a"]]);
	});

	it("lets the first thing pass alone, and its key go up, where there is something to wait for behind it", async () => {
		const { hand, notes } = new HandNotes();
		const gate = new Gate(hand);
		const until = deferred();
		const behind = deferred();
		gate.hold(until.promise, () => behind.promise);
		gate.key(true, 0, 118, 47);
		gate.move(0, [sample]);
		gate.key(false, 0, 118, 47);
		gate.key(true, 0, 97, 30);
		until.resolve();
		await until.promise;
		expect(notes).toEqual([
			["key", true, 0, 118, 47],
			["key", false, 0, 118, 47],
		]);
		gate.key(false, 0, 97, 30);
		gate.key(false, 0, 65507, 29);
		expect(notes.length).toBe(2);
		behind.resolve();
		await behind.promise;
		expect(notes.slice(2)).toEqual([
			["move", 0, [sample]],
			["key", true, 0, 97, 30],
			["key", false, 0, 97, 30],
			["key", false, 0, 65507, 29],
		]);
		expect(gate.held).toBe(false);
	});

	it("lets a key go up that goes up while it waits behind it, and another paste wait for its own", async () => {
		const { hand, notes } = new HandNotes();
		const gate = new Gate(hand);
		const first = deferred();
		const second = deferred();
		const until = deferred();
		gate.hold(Promise.resolve(), () => first.promise);
		gate.key(true, 0, 118, 47);
		await Promise.resolve();
		expect(notes).toEqual([["key", true, 0, 118, 47]]);
		gate.key(false, 0, 118, 47);
		gate.hold(until.promise, () => second.promise);
		gate.key(true, 0, 118, 47);
		gate.text("é");
		expect(notes.length).toBe(2);
		first.resolve();
		await first.promise;
		expect(notes.length).toBe(2);
		until.resolve();
		await until.promise;
		expect(notes.length).toBe(3);
		gate.key(false, 0, 118, 47);
		expect(notes.slice(2)).toEqual([
			["key", true, 0, 118, 47],
			["key", false, 0, 118, 47],
		]);
		second.reject(new Error("late"));
		await second.promise.catch(() => {});
		expect(notes.at(-1)).toEqual(["text", "é"]);
	});

	it("tells when no button is down any more", async () => {
		const { hand } = new HandNotes();
		const gate = new Gate(hand);
		let rested = 0;
		const ask = () => void gate.rests().then(() => rested++);
		ask();
		await settled();
		expect(rested).toBe(1);
		for (const ends of [() => gate.button(0, 1, false, [sample]), () => gate.release(), () => gate.clear()]) {
			gate.button(0, 1, true, [sample]);
			gate.button(1, 1, true, [sample]);
			ask();
			gate.button(1, 1, false, [sample]);
			await settled();
			const before = rested;
			ends();
			await settled();
			expect(rested).toBe(before + 1);
		}
		expect(rested).toBe(4);
	});
});
