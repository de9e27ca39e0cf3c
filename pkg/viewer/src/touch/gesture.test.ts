import { describe, expect, it } from "vitest";
import { Gesture, PAN_FROM, scrollNotch } from "./gesture";

const at = (x: number, y: number) => ({ x, y });

describe("Gesture", () => {
	it("does nothing while the fingers only tremble", () => {
		const g = new Gesture(at(100, 100), at(200, 100), 100);
		expect(g.move(at(102, 99), at(201, 102))).toEqual({ pan: { dx: 0, dy: 0 }, zoom: 0 });
		expect(g.moved).toBe(false);
	});

	it("pans by as much as the fingers moved, from where they began, and does not zoom", () => {
		const g = new Gesture(at(100, 100), at(200, 100), 100);
		let dx = 0;
		let dy = 0;
		for (let i = 1; i <= 50; i++) {
			const t = g.move(at(100 + i, 100 - 2 * i), at(200 + i, 100 - 2 * i));
			dx += t.pan.dx;
			dy += t.pan.dy;
			expect(t.zoom).toBe(0);
		}
		// The picture follows: fingers to the right and up turn the wheel to the left and down.
		expect(dx).toBe(-60);
		expect(dy).toBe(120);
		expect(PAN_FROM).toBeLessThan(50);
	});

	it("zooms a notch for each \u221a2 between the fingers, and does not pan", () => {
		const g = new Gesture(at(100, 100), at(200, 100), 100);
		const t = g.move(at(50, 100), at(250, 100));
		expect(t).toEqual({ pan: { dx: 0, dy: 0 }, zoom: -240 });
		expect(g.move(at(100, 100), at(200, 100)).zoom).toBe(240);
	});

	it("does not jump when another finger takes over", () => {
		const g = new Gesture(at(100, 100), at(200, 100), 100);
		g.move(at(120, 100), at(220, 100));
		g.settle(at(400, 400), at(500, 300));
		expect(g.move(at(400, 400), at(500, 300))).toEqual({ pan: { dx: 0, dy: 0 }, zoom: 0 });
	});

	it("survives two fingers at one place", () => {
		const g = new Gesture(at(100, 100), at(100, 100), 100);
		expect(Number.isFinite(g.move(at(100, 100), at(100, 100)).zoom)).toBe(true);
	});
});

it("knows how far GIMP scrolls in a notch", () => {
	expect(scrollNotch(1080)).toBeGreaterThan(80);
	expect(scrollNotch(1080)).toBeLessThan(95);
});
