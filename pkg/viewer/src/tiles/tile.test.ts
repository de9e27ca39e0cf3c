import { describe, expect, it } from "vitest";
import golden from "../testdata/tiles.json";
import { CELL_PIXELS, decodeTile, hashPlain, hashTile } from "./tile";

const bytes = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], (h) => Number.parseInt(h, 16));

function pixels(hex: string): Int32Array {
	const b = bytes(hex);
	return Int32Array.from({ length: b.length / 3 }, (_, i) => {
		const [r = 0, g = 0, blue = 0] = b.subarray(3 * i);
		return (0xff << 24) | (blue << 16) | (g << 8) | r;
	});
}

/** A sequence of numbers that is the same each time (mulberry32). */
function random(seed: number): () => number {
	return () => {
		seed = (seed + 0x6d2b79f5) | 0;
		let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return (t ^ (t >>> 14)) >>> 0;
	};
}

describe("a tile", () => {
	it.each(golden)("of $name is what the node coded", (g) => {
		const coded = bytes(g.coded);
		const off = 5;
		const store = new Int32Array(CELL_PIXELS + 10);
		if (g.before !== "") store.set(pixels(g.before), off);
		expect(decodeTile(coded, 0, coded.length, g.columns, g.rows, store, off)).toBe(true);
		const n = g.columns * g.rows;
		expect(store.slice(off, off + n)).toEqual(pixels(g.pixels));
		expect(coded[0] === 3 ? hashPlain(g.cell, store[off] as number) : hashTile(g.cell, store, off, n)).toBe(g.hash);
		expect(store.slice(0, off)).toEqual(new Int32Array(off));
		expect(store.slice(off + n)).toEqual(new Int32Array(store.length - off - n));
	});

	it.each(golden)("of $name is refused when it is cut short or goes on", (g) => {
		const coded = bytes(g.coded);
		const store = new Int32Array(CELL_PIXELS);
		for (let end = 0; end < coded.length; end += Math.ceil(coded.length / 97))
			expect(decodeTile(coded, 0, end, g.columns, g.rows, store, 0)).toBe(false);
		expect(decodeTile(Uint8Array.of(...coded, 0xc0), 0, coded.length + 1, g.columns, g.rows, store, 0)).toBe(false);
	});

	it("that is not one is read without harm: nothing outside the cell changes, and every pixel is opaque", () => {
		const next = random(1);
		const off = 64;
		const sources = golden.map((g) => bytes(g.coded));
		for (let round = 0; round < 4000; round++) {
			const from = sources[round % sources.length] as Uint8Array;
			const junk = Uint8Array.from(round % 2 === 0 ? from : { length: next() % 400 }, (b) =>
				round % 2 === 0 ? b : next(),
			);
			for (let flips = next() % 8; flips > 0 && junk.length > 0; flips--) junk[next() % junk.length] = next();
			if (junk.length > 0 && next() % 4 > 0) junk[0] = next() % 4;
			const [columns, rows] = [1 + (next() % 64), 1 + (next() % 16)];
			const n = columns * rows;
			const store = new Int32Array(off + n + 64).fill(-1);
			const whole = decodeTile(junk, 0, junk.length, columns, rows, store, off);
			const outside = store.subarray(0, off).some((v) => v !== -1) || store.subarray(off + n).some((v) => v !== -1);
			const clear = store.subarray(off, off + n).some((v) => v >>> 24 !== 0xff);
			if (outside || clear) expect.fail(`round ${round}: ${[...junk]}`);
			expect(typeof whole).toBe("boolean");
		}
	});
});
