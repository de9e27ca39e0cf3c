import { describe, expect, it } from "vitest";
import { type Turn, Wheel } from "./wheel";

const turn = (t: Partial<Turn>): Turn => ({ deltaX: 0, deltaY: 0, deltaMode: 0, shiftKey: false, ...t });

describe("Wheel", () => {
	it.each<[string, Partial<Turn>, number, number]>([
		["Chromium's notch", { deltaY: 120, wheelDeltaY: -120 }, 0, 120],
		["Chromium's notch at a page zoom of 150 %", { deltaY: 66.7, wheelDeltaY: -120 }, 0, 120],
		["two notches up", { deltaY: -240, wheelDeltaY: 240 }, 0, -240],
		["Firefox's notch in lines", { deltaY: 3, deltaMode: 1 }, 0, 120],
		["a page", { deltaY: 1, deltaMode: 2 }, 0, 360],
		["pixels without ticks", { deltaY: 100 }, 0, 120],
		["a touchpad's small step", { deltaY: 4, wheelDeltaY: -12 }, 0, 4],
		["sideways", { deltaX: 50 }, 60, 0],
		["Shift turned sideways by the system", { deltaX: 100, shiftKey: true }, 0, 120],
		["nonsense", { deltaY: Number.NaN, deltaX: Number.POSITIVE_INFINITY }, 0, 0],
	])("reads %s", (_name, t, dx, dy) => {
		const w = new Wheel().add(turn(t));
		expect([w.dx + 0, w.dy + 0]).toEqual([dx, dy]);
	});

	it("loses nothing of a slow touchpad", () => {
		const w = new Wheel();
		let sum = 0;
		for (let i = 0; i < 100; i++) sum += w.add(turn({ deltaY: 0.5 })).dy;
		expect(sum).toBe(60);
	});

	it("turns at once when the direction changes", () => {
		const w = new Wheel();
		w.add(turn({ deltaY: 0.8 }));
		expect(w.add(turn({ deltaY: -1 })).dy).toBe(-1);
	});

	it("makes a pinch into the turn that zooms GIMP as much, a tenth a notch", () => {
		expect(1 - new Wheel().add(turn({ deltaY: -35 }), true).dy / 1200).toBeCloseTo(Math.exp(0.35), 2);
		expect(1 / (1 + new Wheel().add(turn({ deltaY: 35 }), true).dy / 1200)).toBeCloseTo(Math.exp(-0.35), 2);
	});
});
