// The whole way of exact tiles in the page: messages → reader → ring → canvas, kept in step by frames.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import golden from "../testdata/tiles.json";
import { ExactLayer } from "./exact";
import { TileReader } from "./reader";
import { Ring, Word } from "./ring";
import { hashPlain, hashTile } from "./tile";
import { Kind, writeReport } from "./wire";

interface Tile {
	pixels: string;
	coded: string;
	hash: number;
}
const named = (name: string): Tile => golden.find((g) => g.name === name) as Tile;
const [flat, text] = [named("a gradient"), named("text")];
// Two cells: the golden tiles are of number 0, whose hash differs from that of others.
const W = 128;
const H = 16;

const hex = (s: string): number[] => (s.match(/../g) ?? []).map((h) => Number.parseInt(h, 16));
const u16 = (v: number): number[] => [v & 255, v >> 8];
const u32 = (v: number): number[] => [v & 255, (v >>> 8) & 255, (v >>> 16) & 255, v >>> 24];

/** Pixels as the page has them. */
const words = (rgb: string): Int32Array => {
	const b = hex(rgb);
	const at = (i: number): number => b[i] as number;
	return Int32Array.from(
		{ length: b.length / 3 },
		(_, i) => (0xff << 24) | (at(3 * i + 2) << 16) | (at(3 * i + 1) << 8) | at(3 * i),
	);
};

let n: number;
function message(kind: number, gen: number, after: number | null, count: number, body: number[]): ArrayBuffer {
	const flags = after === null ? 0 : 1;
	return Uint8Array.from([kind, flags, ...u16(count), ...u32(++n), ...u32(gen), ...u32(after ?? 0), ...body]).buffer;
}
const size = (gen: number, after: number | null, w = W, h = H) =>
	message(Kind.size, gen, after, 0, [...u16(w), ...u16(h)]);
const tile = (gen: number, after: number | null, t: Tile, hash = t.hash) =>
	message(Kind.tiles, gen, after, 1, [...u16(0), ...u16(t.coded.length / 2), ...u32(hash), ...hex(t.coded)]);
/** A tile of one colour, 0xRRGGBB, for `more` cells too. */
function plain(gen: number, cell: number, rgb: number, more: number, hash?: number): ArrayBuffer {
	const colour = [rgb >> 16, (rgb >> 8) & 255, rgb & 255];
	const swapped = (rgb >> 16) | (rgb & 0xff00) | ((rgb & 255) << 16);
	const record = [...u16(cell), ...u16(6), ...u32(hash ?? hashPlain(cell, swapped)), 3, ...colour, ...u16(more)];
	return message(Kind.tiles, gen, null, 1, record);
}
/** What is at (x, y) is now what was at (x + dx, y + dy), and then come records of tiles. */
function shifted(gen: number, [x, y, w, h, dx, dy]: number[], ...records: number[][]): ArrayBuffer {
	const body = [x, y, w, h, dx, dy].flatMap((v) => u16((v as number) & 0xffff));
	const record = [...u16(0), ...u16(13), ...u32(0), 4, ...body];
	return message(Kind.tiles, gen, null, 1 + records.length, [...record, ...records.flat()]);
}
/** The same message, as one whose tiles are only kept. */
function kept(m: ArrayBuffer): ArrayBuffer {
	const flags = new DataView(m);
	flags.setUint8(1, flags.getUint8(1) | 2);
	return m;
}
/** A record that only proves what a cell is. */
const proof = (cell: number, pixels: Int32Array): number[] => [
	...u16(cell),
	...u16(4),
	...u32(hashTile(cell, pixels, 0, pixels.length)),
	1,
	0xfd,
	...u16(pixels.length),
];
const covered = (gen: number, after: number) => message(Kind.video, gen, after, 1, [...u16(0), ...u16(2)]);
/** A frame's timestamp: when, and what it goes with. */
const frame = (at: number, gen: number): number => ((at << 6) | (gen & 63)) >>> 0;

let drawn: string[];
let canvas: HTMLCanvasElement;
let ring: Ring;
let reader: TileReader;
let layer: ExactLayer;
let reports: number;
let changes: number[];
let told: boolean[];
let onShow: number | null;

