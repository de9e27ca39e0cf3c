import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Pointer } from "./pointer";
import type { Hand } from "./sender";
import { Device, type Sample } from "./wire";

type Said = [what: string, ...args: unknown[]];

function recorder(): { hand: Hand; said: Said[] } {
	const said: Said[] = [];
	const xs = (s: readonly Sample[]) => s.map((p) => p.x);
	const hand: Hand = {
		move: (device, s) => void said.push(["move", device, xs(s), s.at(-1)?.pressure]),
		button: (device, button, down, s) => void said.push([down ? "press" : "lift", device, button, xs(s)]),
		wheel: (x, y, dx, dy) => void said.push(["wheel", x, y, dx, dy]),
		key: (down, _locks, keysym) => void said.push([down ? "keydown" : "keyup", keysym]),
		text: (text) => void said.push(["text", text]),
		release: () => void said.push(["release"]),
		proximity: (device, near) => void said.push([near ? "near" : "away", device]),
	};
	return { hand, said };
}

let target: HTMLElement;
let pointer: Pointer;
let said: Said[];
let hand: Hand | null;
let control = false;
let clock = 0;

beforeEach(() => {
	target = document.createElement("div");
	document.body.append(target);
	const r = recorder();
	hand = r.hand;
	said = r.said;
	control = false;
	clock = 1000;
	pointer = new Pointer(target, {
		hand: () => hand,
		toRemote: (x, y) => ({ x: x * 2, y: y * 2 }),
		pressed: () => {},
		modifiers: () => {},
		holdsControl: () => control,
		withControl: (act) => {
			said.push(["control down"]);
			act();
			said.push(["control up"]);
		},
		scroll: () => ({ notch: { x: 100, y: 100 }, pixel: 1 }),
		trackpad: () => null,
		done: () => {},
	});
});
afterEach(() => {
	pointer.close();
	target.remove();
});

interface Init extends PointerEventInit {
	at?: number;
	coalesced?: PointerEvent[];
}

function event(type: string, init: Init): PointerEvent {
	const e = new PointerEvent(type, {
		bubbles: true,
		cancelable: true,
		pointerId: 1,
		pointerType: "mouse",
		isPrimary: true,
		button: -1,
		...init,
	});
	Object.defineProperty(e, "timeStamp", { value: init.at ?? ++clock });
	Object.defineProperty(e, "getCoalescedEvents", { value: () => init.coalesced ?? [] });
	return e;
}
const fire = (type: string, init: Init): PointerEvent => {
	const e = event(type, init);
	target.dispatchEvent(e);
	return e;
};

