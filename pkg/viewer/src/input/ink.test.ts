import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Ink } from "./ink";

let root: HTMLElement;
let button: HTMLButtonElement;
let ink: Ink;
let clock: number;
/** The line on the canvas now, as x's; empty: there is none. */
let line: number[];

beforeEach(() => {
	vi.useFakeTimers();
	root = document.createElement("div");
	button = document.createElement("button");
	document.body.append(root);
	clock = 1000;
	line = [];
	let path: number[] = [];
	const context = {
		setTransform: () => {},
		clearRect: () => {
			line = [];
		},
		beginPath: () => {
			path = [];
		},
		moveTo: (x: number) => path.push(x),
		lineTo: (x: number) => path.push(x),
		stroke: () => {
			line = path;
		},
	};
	vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(context as never);
	ink = new Ink(root, button, true, () => clock);
});
afterEach(() => {
	ink.close();
	expect(line).toEqual([]);
	expect(vi.getTimerCount()).toBe(0);
	root.remove();
	vi.restoreAllMocks();
	vi.useRealTimers();
});

interface Init extends PointerEventInit {
	real?: number[];
	predicted?: number[];
}

function fire(type: string, x: number, { real = [], predicted = [], ...init }: Init = {}): void {
	const make = (at: number, time: number): PointerEvent => {
		const e = new PointerEvent(type, {
			bubbles: true,
			pointerId: 3,
			pointerType: "pen",
			isPrimary: true,
			buttons: 1,
			clientX: at,
			...init,
		});
		Object.defineProperty(e, "timeStamp", { value: time });
		return e;
	};
	clock += 4;
	const e = make(x, clock);
	Object.defineProperty(e, "getCoalescedEvents", { value: () => real.map((at) => make(at, clock)) });
	Object.defineProperty(e, "getPredictedEvents", { value: () => predicted.map((at) => make(at, clock + 10)) });
	root.dispatchEvent(e);
}

describe("Ink", () => {
	it("goes from the press to the nib and on to where that is predicted to be", () => {
		fire("pointerdown", 10);
		fire("pointermove", 14, { real: [12, 14], predicted: [18, 22] });
		expect(line).toEqual([10, 12, 14, 18, 22]);
		fire("pointermove", 16, { real: [16], predicted: [19] });
		expect(line).toEqual([10, 12, 14, 16, 19]);
	});

	it("is replaced by the picture", () => {
		fire("pointerdown", 10);
		fire("pointermove", 14, { predicted: [18] });
		const until = clock;
		fire("pointermove", 20);
		ink.pictured(until);
		expect(line).toEqual([14, 20]);
		ink.pictured(clock);
		expect(line).toEqual([]);
		fire("pointerup", 20, { buttons: 0 });
		expect(line).toEqual([]);
	});

	it("leaves what is painted, and not what was predicted, when the pen goes up", () => {
		fire("pointerdown", 10);
		fire("pointermove", 14, { predicted: [18, 22] });
		fire("pointerup", 14, { buttons: 0 });
		expect(line).toEqual([10, 14]);
		ink.pictured(clock);
		expect(line).toEqual([]);
	});

	it("ends by itself where no picture comes", () => {
		fire("pointerdown", 10);
		fire("pointermove", 14, { predicted: [18] });
		clock += 400;
		vi.advanceTimersByTime(400);
		expect(line).toEqual([]);
	});

	it("goes no further than it may", () => {
		fire("pointerdown", 10);
		fire("pointermove", 14, { predicted: [44, 74, 104, 134] });
		expect(line).toEqual([10, 14, 44, 74]);
	});

	it.each([
		["in the air", { buttons: 0 }],
		["with a barrel button", { buttons: 2 }],
		["by an eraser", { buttons: 32, button: 5 }],
		["by a second finger", { isPrimary: false }],
	])("is not drawn %s", (_name, init) => {
		fire("pointerdown", 10, init);
		fire("pointermove", 14, { ...init, predicted: [18] });
		expect(line).toEqual([]);
	});

	it("ends with the stroke when another button comes or the window is left", () => {
		fire("pointerdown", 10);
		fire("pointermove", 14, { predicted: [18] });
		fire("pointermove", 15, { buttons: 3 });
		fire("pointermove", 30);
		expect(line).toEqual([10, 14]);
		fire("pointerdown", 10);
		fire("pointermove", 14, { predicted: [18] });
		window.dispatchEvent(new Event("blur"));
		expect(line).toEqual([10, 14]);
	});

	it("is off when the artist turns it off, and nothing of it is left", () => {
		fire("pointerdown", 10);
		fire("pointermove", 14);
		button.click();
		expect(root.querySelector("canvas")).toBeNull();
		expect([line, button.getAttribute("aria-pressed")]).toEqual([[], "false"]);
		fire("pointermove", 18);
		expect(line).toEqual([]);
		button.click();
		expect(root.querySelector("canvas.ink")).not.toBeNull();
	});
});