beforeEach(() => {
	vi.useFakeTimers();
	vi.stubGlobal("ImageData", FakeImage);
	n = 0;
	drawn = [];
	reports = 0;
	canvas = document.createElement("canvas");
	const context = {
		// The piece from (left, top) on, by its first pixel.
		putImageData: (image: FakeImage, _x: number, _y: number, left: number, top: number) =>
			drawn.push(`${left}:${[...image.data.subarray((top * image.width + left) * 4).subarray(0, 3)]}`),
		clearRect: (x: number) => drawn.push(`${x}:clear`),
		fillStyle: "",
		fillRect: (...r: number[]) => drawn.push(`${r}:${context.fillStyle}`),
	};
	canvas.getContext = (() => context) as unknown as HTMLCanvasElement["getContext"];
	ring = new Ring(new ArrayBuffer(Ring.bytes(1 << 13)));
	reader = new TileReader(ring);
	const port = { report: () => reports++, close: () => {} };
	told = [];
	onShow = null;
	changes = [];
	layer = new ExactLayer(canvas, ring, port, {
		onShow: () => onShow,
		exact: (all) => told.push(all),
		drawn: (message, received, read) => {
			expect(received).toBeLessThanOrEqual(read + 0.2);
			changes.push(message);
		},
	});
});
afterEach(() => {
	layer.close();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
	vi.unstubAllGlobals();
});

const visible = (): boolean => canvas.style.visibility === "visible";

class FakeImage {
	readonly data: Uint8ClampedArray;
	constructor(
		readonly width: number,
		h: number,
	) {
		this.data = new Uint8ClampedArray(width * h * 4);
	}
}

function comes(...messages: ArrayBuffer[]): void {
	for (const m of messages) expect(reader.take(m)).toBe(true);
	layer.wake();
}

