import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Node, NodeError, type Refusal } from "./node";
import { streamerChanged } from "./streamer";

/** A node that gives these answers, one after the other. */
class Scripted extends Node {
	readonly asked: (number | null)[] = [];

	constructor(private readonly answers: (number | Refusal)[]) {
		super("/s/s1");
	}

	override async streamer(_signal: AbortSignal, not: number | null): Promise<number> {
		this.asked.push(not);
		const next = this.answers.shift();
		if (next === undefined) throw new Error("asked too often");
		if (typeof next === "string") throw new NodeError(next, "no");
		return next;
	}
}

const never = new AbortController().signal;
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("streamerChanged", () => {
	it("is true once the node tells of another than at first", async () => {
		const node = new Scripted([3, 3, "unreachable", "unavailable", 4]);
		const changed = streamerChanged(node, never);
		await vi.advanceTimersByTimeAsync(10_000);
		await expect(changed).resolves.toBe(true);
		expect(node.asked).toEqual([null, 3, 3, 3, 3]);
	});

	it("asks no more than once a second", async () => {
		const node = new Scripted(["unreachable", "unreachable", "unreachable"]);
		const stop = new AbortController();
		const changed = streamerChanged(node, stop.signal);
		await vi.advanceTimersByTimeAsync(1500);
		expect(node.asked).toHaveLength(2);
		stop.abort();
		await expect(changed).resolves.toBe(false);
	});

	it.each(["gone", "denied", "refused"] as const)("leaves the link alone when the answer is %s", async (refusal) => {
		await expect(streamerChanged(new Scripted([1, refusal]), never)).resolves.toBe(false);
	});
});
