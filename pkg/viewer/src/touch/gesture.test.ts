import { describe, expect, it } from "vitest";
import { Gesture, gimpScroll, type Turned } from "./gesture";

const at = (x: number, y: number) => ({ x, y });
const still = { pan: [], zoom: 0 };
const scroll = { notch: { x: 100, y: 80 }, pixel: 1 };

/** What GIMP does with turns when its notches are these: it cuts off what is no whole pixel. */
function scrolled(turned: Turned[], notch: { x: number; y: number }): { x: number; y: number } {
	const moved = { x: 0, y: 0 };
	for (const { pan } of turned) {
		for (const { dx, dy, times } of pan) {
			moved.x -= times * Math.trunc((dx / 120) * notch.x);
			moved.y -= times * Math.trunc((dy / 120) * notch.y);
		}
	}
	return moved;
}

describe("Gesture", () => {
	it("does nothing while the fingers only tremble", () => {
		const g = new Gesture(at(100, 100), at(200, 100), scroll);
		expect(g.move(at(102, 99), at(201, 102))).toEqual(still);
		expect(g.moved).toBe(false);
	});

	it.each([
		["slowly", 0.7],
		["", 5],
		["fast", 60],
	])("has GIMP's picture follow the fingers %s, whatever part of the screen it has", (_, step) => {
		for (const part of [1, 0.85, 0.7, 0.51]) {
			const g = new Gesture(at(100, 100), at(200, 100), scroll);
			const turned: Turned[] = [];
			const steps = Math.ceil(240 / step);
			for (let i = 1; i <= steps; i++)
				turned.push(g.move(at(100 + i * step, 100 - i * step * 2), at(200 + i * step, 100 - i * step * 2)));
			expect(turned.every((t) => t.zoom === 0)).toBe(true);
			const moved = scrolled(turned, { x: scroll.notch.x * part, y: scroll.notch.y * part });
			expect(Math.abs(moved.x - steps * step)).toBeLessThanOrEqual(1);
			expect(Math.abs(moved.y + 2 * steps * step)).toBeLessThanOrEqual(1);
		}
	});

	it("has a picture of larger pixels follow as well", () => {
		const g = new Gesture(at(100, 100), at(200, 100), { ...scroll, pixel: 0.5 });
		expect(scrolled([g.move(at(140, 100), at(240, 100))], scroll.notch)).toEqual({ x: 80, y: 0 });
	});

	it("zooms by as much as the fingers part, and does not pan", () => {
		const g = new Gesture(at(100, 100), at(200, 100), scroll);
		let size = 1;
		for (let i = 1; i <= 50; i++) {
			const { pan, zoom } = g.move(at(100 - i, 100), at(200 + i, 100));
			expect(pan).toEqual([]);
			size *= 1 - zoom / 1200;
		}
		expect(size).toBeCloseTo(2, 5);
		expect(g.move(at(100, 100), at(200, 100)).zoom).toBeCloseTo(1200, 5);
	});

	it("does not jump when another finger takes over", () => {
		const g = new Gesture(at(100, 100), at(200, 100), scroll);
		g.move(at(120, 100), at(220, 100));
		g.settle(at(400, 400), at(500, 300));
		expect(g.move(at(400, 400), at(500, 300))).toEqual({ pan: [], zoom: 0 });
	});

	it("survives two fingers at one place", () => {
		const g = new Gesture(at(100, 100), at(100, 100), scroll);
		expect(Number.isFinite(g.move(at(100, 100), at(100, 100)).zoom)).toBe(true);
	});
});

// The sides of GIMP 3.0.4's picture: at its first layout, with the docks hidden, with docks half as wide again.
it.each([
	[1920, 1080, 1451, 951],
	[1920, 1080, 1890, 1015],
	[1600, 900, 897, 771],
	[1280, 720, 1250, 655],
	[800, 600, 331, 471],
])("turns by one pixel a time on a screen of %d×%d that shows %d×%d of the picture", (w, h, x, y) => {
	for (const [percent, density] of [
		[100, 1],
		[200, 2],
	] as const) {
		const scroll = gimpScroll({ w: w * density, h: h * density }, percent, density);
		expect(scroll.pixel).toBe(1);
		const g = new Gesture(at(100, 100), at(200, 100), scroll);
		const turned = [g.move(at(151, 63), at(251, 63))];
		expect(scrolled(turned, { x: x ** (2 / 3), y: y ** (2 / 3) })).toEqual({ x: 51, y: -37 });
	}
});