describe("the exact layer", () => {
	it("shows tiles, and says how many of how many are exact", () => {
		comes(size(1, null));
		expect(layer.tiles).toMatchObject({ all: 2, exact: 0 });
		expect(visible()).toBe(false);
		comes(tile(1, null, flat));
		expect(drawn).toEqual([`0:${pixel(flat)}`]);
		expect([canvas.width, canvas.height, visible()]).toEqual([W, H, true]);
		expect(layer.tiles).toMatchObject({ all: 2, exact: 1 });
		expect(reports).toBe(2);
		expect(ring.control[Word.n]).toBe(2);
	});

	it("fills cells of one colour, whole rows of them at once", () => {
		comes(size(1, null, 3 * 64, 4 * 16), plain(1, 1, 0x0a141e, 10));
		const colour = "rgb(10 20 30)";
		expect(drawn).toEqual([`64,0,128,16:${colour}`, `0,16,192,48:${colour}`]);
		expect(layer.tiles).toMatchObject({ all: 12, exact: 11 });
		comes(plain(2, 0, 0xffffff, 0));
		expect(told).toEqual([true]);
		expect(drawn.slice(2)).toEqual(["0,0,64,16:rgb(255 255 255)"]);
		vi.advanceTimersByTime(20);
	});

	it("reads what is new of a cell that had one colour", () => {
		const stroke = named("a stroke over one colour");
		comes(size(1, null), plain(1, 0, 0xfafafa, 1), tile(2, null, stroke));
		expect(ring.control[Word.bad]).toBe(0);
		expect(drawn.slice(1)).toEqual([`0:${pixel(stroke)}`]);
		vi.advanceTimersByTime(20);
	});

	it("moves what it has, and counts it as exact once it is proven", () => {
		comes(size(1, null, 64, 48), tile(1, null, text), plain(2, 1, 0x0a141e, 0));
		expect(layer.tiles).toMatchObject({ all: 3, exact: 2 });
		comes(shifted(3, [0, 16, 64, 32, 0, -16]));
		expect(drawn.slice(2)).toEqual([`0:${pixel(text)}`]);
		expect([visible(), layer.tiles]).toMatchObject([true, { all: 3, exact: 1 }]);
		// What was one colour is written out, and goes along.
		const [written, one] = [words(text.pixels), new Int32Array(64 * 16).fill(0xff1e140a | 0)];
		comes(message(Kind.tiles, 3, null, 2, [...proof(1, written), ...proof(2, one)]));
		expect(ring.control[Word.bad]).toBe(0);
		expect(layer.tiles).toMatchObject({ all: 3, exact: 3 });
		expect(told).toEqual([true]);
		vi.advanceTimersByTime(20);
	});

	it("takes a cell of which only a part moves from the tile that comes with it", () => {
		comes(size(1, null, 64, 32), tile(1, null, text), plain(2, 1, 0x0a141e, 0));
		const half = new Int32Array(64 * 16).fill(0xff1e140a | 0);
		const from = words(text.pixels);
		for (let y = 0; y < 8; y++) half.set(from.subarray((y + 6) * 64, (y + 6) * 64 + 64), y * 64);
		comes(shifted(3, [0, 16, 64, 8, 0, -10], proof(1, half)));
		expect(ring.control[Word.bad]).toBe(0);
		expect(layer.tiles).toMatchObject({ all: 2, exact: 2 });
		vi.advanceTimersByTime(20);
	});

	it("goes by the video where a cell is not what moved", () => {
		comes(size(1, null, 64, 32), tile(1, null, text));
		comes(shifted(2, [0, 16, 64, 16, 0, -16]));
		comes(message(Kind.tiles, 2, null, 1, proof(1, new Int32Array(64 * 16))));
		expect([ring.control[Word.bad], visible()]).toEqual([1, false]);
		vi.advanceTimersByTime(20);
	});

	it("shows nothing of what it only keeps, until that moves or is proven", () => {
		comes(size(1, null, 64, 64), kept(tile(1, null, text)), kept(plain(1, 1, 0x0a141e, 0)));
		expect([drawn, visible(), layer.tiles]).toMatchObject([[], false, { exact: 0 }]);
		comes(kept(shifted(1, [0, 16, 64, 32, 0, -16])));
		expect([drawn, visible(), layer.tiles]).toMatchObject([[], false, { exact: 0 }]);
		expect(ring.control[Word.n]).toBe(4);
		comes(message(Kind.tiles, 1, null, 1, proof(1, words(text.pixels))));
		expect([drawn, visible(), layer.tiles]).toMatchObject([[`0:${pixel(text)}`], true, { exact: 1 }]);
		comes(shifted(2, [0, 32, 64, 32, 0, -16]));
		expect(drawn.slice(1)).toEqual([`0:${pixel(text)}`]);
		comes(message(Kind.tiles, 2, null, 1, proof(3, new Int32Array(64 * 16).fill(0xff1e140a | 0))));
		expect([ring.control[Word.bad], layer.tiles]).toMatchObject([0, { exact: 2 }]);
		vi.advanceTimersByTime(20);
	});

	it("leaves what is on show as it is, whatever it keeps of the same place", () => {
		comes(size(1, null), tile(1, null, flat), kept(plain(1, 0, 0x0a141e, 0)));
		expect([drawn, visible(), layer.tiles]).toMatchObject([[`0:${pixel(flat)}`], true, { exact: 1 }]);
	});

	it("hides the canvas where what it keeps was read wrong", () => {
		comes(size(1, null), tile(1, null, flat), kept(tile(1, null, text, text.hash ^ 1)));
		expect([ring.control[Word.bad], visible()]).toEqual([1, false]);
	});

	it("draws a move right after the beat that shows the one before, if that is near", () => {
		const moves = (gen: number): void => comes(shifted(gen, [0, 16, 64, 32, 0, -16]));
		const beat = (): void => {
			vi.advanceTimersToNextFrame();
			vi.advanceTimersByTime(1);
		};
		comes(size(1, null, 64, 48), plain(2, 0, 0x0a141e, 2));
		for (let gen = 3; gen < 7; gen++, beat()) moves(gen);
		drawn = [];
		moves(7);
		vi.advanceTimersByTime(3);
		moves(8);
		expect(drawn).toHaveLength(2);
		vi.advanceTimersByTime(9);
		moves(9);
		expect([drawn.length, ring.control[Word.n]]).toEqual([2, 8]);
		beat();
		expect([drawn.length, ring.control[Word.n]]).toEqual([3, 9]);
		// One that keeps no pace is left behind.
		vi.advanceTimersByTime(12);
		moves(10);
		moves(11);
		expect(drawn).toHaveLength(4);
		beat();
		expect(drawn).toHaveLength(5);
		beat();
	});

	it.each([
		["from beyond the screen", [0, 16, 64, 16, 0, 1]],
		["from before it", [0, 0, 64, 16, -1, 0]],
		["to beyond it", [1, 0, 64, 16, 0, 0]],
		["nothing", [0, 0, 0, 16, 0, 0]],
	])("does not understand what moves %s", (_, to) => {
		comes(size(1, null, 64, 32));
		expect(reader.take(shifted(2, to))).toBe(false);
	});

	it("does not understand what moves in a message of no records", () => {
		comes(size(1, null, 64, 32));
		const moves = shifted(2, [0, 16, 64, 16, 0, -16]);
		new DataView(moves).setUint16(2, 0, true);
		expect(reader.take(moves)).toBe(false);
	});

	it.each([
		["reaches beyond the screen", 1, undefined],
		["has another hash", 0, 1],
	])("does not understand a tile of one colour that %s", (_, more, hash) => {
		comes(size(1, null));
		expect(reader.take(plain(1, 1, 0x0a141e, more, hash))).toBe(false);
	});

	it("waits for the frame that a message is for, and with what comes after it", () => {
		comes(size(1, frame(10, 1)), tile(1, null, flat));
		expect(drawn).toEqual([]);
		layer.video(frame(9, 1), 3);
		expect(drawn).toEqual([]);
		expect(layer.tiles.exact).toBe(0);
		layer.video(frame(11, 1), 3);
		expect(drawn).toHaveLength(1);
		expect(layer.tiles.exact).toBe(1);
	});

	it("does not count as its own time how long a message waited behind one that is for a frame", () => {
		comes(size(1, null), tile(2, frame(10, 2), flat));
		vi.advanceTimersByTime(50);
		comes(tile(3, null, text));
		vi.advanceTimersByTime(50);
		layer.video(frame(10, 2), 3);
		expect([drawn.length, ring.control[Word.tile]]).toEqual([2, 0]);
	});

	it("is hidden while the frame on show knows of a change that has not come yet", () => {
		comes(size(1, null), tile(1, null, flat));
		layer.video(frame(10, 1), 3);
		expect(visible()).toBe(true);
		layer.video(frame(11, 2), 3);
		expect(visible()).toBe(false);
		expect(layer.tiles.exact).toBe(0);
		comes(tile(2, null, text));
		expect(visible()).toBe(true);
		expect(drawn).toHaveLength(2);
	});

	it("gives cells to the video with the very frame that has them newer", () => {
		comes(size(1, null), tile(1, null, flat), covered(2, frame(12, 2)));
		layer.video(frame(11, 1), 3);
		expect(visible()).toBe(true);
		layer.video(frame(12, 2), 3);
		expect(told).toEqual([]);
		expect(visible()).toBe(false);
		expect(layer.tiles).toMatchObject({ all: 2, exact: 0 });
		comes(tile(3, null, text));
		expect(drawn.slice(-2)).toEqual(["0:clear", `0:${pixel(text)}`]);
	});

	it("stays on show while many changes go by tiles and no frame comes", () => {
		comes(size(1, null));
		layer.video(frame(10, 1), 3);
		for (let gen = 2; gen < 300; gen++) {
			comes(tile(gen, frame(10, 1), gen % 2 === 0 ? flat : text));
			expect(visible()).toBe(true);
		}
		expect(changes).toHaveLength(298);
		layer.video(frame(20, 299), 3);
		expect(visible()).toBe(true);
		layer.video(frame(21, 300), 3);
		expect(visible()).toBe(false);
	});

	it("asks the video what it shows when the browser does not tell of a frame", () => {
		comes(size(1, null), tile(1, frame(50, 1), flat));
		onShow = frame(49, 1);
		vi.advanceTimersByTime(1000);
		expect(drawn).toEqual([]);
		onShow = frame(50, 1);
		vi.advanceTimersByTime(301);
		expect(drawn).toHaveLength(1);
	});

	it("shows nothing that was read wrong, until the video has taken the place of all", () => {
		comes(size(1, null), tile(1, null, flat));
		layer.video(frame(10, 1), 3);
		comes(tile(2, null, text, text.hash + 1));
		expect(visible()).toBe(false);
		expect(ring.control[Word.bad]).toBe(1);
		comes(covered(3, frame(12, 3)), tile(3, frame(12, 3), flat));
		expect(visible()).toBe(false);
		layer.video(frame(12, 3), 3);
		expect(visible()).toBe(true);
		expect(layer.tiles.exact).toBe(1);
	});

	// What the browser keeps until after its next frame lies in the ring already when that frame comes.
	it("looks for tiles by the page's own frames under a hand, if there are frames anyhow", () => {
		const idle: ((d: IdleDeadline) => void)[] = [];
		vi.stubGlobal("requestIdleCallback", (f: (d: IdleDeadline) => void) => idle.push(f));
		vi.stubGlobal("cancelIdleCallback", () => {});
		comes(size(1, null));
		const arrives = (): number => {
			const before = drawn.length;
			layer.hand();
			expect(reader.take(tile(layer.tiles.exact + 1, null, flat))).toBe(true);
			vi.advanceTimersByTime(17);
			return drawn.length - before;
		};
		for (const [short, frames] of [
			[true, 0],
			[true, 0],
			[true, 1],
			[false, 1],
			[true, 0],
		] as const) {
			expect(arrives()).toBe(frames);
			layer.wake();
			vi.advanceTimersByTime(300);
			idle.pop()?.({ didTimeout: false, timeRemaining: () => (short ? 9 : 40) });
		}
	});

	it("tells when the whole picture has become exact, and when it no longer is", () => {
		comes(size(1, null, 64), tile(1, null, flat));
		expect(told).toEqual([true]);
		layer.video(frame(10, 2), 3);
		expect(told).toEqual([true, false]);
		comes(tile(2, null, text));
		expect(told).toEqual([true, false, true]);
		layer.close();
		expect(told).toEqual([true, false, true, false]);
	});

	it("begins anew with another size", () => {
		comes(size(1, null), tile(1, null, flat));
		layer.video(frame(10, 1), 3);
		comes(size(2, frame(12, 2), 64, 40));
		expect(canvas.width).toBe(W);
		layer.video(frame(12, 2), 3);
		expect([canvas.width, canvas.height, visible()]).toEqual([64, 40, false]);
		expect(layer.tiles).toMatchObject({ all: 3, exact: 0 });
	});

	it("holds what finds no room in the ring, and goes on in order", () => {
		comes(size(1, frame(10, 1)));
		const many = Array.from({ length: 20 }, (_, i) => tile(i + 2, null, i % 2 === 0 ? flat : text));
		for (const m of many) expect(reader.take(m)).toBe(true);
		expect(drawn).toEqual([]);
		for (let round = 0; round < 20 && drawn.length < 20; round++) {
			layer.video(frame(10, 1), 3);
			expect(reader.resume()).toBe(true);
			layer.wake();
		}
		expect(drawn).toHaveLength(20);
		expect(drawn[19]).toBe(`0:${pixel(text)}`);
	});

	it.each([
		["nothing", []],
		["an unknown kind", [9, ...new Array(15).fill(0)]],
		["a tile of no cell", [1, 0, 1, 0, ...new Array(12).fill(0), 7, 0, 0, 0, 0, 0, 0, 0]],
		["a tile that is longer than the message", [1, 0, 1, 0, ...new Array(12).fill(0), 0, 0, 255, 0, 0, 0, 0, 0]],
		["fewer tiles than it says", [1, 0, 9, 0, ...new Array(12).fill(0)]],
		["a run beyond the last cell", [2, 0, 1, 0, ...new Array(12).fill(0), 1, 0, 9, 0]],
		["a screen without a width", [3, 0, 0, 0, ...new Array(12).fill(0), 0, 0, 5, 0]],
		["a screen that is too large", [3, 0, 0, 0, ...new Array(12).fill(0), 255, 255, 5, 0]],
	])("refuses %s", (_, bytes) => {
		comes(size(1, null));
		expect(reader.take(Uint8Array.from(bytes as number[]).buffer)).toBe(false);
	});
});

it("a report is what the node reads", () => {
	const b = new Uint8Array(writeReport({ n: 7, shown: 0x80000001, bad: 2, video: 61, tile: 1e9, cell: 95 }));
	expect([...b]).toEqual([16, 0, 95, 0, 7, 0, 0, 0, 1, 0, 0, 128, 2, 0, 0, 0, 61, 0, 255, 255]);
});

function pixel(t: Tile): string {
	const g = golden.find((g) => g.coded === t.coded);
	return hex((g?.pixels ?? "").slice(0, 6)).join();
}
