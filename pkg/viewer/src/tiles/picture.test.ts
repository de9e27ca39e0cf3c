import { expect, it } from "vitest";
import { Picture } from "./picture";

/** The pixels of a picture, each with a number of its own. */
function numbered(w: number, h: number): { picture: Picture; pixels: Int32Array } {
	const pixels = Int32Array.from({ length: w * h }, (_, i) => i + 1);
	return { picture: new Picture(w, h, pixels), pixels };
}

it.each([
	["up", { x: 0, y: 0, w: 70, h: 34, dx: 0, dy: 6 }],
	["down", { x: 0, y: 6, w: 70, h: 34, dx: 0, dy: -6 }],
	["left", { x: 0, y: 0, w: 60, h: 40, dx: 10, dy: 0 }],
	["right", { x: 10, y: 0, w: 60, h: 40, dx: -10, dy: 0 }],
	["aslant", { x: 12, y: 5, w: 40, h: 20, dx: 9, dy: -3 }],
	["nowhere", { x: 3, y: 3, w: 9, h: 9, dx: 0, dy: 0 }],
])("moves a part %s, and leaves the rest", (_, s) => {
	const { picture, pixels } = numbered(70, 40);
	const before = pixels.slice();
	expect(picture.holds(s)).toBe(true);
	picture.shift(s);
	const want = before.slice();
	for (let y = s.y; y < s.y + s.h; y++)
		for (let x = s.x; x < s.x + s.w; x++) want[y * 70 + x] = before[(y + s.dy) * 70 + x + s.dx] as number;
	expect(pixels).toEqual(want);
});

it("reads cells as they were written, at the edges too, and those of one colour", () => {
	const picture = new Picture(74, 22);
	expect([picture.wide, picture.cells]).toEqual([2, 4]);
	const cell = new Int32Array(64 * 16);
	for (let i = 0; i < 4; i++) {
		const n = picture.columns(i) * picture.rows(i);
		picture.write(
			i,
			Int32Array.from({ length: n + 3 }, (_, j) => i * 10_000 + j),
			3,
		);
	}
	picture.paint(1, 1, 7);
	const begins = [3, 7, 20_003, 30_003];
	for (let i = 0; i < 4; i++) {
		picture.read(i, cell);
		const last = picture.columns(i) * picture.rows(i) - 1;
		const first = begins[i] as number;
		expect([cell[0], cell[last]]).toEqual([first, i === 1 ? first : first + last]);
	}
	picture.shift({ x: 0, y: 0, w: 10, h: 16, dx: 64, dy: 0 });
	picture.read(0, cell);
	expect([cell[0], cell[9], cell[10]]).toEqual([7, 7, 13]);
});
