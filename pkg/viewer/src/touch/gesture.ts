// Two fingers on the picture → how far they pan and zoom. Pure arithmetic.

import { NOTCH, type Notches, zoomTurn } from "../input/wheel";
import type { Size } from "../options";
import type { Point } from "../screen/geometry";

/** The fingers' middle moves this far (CSS px) before it pans: fingers are never quite still. */
export const PAN_FROM = 6;
/** Their distance changes by this much (its logarithm) before it zooms: a pan must not. */
const ZOOM_FROM = 0.1;
/** GIMP scrolls whole pixels at a time, and by this many the fingers' move is told. */
const STEP = 2;
/** No more turns than these for one move of the fingers. */
const TURNS = 12;

/** How GIMP scrolls by a turn of the wheel. */
export interface Scroll {
	/** GIMP's pixels that its picture moves in a notch, across and down. */
	readonly notch: Point;
	/** CSS pixels in one of GIMP's. */
	readonly pixel: number;
}

/** Of GIMP's window at its first layout: what lies beside the picture, above and below it. */
const BESIDE = { x: 469, y: 129 };

/**
 * How GIMP scrolls on a screen of this size with its interface at so many per cent, `density` pixels of it being one of the page's. A notch is
 * the side that shows the picture to the power of 2/3 (gimp_scroll_adjustment_values), half of it at most.
 */
export function gimpScroll(screen: Size, percent: number, density: number): Scroll {
	const factor = Math.max(1, Math.floor((percent + 25) / 100)); // GTK's pixel is as many of the screen's
	const notch = (side: number, beside: number): number => {
		const page = Math.max(side / factor - beside, side / factor / 4);
		return Math.min(page / 2, page ** (2 / 3));
	};
	return { notch: { x: notch(screen.w, BESIDE.x), y: notch(screen.h, BESIDE.y) }, pixel: factor / density };
}

/** What a move of the fingers means, in 1/120 notches of the wheel: as turned, one after the other, and as turned with Ctrl. */
export interface Turned {
	pan: Notches[];
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

	// GIMP cuts off what is no whole pixel of each turn. So each is told half a pixel too large, in steps so small that it stays a whole number of
	// pixels where the notch is not quite the one that was reckoned with.
	private pan(x: number, y: number): Notches[] {
		const { notch, pixel } = this.scroll;
		const move = { x: this.take("x", x / pixel), y: this.take("y", y / pixel) };
		const turns = Math.min(TURNS, Math.ceil(Math.max(Math.abs(move.x), Math.abs(move.y)) / STEP));
		const part = (all: number, i: number): number =>
			Math.round((all * (i + 1)) / turns) - Math.round((all * i) / turns);
		// The picture follows the fingers, so the wheel turns the other way.
		const turn = (pixels: number, a: number): number =>
			pixels === 0 ? 0 : (-(pixels + Math.sign(pixels) / 2) / a) * NOTCH;
		return Array.from({ length: turns }, (_, i) => ({
			dx: turn(part(move.x, i), notch.x),
			dy: turn(part(move.y, i), notch.y),
		}));
	}

	private take(axis: "x" | "y", add: number): number {
		const all = this.rest[axis] + add;
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
