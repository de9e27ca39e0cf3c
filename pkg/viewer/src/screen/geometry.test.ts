import { describe, expect, it } from "vitest";
import { density, place, scalePercent, toRemote, wantedSize } from "./geometry";

const windows = [
	{ w: 1920, h: 1080, dpr: 1 },
	{ w: 1536, h: 864, dpr: 1.25 },
	{ w: 1537, h: 701, dpr: 1.25 },
	{ w: 1280, h: 720, dpr: 1.5 },
	{ w: 1279, h: 719, dpr: 1.5 },
	{ w: 960, h: 540, dpr: 2 },
	{ w: 1745, h: 982, dpr: 1.1 },
	{ w: 1097, h: 617, dpr: 1.75 },
];

describe("a screen that follows the window", () => {
	it.each(windows)("is even and lies pixel on pixel in $w×$h at $dpr", (page) => {
		const size = wantedSize(page, false);
		expect(size.w % 2).toBe(0);
		expect(size.h % 2).toBe(0);
		expect(page.w * page.dpr - size.w).toBeLessThan(2.01);
		const l = place(size, page, false);
		expect([l.left, l.top]).toEqual([0, 0]);
		expect(l.w * page.dpr).toBeCloseTo(size.w, 6);
		expect(density(l)).toBeCloseTo(page.dpr, 9);
	});

	it.each(windows)("gets every click on the pixel under the pointer in $w×$h at $dpr", (page) => {
		const size = wantedSize(page, false);
		const l = place(size, page, false);
		for (let px = 0; px < size.w; px++) {
			// A mouse reports the device pixel's corner, in CSS pixels.
			expect(Math.floor(toRemote(l, px / page.dpr, 0).x)).toBe(px);
		}
		for (let py = 0; py < size.h; py++) expect(Math.floor(toRemote(l, 0, py / page.dpr).y)).toBe(py);
	});

	it("stays in bounds for tiny and giant windows", () => {
		expect(wantedSize({ w: 10, h: 10, dpr: 1 }, false)).toEqual({ w: 320, h: 320 });
		expect(wantedSize({ w: 9000, h: 9000, dpr: 2 }, false)).toEqual({ w: 8192, h: 8192 });
	});

	it("tells its scale in per cent", () => {
		expect(windows.map((p) => scalePercent(p, false))).toEqual([100, 125, 125, 150, 150, 200, 110, 175]);
		expect(scalePercent({ w: 1, h: 1, dpr: 2 }, true)).toBe(100);
	});
});

describe("a screen of another size", () => {
	it("is fitted and centred, on whole device pixels", () => {
		const l = place({ w: 1920, h: 1080 }, { w: 1000, h: 1000, dpr: 1.5 }, false);
		expect(l.w).toBeCloseTo(1000);
		expect(l.h).toBeCloseTo(562.5);
		expect(l.left).toBe(0);
		expect(Number.isInteger(Math.round(l.top * 1.5 * 1e6) / 1e6)).toBe(true);
		expect(toRemote(l, 500, l.top + l.h / 2)).toEqual({ x: 960, y: 540 });
	});

	it("keeps what lies on the picture within the screen, and lets a drag leave it", () => {
		const l = place({ w: 800, h: 600 }, { w: 1600, h: 600, dpr: 1 }, false);
		expect(l.left).toBe(400);
		expect(toRemote(l, 400, 0)).toEqual({ x: 0, y: 0 });
		expect(toRemote(l, 1200, 600)).toEqual({ x: 800 - 1 / 256, y: 600 - 1 / 256 });
		expect(toRemote(l, 0, -5)).toEqual({ x: -400, y: -5 });
		expect(toRemote(l, 1600, 700)).toEqual({ x: 1200, y: 700 });
		expect(toRemote(l, -1e9, 1e9)).toEqual({ x: -8192, y: 16384 });
	});

	it("is one remote pixel a CSS pixel at the corner when unscaled, whatever the display", () => {
		const l = place({ w: 1920, h: 1080 }, { w: 1280, h: 720, dpr: 1.5 }, true);
		expect(l).toMatchObject({ left: 0, top: 0, w: 1920, h: 1080 });
		expect(toRemote(l, 123.25, 45.5)).toEqual({ x: 123.25, y: 45.5 });
		expect(wantedSize({ w: 1281, h: 720, dpr: 1.5 }, true)).toEqual({ w: 1280, h: 720 });
	});
});