describe("Pointer", () => {
	it("presses, drags and lifts the mouse", () => {
		fire("pointermove", { clientX: 10 });
		expect(fire("pointerdown", { clientX: 10, button: 0, buttons: 1 }).defaultPrevented).toBe(true);
		fire("pointermove", { clientX: 11, buttons: 1 });
		fire("pointerup", { clientX: 12, button: 0 });
		expect(said).toEqual([
			["move", Device.mouse, [20], 0],
			["press", Device.mouse, 1, [20]],
			["move", Device.mouse, [22], 0],
			["lift", Device.mouse, 1, [24]],
		]);
	});

	it.each([
		["left", 0, 1, 1],
		["middle", 1, 4, 2],
		["right", 2, 2, 3],
		["back", 3, 8, 8],
		["forward", 4, 16, 9],
	])("numbers the %s button as X does", (_name, button, buttons, x) => {
		fire("pointerdown", { button, buttons });
		fire("pointerup", { button });
		expect(said.map((s) => s.slice(0, 3))).toEqual([
			["press", Device.mouse, x],
			["lift", Device.mouse, x],
		]);
	});

	it("sees a second button that comes as a move", () => {
		fire("pointerdown", { button: 0, buttons: 1 });
		fire("pointermove", { button: 2, buttons: 3 });
		fire("pointermove", { button: 0, buttons: 2 });
		fire("pointerup", { button: 2, buttons: 0 });
		expect(said.map((s) => [s[0], s[2]])).toEqual([
			["press", 1],
			["press", 3],
			["lift", 1],
			["lift", 3],
		]);
	});

	it("sends every coalesced sample, oldest first", () => {
		const pen = { pointerType: "pen", buttons: 1 } as const;
		fire("pointerdown", { ...pen, button: 0, clientX: 0, pressure: 0.1 });
		const coalesced = [1, 2, 3].map((x) => event("pointermove", { ...pen, clientX: x, pressure: x / 4 }));
		fire("pointermove", { ...pen, clientX: 3, pressure: 0.75, coalesced });
		expect(said).toEqual([
			["near", Device.pen],
			["press", Device.pen, 1, [0]],
			["move", Device.pen, [2, 4, 6], 0.75],
		]);
	});

	it("does not send pointermove's samples again that pointerrawupdate had", () => {
		const raw = [1, 2].map((x) => event("pointerrawupdate", { clientX: x, at: 2000 }));
		fire("pointerrawupdate", { clientX: 2, at: 2000, coalesced: raw });
		const again = [1, 2].map((x) => event("pointermove", { clientX: x, at: 2000 }));
		fire("pointermove", { clientX: 2, at: 2000, coalesced: again });
		fire("pointermove", { clientX: 3, at: 2001 });
		expect(said.filter((s) => (s[2] as number[]).length > 0).map((s) => s[2])).toEqual([[2, 4], [6]]);
	});

	it("brings the eraser near before it erases", () => {
		fire("pointermove", { pointerType: "pen", clientX: 1 });
		fire("pointerdown", { pointerType: "pen", clientX: 1, button: 5, buttons: 32 });
		fire("pointerup", { pointerType: "pen", clientX: 2, button: 5 });
		fire("pointerleave", { pointerType: "pen", clientX: 2 });
		expect(said.map((s) => s.slice(0, 2))).toEqual([
			["near", Device.pen],
			["move", Device.pen],
			["away", Device.pen],
			["near", Device.eraser],
			["press", Device.eraser],
			["lift", Device.eraser],
			["away", Device.eraser],
		]);
	});

	it("tells a pen's barrel buttons, in the air and in a stroke", () => {
		fire("pointermove", { pointerType: "pen", buttons: 2 });
		fire("pointermove", { pointerType: "pen", buttons: 0 });
		fire("pointerdown", { pointerType: "pen", button: 0, buttons: 1 });
		fire("pointermove", { pointerType: "pen", button: 1, buttons: 5 });
		fire("pointerup", { pointerType: "pen", button: 0, buttons: 0 });
		expect(said.map((s) => [s[0], s[2]])).toEqual([
			["near", undefined],
			["press", 3],
			["lift", 3],
			["press", 1],
			["press", 2],
			["lift", 1],
			["lift", 2],
		]);
	});

	it("lifts what a cancelled pointer held", () => {
		fire("pointerdown", { pointerType: "pen", button: 0, buttons: 1 });
		fire("pointercancel", { pointerType: "pen" });
		expect(said.map((s) => s[0])).toEqual(["near", "press", "lift", "away"]);
	});

	it("lifts a button whose pointerup the browser lost", () => {
		fire("pointerdown", { button: 0, buttons: 1 });
		fire("pointermove", { clientX: 5, buttons: 0 });
		expect(said.at(-1)?.slice(0, 3)).toEqual(["lift", Device.mouse, 1]);
	});

	it("does not press again what was held over a blur", () => {
		fire("pointerdown", { button: 0, buttons: 1 });
		pointer.reset();
		fire("pointermove", { clientX: 5, buttons: 1 });
		fire("pointerup", { button: 0, buttons: 0 });
		fire("pointerdown", { button: 0, buttons: 1 });
		expect(said.map((s) => s[0])).toEqual(["press", "move", "move", "press"]);
	});

	it("does not press a button that was dragged in from elsewhere", () => {
		fire("pointerover", { buttons: 1 });
		fire("pointermove", { clientX: 5, buttons: 1 });
		expect(said.some((s) => s[0] === "press")).toBe(false);
	});

	it("paints with the first finger only, and with none while the pen is near", () => {
		fire("pointerdown", { pointerType: "touch", pointerId: 7, button: 0, buttons: 1 });
		fire("pointermove", { pointerType: "touch", pointerId: 7, buttons: 1, clientX: 20 });
		fire("pointerdown", { pointerType: "touch", pointerId: 8, isPrimary: false, button: 0, buttons: 1 });
		expect(said.filter((s) => s[0] === "press")).toEqual([["press", Device.touch, 1, [0]]]);
		fire("pointerup", { pointerType: "touch", pointerId: 7, button: 0, clientX: 20 });
		fire("pointerleave", { pointerType: "touch", pointerId: 7 });
		expect(said.at(-1)?.slice(0, 2)).toEqual(["lift", Device.touch]);
		fire("pointermove", { pointerType: "pen", pointerId: 2 });
		said.length = 0;
		fire("pointerdown", { pointerType: "touch", pointerId: 9, button: 0, buttons: 1 });
		fire("pointermove", { pointerType: "touch", pointerId: 9, buttons: 1, clientX: 20 });
		fire("pointerup", { pointerType: "touch", pointerId: 9, button: 0, clientX: 20 });
		expect(said).toEqual([]);
	});

	it("lets a finger lift that painted before the pen came", () => {
		fire("pointerdown", { pointerType: "touch", pointerId: 7, button: 0, buttons: 1 });
		fire("pointermove", { pointerType: "touch", pointerId: 7, buttons: 1, clientX: 20 });
		fire("pointermove", { pointerType: "pen", pointerId: 2 });
		fire("pointerup", { pointerType: "touch", pointerId: 7, button: 0 });
		expect(said.at(-1)?.slice(0, 2)).toEqual(["lift", Device.touch]);
	});

	it("says nothing and leaves the browser alone without a connection", () => {
		hand = null;
		expect(fire("pointerdown", { button: 0, buttons: 1 }).defaultPrevented).toBe(false);
		expect(said).toEqual([]);
	});

	const turn = (init: WheelEventInit): WheelEvent => {
		const e = new WheelEvent("wheel", { cancelable: true, deltaY: 100, ...init });
		// happy-dom has these on the event already, browsers on the prototype.
		for (const [k, v] of Object.entries({ clientX: 4, clientY: 8, ctrlKey: init.ctrlKey ?? false }))
			Object.defineProperty(e, k, { value: v });
		target.dispatchEvent(e);
		return e;
	};

	it("turns the wheel where the pointer is, and never zooms the page", () => {
		control = true;
		expect(turn({ ctrlKey: true }).defaultPrevented).toBe(true);
		expect(said).toEqual([["wheel", 8, 16, 0, 120]]);
	});

	it("makes a pinch into Ctrl and the wheel", () => {
		turn({ ctrlKey: true, deltaY: -35 });
		expect(said).toEqual([["control down"], ["wheel", 8, 16, 0, -502], ["control up"]]);
	});
});
