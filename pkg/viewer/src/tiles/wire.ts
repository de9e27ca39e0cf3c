// The binary messages of the `tiles` data channel (ARCHITECTURE.md, "Exact tiles"). All numbers are little endian.

import type { Shift } from "./picture";

/** What the channel says that its two ends mean by all this. */
export const PROTOCOL = "3";

export const Kind = { tiles: 1, video: 2, size: 3, ack: 16 } as const;

export const HEADER = 16;
const HAS_AFTER = 1;
const KEEPS = 2;
const RECORD = 8;
/** How a record begins that has a part of the picture move; it comes before all tiles. */
const SHIFTED = 4;
const SHIFT_BYTES = 13;
export const SHIFT_RECORD = RECORD + SHIFT_BYTES;
const RUN = 4;
const ACK_BYTES = 20;

/** A message from the node, but for its body. */
export interface Header {
	kind: number;
	/** Messages are numbered from 1. */
	n: number;
	/** How many changes of what lies above the video there were. */
	gen: number;
	/** The message is for after the video frame with this timestamp; undefined: for at once. */
	after: number | undefined;
	/** The tiles are not shown, only kept: others are told against them. */
	keeps: boolean;
	/** Tiles or runs in the body. */
	count: number;
}

/** Reads what every message begins with; null when it is none. */
export function readHeader(v: DataView): Header | null {
	if (v.byteLength < HEADER) return null;
	const flags = v.getUint8(1);
	const after = (flags & HAS_AFTER) !== 0 ? v.getUint32(12, true) : undefined;
	return {
		kind: v.getUint8(0),
		n: v.getUint32(4, true),
		gen: v.getUint32(8, true),
		after,
		keeps: (flags & KEEPS) !== 0,
		count: v.getUint16(2, true),
	};
}

/** What moves before the tiles of a message; null for nothing. */
export function readShift(v: DataView): Shift | null {
	const at = HEADER + RECORD;
	if (v.byteLength < at + SHIFT_BYTES || v.getUint16(HEADER + 2, true) !== SHIFT_BYTES) return null;
	if (v.getUint8(at) !== SHIFTED) return null;
	const [x, y, w, h] = [1, 3, 5, 7].map((i) => v.getUint16(at + i, true)) as [number, number, number, number];
	return { x, y, w, h, dx: v.getInt16(at + 9, true), dy: v.getInt16(at + 11, true) };
}

/**
 * Calls `each` for every tile of a message, from one of its bytes on, with where the tile's bytes lie. False: the message is
 * malformed.
 */
export function eachTile(
	v: DataView,
	from: number,
	count: number,
	each: (cell: number, hash: number, at: number, end: number) => boolean,
): boolean {
	let at = from;
	for (let i = 0; i < count; i++) {
		if (at + RECORD > v.byteLength) return false;
		const end = at + RECORD + v.getUint16(at + 2, true);
		if (end > v.byteLength || !each(v.getUint16(at, true), v.getUint32(at + 4, true), at + RECORD, end)) return false;
		at = end;
	}
	return at === v.byteLength;
}

/** Calls `each` for every run of cells that the video shows from a frame on. False: the message is malformed. */
export function eachRun(v: DataView, count: number, each: (first: number, length: number) => boolean): boolean {
	if (v.byteLength !== HEADER + count * RUN) return false;
	for (let i = 0, at = HEADER; i < count; i++, at += RUN)
		if (!each(v.getUint16(at, true), v.getUint16(at + 2, true))) return false;
	return true;
}

/** The screen's size of a size message; null when it is malformed. */
export function readSize(v: DataView): { w: number; h: number } | null {
	if (v.byteLength !== HEADER + 4) return null;
	const [w, h] = [v.getUint16(HEADER, true), v.getUint16(HEADER + 2, true)];
	return w > 0 && h > 0 && w <= 8192 && h <= 8192 ? { w, h } : null;
}

/** What the node is told of the tiles on show. */
export interface Report {
	/** Messages up to this one are. */
	n: number;
	/** The video frame that is. */
	shown: number;
	/** Tiles whose hash was wrong. */
	bad: number;
	/** From arrival to being on show, in 1/10 ms. */
	video: number;
	tile: number;
	/** What one tile takes, in 1/10 µs. */
	cell: number;
}

const ack = new DataView(new ArrayBuffer(ACK_BYTES));
const short = (v: number): number => Math.min(Math.max(Math.round(v), 0), 0xffff);

/** The report as a message, good until the next. */
export function writeReport(r: Report): ArrayBuffer {
	ack.setUint8(0, Kind.ack);
	ack.setUint16(2, short(r.cell), true);
	ack.setUint32(4, r.n, true);
	ack.setUint32(8, r.shown, true);
	ack.setUint32(12, r.bad, true);
	ack.setUint16(16, short(r.video), true);
	ack.setUint16(18, short(r.tile), true);
	return ack.buffer;
}
