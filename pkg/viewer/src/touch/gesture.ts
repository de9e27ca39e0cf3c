// Two fingers on the picture → how far they pan and zoom. Pure arithmetic.

import type { Notches } from "../input/wheel";
import type { Point } from "../screen/geometry";

/** The fingers' middle moves this far (CSS px) before it pans: fingers are never quite still. */
export const PAN_FROM = 6;
/** Their distance changes by this much (its logarithm) before it zooms: a pan must not. */
const ZOOM_FROM = 0.1;
const NOTCH = 120;
/** GIMP zooms by about √2 a notch of the wheel with Ctrl. */
const ZOOM_A_NOTCH = Math.log(Math.SQRT2);

/** The remote pixels that GIMP scrolls in a notch, on a screen of this height: GTK's page to the power of 2/3, the page being most of the screen. */
export function scrollNotch(height: number): number {
	return (height * 0.75) ** (2 / 3);
}

/** What a move of the fingers means, in 1/120 notches of the wheel: as turned, and as turned with Ctrl. */
export interface Turned {
	pan: Notches;
	zoom: number;
}

export class Gesture {
	private from: Pose;
	private panning = false;
	private zooming = false;
	private rest = { dx: 0, dy: 0, zoom: 0 };

	/** `notch` is how many CSS pixels the picture scrolls in a notch of the wheel. */
	constructor(
		a: Point,
		b: Point,
		private readonly notch: number,
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

	/** The fingers are at `a` and `b` now; what is less than 1/120 notch is kept for later. */
	move(a: Point, b: Point): Turned {
		const now = pose(a, b);
		const x = now.middle.x - this.from.middle.x;
		const y = now.middle.y - this.from.middle.y;
		const zoom = Math.log(now.apart / this.from.apart);
		this.panning ||= Math.hypot(x, y) > PAN_FROM;
		this.zooming ||= Math.abs(zoom) > ZOOM_FROM;
		// What is not done yet adds up from where it began.
		const from = { ...this.from };
		if (this.panning) from.middle = now.middle;
		if (this.zooming) from.apart = now.apart;
		this.from = from;
		// The picture follows the fingers, so the wheel turns the other way.
		return {
			pan: {
				dx: this.take("dx", this.panning ? (-x / this.notch) * NOTCH : 0),
				dy: this.take("dy", this.panning ? (-y / this.notch) * NOTCH : 0),
			},
			zoom: this.take("zoom", this.zooming ? (-zoom / ZOOM_A_NOTCH) * NOTCH : 0),
		};
	}

	private take(what: keyof Gesture["rest"], add: number): number {
		const all = this.rest[what] + add;
		// Forgives what floating point lost.
		const whole = Math.trunc(all + Math.sign(all) * 1e-6);
		this.rest[what] = all - whole;
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
