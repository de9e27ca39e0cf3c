// Reads exact tiles (ARCHITECTURE.md, "Exact tiles"): one cell of the screen each, coded against what was there before.
// pkg/codec/tile.c writes them; testdata/tiles.json holds golden bytes of both.

export const CELL_W = 64;
export const CELL_H = 16;
export const CELL_PIXELS = CELL_W * CELL_H;

const Mode = { fresh: 0, delta: 1, raw: 2, plain: 3 } as const;
/** What a tile of one colour takes, and how many more cells it holds. */
const PLAIN_BYTES = 4;
const OPAQUE = 0xff << 24;
const cache = new Int32Array(64);

/**
 * Reads src[at, end) over the cell that begins at pix[off], columns × rows pixels, each 0xAABBGGRR as an ImageData has
 * them. False: it is no tile, and what the cell holds is not to be used.
 */
export function decodeTile(
	src: Uint8Array,
	at: number,
	end: number,
	columns: number,
	rows: number,
	pix: Int32Array,
	off: number,
): boolean {
	const n = columns * rows;
	const mode = at < end ? src[at] : -1;
	if (mode === Mode.raw) return decodeRaw(src, at + 1, end, n, pix, off);
	if (mode === Mode.fresh || mode === Mode.delta)
		return decode(src, at + 1, end, columns, n, pix, off, mode === Mode.delta);
	if (mode !== Mode.plain || end - at !== PLAIN_BYTES) return false;
	pix.fill(rgb(src, at + 1), off, off + n);
	return true;
}

/** The hash of a cell's pixels. */
export function hashTile(cell: number, pix: Int32Array, off: number, n: number): number {
	let h = 0x811c9dc5 ^ cell;
	for (let i = off; i < off + n; i++) h = Math.imul(h ^ ((pix[i] as number) & 0xffffff), 0x01000193);
	return h >>> 0;
}

/** The colour of a tile that has one, as a cell's pixels have it; 0 for another tile. */
export function plainColour(src: Uint8Array, at: number, end: number): number {
	return end - at === PLAIN_BYTES + 2 && src[at] === Mode.plain ? rgb(src, at + 1) : 0;
}

/** How many cells after its own a tile of one colour holds. */
export function plainMore(src: Uint8Array, at: number): number {
	return (src[at + PLAIN_BYTES] as number) | ((src[at + PLAIN_BYTES + 1] as number) << 8);
}

/** The hash of a cell of one colour. */
export function hashPlain(cell: number, colour: number): number {
	return Math.imul(0x811c9dc5 ^ cell ^ (colour & 0xffffff), 0x01000193) >>> 0;
}

function decodeRaw(src: Uint8Array, at: number, end: number, n: number, pix: Int32Array, off: number): boolean {
	if (end - at !== 3 * n) return false;
	for (let i = 0; i < n; i++, at += 3) pix[off + i] = rgb(src, at);
	return true;
}

function rgb(src: Uint8Array, at: number): number {
	return OPAQUE | (src[at] as number) | ((src[at + 1] as number) << 8) | ((src[at + 2] as number) << 16);
}

// Half of each channel of both.
function mean(a: number, b: number): number {
	return (a & b) + (((a ^ b) & 0xfefefe) >> 1);
}

function add(v: number, r: number, g: number, b: number): number {
	return OPAQUE | ((v + r) & 0xff) | ((((v >> 8) + g) & 0xff) << 8) | ((((v >> 16) + b) & 0xff) << 16);
}

// One loop without calls that allocate: it runs for every pixel that arrives.
function decode(
	src: Uint8Array,
	at: number,
	end: number,
	columns: number,
	n: number,
	pix: Int32Array,
	off: number,
	delta: boolean,
): boolean {
	cache.fill(OPAQUE);
	let last = OPAQUE;
	let x = 0;
	const stop = off + n;
	const second = off + columns;
	for (let i = off; i < stop; ) {
		if (at >= end) return false;
		const op = src[at++] as number;
		if (op >= 0xc0 && op < 0xfe) {
			let run = op < 0xe0 ? op - 0xbf : op - 0xdf;
			if (op === 0xdf || op === 0xfd) {
				if (at + 2 > end) return false;
				run = Math.max((src[at] as number) | ((src[at + 1] as number) << 8), 1);
				at += 2;
			}
			if (i + run > stop) return false;
			if (op < 0xe0) pix.fill(last, i, i + run);
			else if (!delta) for (let j = i; j < i + run; j++) pix[j] = j >= second ? (pix[j - columns] as number) : last;
			i += run;
			last = pix[i - 1] as number;
			x = (i - off) % columns;
			continue;
		}
		if (op < 0x40) {
			last = cache[op] as number;
		} else {
			const up = i >= second ? (pix[i - columns] as number) : last;
			const guess = mean(x === 0 ? up : last, up);
			if (op < 0x80) {
				last = add(guess, ((op >> 4) & 3) - 2, ((op >> 2) & 3) - 2, (op & 3) - 2);
			} else if (op < 0xc0) {
				if (at >= end) return false;
				const g = (op & 0x3f) - 32;
				const rb = src[at++] as number;
				last = add(guess, g + (rb >> 4) - 8, g, g + (rb & 15) - 8);
			} else if (op === 0xfe) {
				if (at + 3 > end) return false;
				last = rgb(src, at);
				at += 3;
			} else {
				return false;
			}
			cache[Math.imul(last & 0xffffff, 0x9e3779b1) >>> 26] = last;
		}
		pix[i++] = last;
		if (++x === columns) x = 0;
	}
	return at === end;
}
