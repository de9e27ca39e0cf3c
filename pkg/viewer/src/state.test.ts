import { describe, expect, it } from "vitest";
import { type Event, initial, isOver, type Phase, type State, step } from "./state";

const run = (...events: Event[]): State => events.reduce(step, initial);
const every: Event[] = [
	{ type: "waiting", state: "starting" },
	{ type: "dialing" },
	{ type: "up" },
	{ type: "lost", why: "x" },
	{ type: "replaced" },
	{ type: "take-back" },
	{ type: "denied", why: "x" },
	{ type: "over", why: "x" },
	{ type: "broken", why: "x" },
];

describe("step", () => {
	it.each<[Phase, Event[]]>([
		["starting", [{ type: "waiting", state: "reserved" }]],
		["connecting", [{ type: "waiting", state: "starting" }, { type: "dialing" }]],
		["connected", [{ type: "dialing" }, { type: "up" }]],
		["reconnecting", [{ type: "up" }, { type: "lost", why: "gone quiet" }]],
		["reconnecting", [{ type: "up" }, { type: "lost", why: "gone quiet" }, { type: "dialing" }]],
		["starting", [{ type: "up" }, { type: "lost", why: "" }, { type: "waiting", state: "starting" }]],
		["connected", [{ type: "up" }, { type: "lost", why: "gone quiet" }, { type: "up" }]],
		["replaced", [{ type: "up" }, { type: "replaced" }]],
		["replaced", [{ type: "up" }, { type: "replaced" }, { type: "lost", why: "closed" }]],
		["connecting", [{ type: "replaced" }, { type: "take-back" }]],
		["connected", [{ type: "up" }, { type: "take-back" }]],
		["ended", [{ type: "up" }, { type: "over", why: "stopped" }]],
		[
			"failed",
			[
				{ type: "waiting", state: "starting" },
				{ type: "broken", why: "no room" },
			],
		],
		["signed-out", [{ type: "denied", why: "expired" }]],
	])("goes to %s", (phase, events) => {
		expect(run(...events).phase).toBe(phase);
	});

	it("leaves a final phase by nothing, and keeps its reason", () => {
		for (const last of every) {
			const s = step(run({ type: "up" }), last);
			if (!isOver(s.phase)) continue;
			for (const e of every) expect(step(s, e)).toBe(s);
		}
	});

	it("gives every state of a starting session its sentence", () => {
		expect(run({ type: "waiting", state: "reserved" }).detail).toContain("reserved");
		expect(run({ type: "waiting", state: "starting" }).detail).toContain("GIMP");
		expect(run({ type: "waiting", state: "new in a later version" }).detail).not.toBe("");
	});
});
