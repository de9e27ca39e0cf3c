import { describe, expect, it } from "vitest";
import { nothing } from "../files/api";
import { alone } from "../share/api";
import { Node, NodeError, type Refusal, type Status } from "./node";
import { relayChanged } from "./relay";

type Asked = { not: string | undefined; relay: string | undefined };

/** A node that gives these answers, one after the other. */
class Scripted extends Node {
	readonly asked: Asked[] = [];

	constructor(private readonly answers: (Partial<Status> | Refusal)[]) {
		super("/s/s1");
	}

	override async status(_signal: AbortSignal, not?: string, relay?: string): Promise<Status> {
		this.asked.push({ not, relay });
		const next = this.answers.shift();
		if (next === undefined) throw new Error("asked too often");
		if (typeof next === "string") throw new NodeError(next, "no");
		return {
			state: "connected",
			reason: "",
			gimp: null,
			portal: null,
			notice: null,
			relay: "one",
			files: nothing,
			visitor: alone,
			...next,
		};
	}
}

const never = new AbortController().signal;

describe("relayChanged", () => {
	it("is true when a node that was away is back with another relay", async () => {
		const node = new Scripted([{}, "unreachable", "unavailable", { relay: "two" }]);
		await expect(relayChanged(node, "one", never)).resolves.toBe(true);
		expect(node.asked.every((a) => a.relay === "one")).toBe(true);
	});

	it("goes on waiting when the network blinked and the relay is the one it was", async () => {
		const node = new Scripted(["unreachable", {}, { relay: "two" }]);
		await expect(relayChanged(node, "one", never)).resolves.toBe(true);
		expect(node.asked).toHaveLength(3);
	});

	it("waits for a change of the state that it knows", async () => {
		const node = new Scripted([{ state: "detached" }, { relay: "" }]);
		await relayChanged(node, "one", never);
		expect(node.asked.map((a) => a.not)).toEqual(["connected", "detached"]);
	});

	it.each(["gone", "denied", "refused"] as const)("leaves the link alone when the answer is %s", async (refusal) => {
		await expect(relayChanged(new Scripted([refusal]), "one", never)).resolves.toBe(false);
	});

	it("ends with its signal", async () => {
		const stop = new AbortController();
		const waiting = relayChanged(new Scripted([{}, {}, {}, {}, {}]), "one", stop.signal);
		stop.abort();
		await expect(waiting).resolves.toBe(false);
	});
});
