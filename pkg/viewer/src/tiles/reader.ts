// The worker's half of exact tiles: reads messages into what the viewer has of each cell, proves each by its hash, and puts
// it into the ring.

import { ENTRY, Field, type Ring, Word } from "./ring";
import { CELL_H, CELL_PIXELS, CELL_W, decodeTile, hashTile } from "./tile";
import { eachRun, eachTile, type Header, Kind, readHeader, readSize } from "./wire";

/** Messages that wait for room in the ring, in bytes; the node sends less. */
const MAX_WAITING = 8 << 20;

export class TileReader {
	private store: Int32Array = new Int32Array(0);
	private size = { w: 0, h: 0 };
	private wide = 0;
	private cells = 0;
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

	private entry(h: Header, body: number): number | null {
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
		data[at + Field.count] = h.count;
		data[at + Field.came] = stamp();
		return at;
	}

	// In the ring, the cells' numbers come first and then their pixels, each cell's in as many words.
	private tiles(v: DataView, data: ArrayBuffer, h: Header): boolean | null {
		const at = this.entry(h, h.count * (1 + CELL_PIXELS));
		if (at === null || at < 0) return at === null ? null : false;
		const began = this.now();
		const bytes = new Uint8Array(data);
		const { ring, store } = this;
		let number = at + ENTRY;
		let pixels = number + h.count;
		const whole = eachTile(v, h.count, (cell, hash, from, end) => {
			if (cell >= this.cells) return false;
			const off = cell * CELL_PIXELS;
			const columns = Math.min(CELL_W, this.size.w - (cell % this.wide) * CELL_W);
			const rows = Math.min(CELL_H, this.size.h - Math.floor(cell / this.wide) * CELL_H);
			const good =
				decodeTile(bytes, from, end, columns, rows, store, off) && hashTile(cell, store, off, columns * rows) === hash;
			// A wrong one is told as no cell at all: the page shows none of them then.
			ring.data[number++] = good ? cell : -1;
			if (!good) Atomics.add(ring.control, Word.bad, 1);
			ring.data.set(store.subarray(off, off + CELL_PIXELS), pixels);
			pixels += CELL_PIXELS;
			return true;
		});
		if (!whole) return false;
		ring.control[Word.decode] = Math.round(((this.now() - began) * 10_000) / Math.max(h.count, 1));
		ring.publish(ring.data[at + Field.length] as number);
		return true;
	}

	private video(v: DataView, h: Header): boolean | null {
		const at = this.entry(h, h.count * 2);
		if (at === null || at < 0) return at === null ? null : false;
		let word = at + ENTRY;
		const whole = eachRun(v, h.count, (first, length) => {
			this.ring.data[word++] = first;
			this.ring.data[word++] = length;
			return first + length <= this.cells;
		});
		if (whole) this.ring.publish(this.ring.data[at + Field.length] as number);
		return whole;
	}

	private resize(v: DataView, h: Header): boolean | null {
		const size = readSize(v);
		if (size === null) return false;
		const at = this.entry(h, 2);
		if (at === null || at < 0) return at === null ? null : false;
		this.size = size;
		this.wide = Math.ceil(size.w / CELL_W);
		this.cells = this.wide * Math.ceil(size.h / CELL_H);
		this.store = new Int32Array(this.cells * CELL_PIXELS);
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
