// The screen's pixels as far as they are known, row by row. The worker reads tiles against them, and the page puts them onto the canvas.

import { CELL_H, CELL_W } from "./tile";

/** A rectangle of pixels that are to be those so far away: all of them, and all that they come from, are within the picture. */
export interface Shift {
	x: number;
	y: number;
	w: number;
	h: number;
	dx: number;
	dy: number;
}

export class Picture {
	/** Cells in a row of them, and in all. */
	readonly wide: number;
	readonly cells: number;
	/** The colour of each cell of which the pixels say nothing, because it has but one; 0 for the others. */
	private readonly plain: Int32Array;

	constructor(
		readonly w: number,
		readonly h: number,
		/** Each 0xAABBGGRR, as an ImageData has them. */
		private readonly pixels: Int32Array = new Int32Array(w * h),
	) {
		this.wide = Math.ceil(w / CELL_W);
		this.cells = this.wide * Math.ceil(h / CELL_H);
		this.plain = new Int32Array(this.cells);
	}

	columns(cell: number): number {
		return Math.min(CELL_W, this.w - (cell % this.wide) * CELL_W);
	}

	rows(cell: number): number {
		return Math.min(CELL_H, this.h - Math.floor(cell / this.wide) * CELL_H);
	}

	/** Whether a rectangle, and what it comes from, is within the picture. */
	holds({ x, y, w, h, dx, dy }: Shift): boolean {
		const inside = (x: number, y: number): boolean => x >= 0 && y >= 0 && x + w <= this.w && y + h <= this.h;
		return w > 0 && h > 0 && inside(x, y) && inside(x + dx, y + dy);
	}

	/** Copies a cell's pixels to where they lie one after the other. */
	read(cell: number, to: Int32Array): void {
		const { pixels } = this;
		const [columns, rows] = [this.columns(cell), this.rows(cell)];
		const colour = this.plain[cell] as number;
		if (colour !== 0) {
			to.fill(colour, 0, columns * rows);
			return;
		}
		for (let y = 0, from = this.at(cell), i = 0; y < rows; y++, from += this.w)
			for (let x = 0; x < columns; x++) to[i++] = pixels[from + x] as number;
	}

	/** Takes over a cell's pixels from where they lie one after the other. */
	write(cell: number, from: Int32Array, begin: number): void {
		const { pixels } = this;
		const [columns, rows] = [this.columns(cell), this.rows(cell)];
		for (let y = 0, to = this.at(cell), i = begin; y < rows; y++, to += this.w)
			for (let x = 0; x < columns; x++) pixels[to + x] = from[i++] as number;
		this.plain[cell] = 0;
	}

	/** Cells of one colour. */
	paint(first: number, length: number, colour: number): void {
		this.plain.fill(colour, first, first + length);
	}

	shift(s: Shift): void {
		this.spread(s);
		this.spread({ ...s, x: s.x + s.dx, y: s.y + s.dy });
		const { pixels, w } = this;
		// A row is read before it is written over.
		for (let i = 0; i < s.h; i++) {
			const to = (s.dy > 0 ? s.y + i : s.y + s.h - 1 - i) * w + s.x;
			const from = to + s.dy * w + s.dx;
			pixels.copyWithin(to, from, from + s.w);
		}
	}

	/** Has the pixels in a rectangle say what is known of cells of one colour. */
	spread({ x, y, w, h }: { x: number; y: number; w: number; h: number }): void {
		const { plain, wide } = this;
		for (let row = Math.floor(y / CELL_H); row * CELL_H < y + h; row++)
			for (let column = Math.floor(x / CELL_W); column * CELL_W < x + w; column++) {
				const cell = row * wide + column;
				if (plain[cell] !== 0) this.fill(cell, plain[cell] as number);
			}
	}

	private fill(cell: number, colour: number): void {
		const [columns, rows] = [this.columns(cell), this.rows(cell)];
		for (let y = 0, to = this.at(cell); y < rows; y++, to += this.w) this.pixels.fill(colour, to, to + columns);
		this.plain[cell] = 0;
	}

	private at(cell: number): number {
		return Math.floor(cell / this.wide) * CELL_H * this.w + (cell % this.wide) * CELL_W;
	}
}
