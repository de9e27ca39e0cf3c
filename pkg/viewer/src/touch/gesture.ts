// Two fingers on the picture → how far they pan and zoom. Pure arithmetic.

import { NOTCH, zoomTurn } from "../input/wheel";
import type { Size } from "../options";
import type { Point } from "../screen/geometry";

/** The fingers' middle moves this far (CSS px) before it pans: fingers are never quite still. */
const PAN_FROM = 6;
/** Their distance changes by this much (its logarithm) before it zooms: a pan must not. */
const ZOOM_FROM = 0.1;
/** GIMP cuts off what is no whole pixel of a turn. So one of nearly two pixels moves its picture by one, and one of a bit more than half of that too. */
const NEARLY_TWO = 1.98;
/** No move of the fingers is further than this, in GIMP's pixels. */
const FURTHEST = 4096;

/** How GIMP scrolls by a turn of the wheel. */
export interface Scroll {
	/** GIMP's pixels that its picture moves in a notch, across and down, at most. */
	readonly notch: Point;
	/** CSS pixels in one of GIMP's. */
	readonly pixel: number;
}

/** Of GIMP's window at its first layout: what lies beside the picture, above and below it. */
const BESIDE = { x: 469, y: 129 };
/** A picture may have this much more room than at GIMP's first layout, where the screen has it. */
const ROOM = 2.7;

/**
 * How GIMP scrolls on a screen of this size with its interface at so many per cent, `density` pixels of it being one of the page's. A notch is
 * the side that shows the picture to the power of 2/3 (gimp_scroll_adjustment_values): the whole screen's, because nobody tells how much of it
 * the docks take, and what they may take does not matter (NEARLY_TWO).
 */
export function gimpScroll(screen: Size, percent: number, density: number): Scroll {
	const factor = Math.max(1, Math.floor((percent + 25) / 100)); // GTK's pixel is as many of the screen's
	const notch = (side: number, beside: number): number => {
		const all = side / factor;
		return Math.min(all, ROOM * Math.max(all - beside, all / 4)) ** (2 / 3);
	};
	return { notch: { x: notch(screen.w, BESIDE.x), y: notch(screen.h, BESIDE.y) }, pixel: factor / density };
}

/** So many turns of the wheel, one after the other, each by so many 1/120 notches. */
export interface Turns {
	dx: number;
	dy: number;
	times: number;
}

/** What a move of the fingers means: turns of the wheel, and 1/120 notches with Ctrl. */
export interface Turned {
	pan: Turns[];
	zoom: number;
}

export class Gesture {
	private from: Pose;
	private panning = false;
	private zooming = false;
	/** GIMP's pixels that the fingers moved and the picture has not. */
	private rest = { x: 0, y: 0 };

	constructor(
		a: Point,
		b: Point,
		private readonly scroll: Scroll,
	) {
		this.from = pose(a, b);
	}

	/** Whether the fingers have done anything but lie there. */
	get moved(): boolean {
		return this.panning || this.zooming;
	}

	/** The fingers' middle. */
	get middle(): Point {
		return this.from.middle;
	}

	/** Other fingers, or fewer, go on from here. */
	settle(a: Point, b: Point): void {
		this.from = pose(a, b);
	}

	/** The fingers are at `a` and `b` now; less than a pixel is kept for later. */
	move(a: Point, b: Point): Turned {
		const now = pose(a, b);
		const x = now.middle.x - this.from.middle.x;
		const y = now.middle.y - this.from.middle.y;
		const factor = now.apart / this.from.apart;
		this.panning ||= Math.hypot(x, y) > PAN_FROM;
		this.zooming ||= Math.abs(Math.log(factor)) > ZOOM_FROM;
		// What is not done yet adds up from where it began.
		const from = { ...this.from };
		if (this.panning) from.middle = now.middle;
		if (this.zooming) from.apart = now.apart;
		this.from = from;
		return { pan: this.panning ? this.pan(x, y) : [], zoom: this.zooming ? zoomTurn(factor) : 0 };
	}

	// A turn for each pixel: the picture follows the fingers, so the wheel turns the other way.
	private pan(x: number, y: number): Turns[] {
		const { notch, pixel } = this.scroll;
		const move = { x: this.take("x", x / pixel), y: this.take("y", y / pixel) };
		const turn = (pixels: number, a: number): number => ((-Math.sign(pixels) * NEARLY_TWO) / a) * NOTCH;
		return [
			{ dx: turn(move.x, notch.x), dy: 0, times: Math.abs(move.x) },
			{ dx: 0, dy: turn(move.y, notch.y), times: Math.abs(move.y) },
		].filter((t) => t.times > 0);
	}

	private take(axis: "x" | "y", add: number): number {
		const all = Math.max(-FURTHEST, Math.min(this.rest[axis] + add, FURTHEST));
		// Forgives what floating point lost.
		const whole = Math.trunc(all + Math.sign(all) * 1e-6);
		this.rest[axis] = all - whole;
		return whole === 0 ? 0 : whole;
	}
}

interface Pose {
	middle: Point;
	apart: number;
}

function pose(a: Point, b: Point): Pose {
	return { middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }, apart: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
}
