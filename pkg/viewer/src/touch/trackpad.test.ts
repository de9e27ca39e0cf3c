import { describe, expect, it } from "vitest";
import type { Point } from "../screen/geometry";
import { Trackpad } from "./trackpad";

function pad() {
	const drawn: (Point | null)[] = [];
	const trackpad = new Trackpad({
		screen: () => ({ size: { w: 1000, h: 800 }, density: 2 }),
		draw: (at) => void drawn.push(at),
	});
	return { trackpad, drawn };
}

describe("Trackpad", () => {
	it("begins in the middle and moves as far as a slow finger", () => {
		const { trackpad, drawn } = pad();
		expect(trackpad.at).toEqual({ x: 500, y: 400 });
		trackpad.move(3, -1, 16);
		expect(trackpad.at).toEqual({ x: 506, y: 398 });
		expect(drawn.at(-1)).toEqual({ x: 506, y: 398 });
	});

	it("moves further for a fast finger, but never out of the screen", () => {
		const { trackpad } = pad();
		trackpad.move(20, 0, 16);
		expect(trackpad.at.x).toBeGreaterThan(560);
		expect(trackpad.at.x).toBeLessThanOrEqual(620);
		for (let i = 0; i < 50; i++) trackpad.move(50, 50, 16);
		expect(trackpad.at).toEqual({ x: 999, y: 799 });
	});

	it("is taken away", () => {
		const { trackpad, drawn } = pad();
		trackpad.show();
		trackpad.hide();
		expect(drawn).toEqual([{ x: 500, y: 400 }, null]);
	});
});
