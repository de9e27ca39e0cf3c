import { beforeEach, describe, expect, it, vi } from "vitest";
import { KEEP } from "./backlog";
import { HandNotes } from "./handnotes";
import { SteadyHand, type TakenUp, type Way } from "./steady";
import { Device, type Sample } from "./wire";

const sample: Sample = { x: 1, y: 2, pressure: 0, tiltX: 0, tiltY: 0, twist: 0, buttons: 1, time: 0 };

/** A way that notes what comes by it, and answers when the test says. */
class FakeWay extends HandNotes implements Way {
	answer!: (t: TakenUp) => void;

	takeUp(): Promise<TakenUp> {
		return new Promise((resolve) => {
			this.answer = resolve;
		});
	}
}

let now: number;
let said: string[];
let letGo: number;
let steady: SteadyHand;
beforeEach(() => {
	now = 1000;
	said = [];
	letGo = 0;
	const host = {
		say: (text: string) => void said.push(text),
		letGo: () => {
			letGo++;
			steady.gate.release();
		},
	};
	steady = new SteadyHand(host, () => now);
});

const settled = () => vi.waitFor(() => expect(steady.gate.held).toBe(false));

async function connected(became: TakenUp = "all"): Promise<FakeWay> {
	const way = new FakeWay();
	steady.lead(way);
	way.answer(became);
	await settled();
	return way;
}

function paint(): void {
	const { gate } = steady;
	gate.button(Device.pen, 1, true, [sample]);
	gate.move(Device.pen, [sample]);
	gate.button(Device.pen, 1, false, [sample]);
}

describe("SteadyHand", () => {
	it("brings what was painted without a way by the next one, after what that has to say first", async () => {
		await connected();
		steady.left(0);
		steady.gate.move(Device.pen, [sample]); // nothing is painted by that
		paint();
		const way = new FakeWay();
		steady.lead(way);
		steady.gate.key(true, 0, 98, 48);
		expect(way.did).toEqual([]);
		way.answer("all");
		await settled();
		expect(way.did).toEqual(["button", "move", "button", "key"]);
		expect([said, letGo]).toEqual([[], 0]);
	});

	it("keeps what waits when the next way breaks as well", async () => {
		await connected();
		steady.left(0);
		paint();
		const broken = new FakeWay();
		steady.lead(broken);
		broken.answer("broken");
		await vi.waitFor(() => expect(steady.gate.held).toBe(true));
		steady.left(0);
		const way = await connected();
		expect(broken.did).toEqual([]);
		expect(way.did).toEqual(["button", "move", "button"]);
	});

	it("drops all of it when it comes too late, says so, and holds nothing down", async () => {
		await connected();
		steady.left(0);
		paint();
		now += KEEP + 1;
		steady.gate.key(true, 0, 98, 48);
		expect(steady.gate.spent).toBe(true);
		const way = await connected();
		expect(way.did).toEqual(["release"]);
		expect(said).toEqual([expect.stringContaining("is lost")]);
		expect(letGo).toBeGreaterThan(0);
		steady.gate.key(true, 0, 98, 48);
		expect(way.did.at(-1)).toBe("key");
	});

	it("drops what waits where what went before it is lost", async () => {
		await connected();
		steady.left(0);
		paint();
		const way = await connected("late");
		expect(way.did).toEqual(["release"]);
		expect(said).toEqual([expect.stringContaining("is lost")]);
	});

	it("says that something may be missing where nobody knows what arrived, and only if there was something", async () => {
		await connected();
		now += 5000;
		steady.left(1000);
		await connected("unknown");
		expect(said).toEqual([]);
		steady.backlog.said(1, new ArrayBuffer(8), "once", now);
		now += 500;
		steady.left(1000);
		paint();
		const way = await connected("unknown");
		expect(said).toEqual([expect.stringContaining("may be missing")]);
		expect(way.did).toEqual(["button", "move", "button"]);
	});

	it("has nothing to say of a rest without a way, however long", async () => {
		await connected();
		steady.left(0);
		steady.gate.release();
		steady.gate.proximity(Device.pen, false);
		now += 10 * KEEP;
		const way = await connected();
		expect(way.did).toEqual(["release", "proximity"]);
		expect(said).toEqual([]);
	});

	it("leaves what waits to nobody when the next way has a hand of its own, or the session is elsewhere", async () => {
		await connected();
		steady.left(0);
		steady.lead({ hand: null });
		expect(said).toEqual([]);
		paint();
		steady.lead({ hand: null });
		expect(said).toEqual([expect.stringContaining("is lost")]);
		paint();
		steady.drop();
		expect((await connected()).did).toEqual([]);
		expect(steady.backlog.fresh).toBe(true);
	});
});
