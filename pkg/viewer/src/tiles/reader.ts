// The worker's half of exact tiles: reads messages into what the viewer has of each cell, proves each by its hash, and puts
// it into the ring.

import { Picture, type Shift } from "./picture";
import { ENTRY, Field, type Ring, RUN, SHIFT, Word } from "./ring";
import { CELL_PIXELS, decodeTile, hashPlain, hashTile, plainColour, plainMore } from "./tile";
import { eachRun, eachTile, HEADER, type Header, Kind, readHeader, readShift, readSize, SHIFT_RECORD } from "./wire";

/** Messages that wait for room in the ring, in bytes; the node sends less. */
const MAX_WAITING = 8 << 20;

export class TileReader {
	private picture = new Picture(0, 0);
	/** The pixels of one cell, one after the other. */
	private readonly cell = new Int32Array(CELL_PIXELS);
	private waiting: ArrayBuffer[] = [];
	private held = 0;

	constructor(
		private readonly ring: Ring,
		private readonly now: () => number = () => performance.now(),
	) {}

	/** Takes a message. False: the node and this page do not understand each other. */
	take(data: ArrayBuffer): boolean {
		if (this.waiting.length === 0) {
			const done = this.put(data);
			if (done !== null) return done;
		}
		this.held += data.byteLength;
		this.waiting.push(data);
		return this.held <= MAX_WAITING;
	}

	/** Goes on with what waited for room. */
	resume(): boolean {
		while (this.waiting.length > 0) {
			const next = this.waiting[0] as ArrayBuffer;
			const done = this.put(next);
			if (done === null) return true;
			this.waiting.shift();
			this.held -= next.byteLength;
			if (!done) return false;
		}
		return true;
	}

	/** null: there is no room yet. */
	private put(data: ArrayBuffer): boolean | null {
		const v = new DataView(data);
		const h = readHeader(v);
		switch (h?.kind) {
			case Kind.tiles:
				return this.tiles(v, data, h);
			case Kind.video:
				return this.video(v, h);
			case Kind.size:
				return this.resize(v, h);
		}
		return false;
	}

	private entry(h: Header, body: number, count = h.count, runs = 0): number | null {
		const words = ENTRY + body;
		if (words > this.ring.longest) return -1;
		const at = this.ring.reserve(words);
		if (at < 0) return null;
		const { data } = this.ring;
		data[at + Field.length] = words;
		data[at + Field.kind] = h.kind;
		data[at + Field.n] = h.n;
		data[at + Field.gen] = h.gen;
		data[at + Field.held] = h.after === undefined ? 0 : 1;
		data[at + Field.after] = h.after ?? 0;
		data[at + Field.count] = count;
		data[at + Field.came] = stamp();
		data[at + Field.runs] = runs;
		data[at + Field.shifts] = 0;
		data[at + Field.keeps] = h.keeps ? 1 : 0;
		return at;
	}

	// In the ring, what moves comes first, then what is of one colour, the other cells' numbers and then their pixels, each cell's in as many words.
	private tiles(v: DataView, data: ArrayBuffer, h: Header): boolean | null {
		const bytes = new Uint8Array(data);
		const shift = readShift(v);
		if (shift !== null && (h.count === 0 || !this.picture.holds(shift))) return false;
		const [from, count] = shift === null ? [HEADER, h.count] : [HEADER + SHIFT_RECORD, h.count - 1];
		let dear = 0;
		const sound = eachTile(v, from, count, (_cell, _hash, at, end) => {
			if (plainColour(bytes, at, end) === 0) dear++;
			return true;
		});
		if (!sound) return false;
		const moves = shift === null ? 0 : SHIFT;
		const at = this.entry(h, moves + (count - dear) * RUN + dear * (1 + CELL_PIXELS), dear, count - dear);
		if (at === null || at < 0) return at === null ? null : false;
		const { ring } = this;
		if (shift !== null) this.shift(shift, at);
		let run = at + ENTRY + moves;
		let number = run + (count - dear) * RUN;
		let pixels = number + dear;
		let took = 0;
		const whole = eachTile(v, from, count, (cell, hash, start, end) => {
			const colour = plainColour(bytes, start, end);
			if (colour !== 0) {
				const good = this.fill(cell, 1 + plainMore(bytes, start), colour, hash, run);
				run += RUN;
				return good;
			}
			if (cell >= this.picture.cells) return false;
			const began = this.now();
			ring.data[number++] = this.read(bytes, start, end, cell, hash) ? cell : -1;
			ring.data.set(this.cell, pixels);
			pixels += CELL_PIXELS;
			took += this.now() - began;
			return true;
		});
		if (!whole) return false;
		if (dear > 0) ring.control[Word.decode] = Math.round((took * 10_000) / dear);
		ring.publish(ring.data[at + Field.length] as number);
		return true;
	}

	/** Has a part of the picture move, and puts that into the ring's entry. */
	private shift(shift: Shift, at: number): void {
		const { data } = this.ring;
		this.picture.shift(shift);
		data[at + Field.shifts] = 1;
		const { x, y, w, h, dx, dy } = shift;
		data.set([x, y, w, h, dx, dy], at + ENTRY);
	}

	/** Reads a cell; false for a wrong one, which is told as no cell at all: the page shows none of them then. */
	private read(bytes: Uint8Array, from: number, end: number, cell: number, hash: number): boolean {
		const { picture, cell: pixels } = this;
		const [columns, rows] = [picture.columns(cell), picture.rows(cell)];
		picture.read(cell, pixels);
		if (decodeTile(bytes, from, end, columns, rows, pixels, 0) && hashTile(cell, pixels, 0, columns * rows) === hash) {
			picture.write(cell, pixels, 0);
			return true;
		}
		Atomics.add(this.ring.control, Word.bad, 1);
		return false;
	}

	/** Notes a run of cells of one colour, and puts it into the ring. */
	private fill(first: number, length: number, colour: number, hash: number, at: number): boolean {
		if (first + length > this.picture.cells || hashPlain(first, colour) !== hash) return false;
		this.picture.paint(first, length, colour);
		this.ring.data[at] = first;
		this.ring.data[at + 1] = length;
		this.ring.data[at + 2] = colour;
		return true;
	}

	private video(v: DataView, h: Header): boolean | null {
		const at = this.entry(h, h.count * 2);
		if (at === null || at < 0) return at === null ? null : false;
		let word = at + ENTRY;
		const whole = eachRun(v, h.count, (first, length) => {
			this.ring.data[word++] = first;
			this.ring.data[word++] = length;
			return first + length <= this.picture.cells;
		});
		if (whole) this.ring.publish(this.ring.data[at + Field.length] as number);
		return whole;
	}

	private resize(v: DataView, h: Header): boolean | null {
		const size = readSize(v);
		if (size === null) return false;
		const at = this.entry(h, 2);
		if (at === null || at < 0) return at === null ? null : false;
		this.picture = new Picture(size.w, size.h);
		this.ring.data[at + ENTRY] = size.w;
		this.ring.data[at + ENTRY + 1] = size.h;
		this.ring.publish(ENTRY + 2);
		return true;
	}
}

/** The time of day in 1/10 ms, as far as a word holds: page and worker have it in common. */
export function stamp(): number {
	return (((performance.timeOrigin + performance.now()) * 10) % 0x40000000) | 0;
}
