// Wheel events → 1/120 notches, X's and Windows' unit of a wheel's turn. Browsers report pixels, lines or pages, and
// pixels differ between browsers and page zooms; where the browser also tells ticks, those are exact.

/** The part of a WheelEvent that says how far. wheelDelta… is not in the standard, but in every browser except old Firefox. */
export interface Turn {
	deltaX: number;
	deltaY: number;
	deltaMode: number;
	shiftKey: boolean;
	wheelDeltaX?: number;
	wheelDeltaY?: number;
}

export const NOTCH = 120;
const Mode = { pixel: 0, line: 1, page: 2 } as const;
const PIXELS_A_NOTCH = 100;
const LINES_A_NOTCH = 3;
const NOTCHES_A_PAGE = 3;
/** A pinch reports exp(delta/100) as its zoom. */
const PINCH = 100;
/** With Ctrl, GIMP's picture grows or shrinks by this part a notch (GIMP_ZOOM_SMOOTH). */
const ZOOM = 0.1;

/** The turn with Ctrl, in 1/120 notches, that makes GIMP's picture so many times as large. */
export function zoomTurn(factor: number): number {
	const turn = factor > 1 ? 1 - factor : 1 / factor - 1;
	return (turn / ZOOM) * NOTCH;
}

export interface Notches {
	dx: number;
	dy: number;
}

/** Turns events into whole 1/120 notches and carries what is left over to the next. */
export class Wheel {
	private restX = 0;
	private restY = 0;

	/** `pinch`: the event is a touchpad's pinch, which browsers report as a wheel with a Ctrl nobody pressed. */
	add(e: Turn, pinch = false): Notches {
		// Firefox tells lines, which are exact, only to who asks for the mode before the deltas.
		const mode = e.deltaMode;
		let dx = units(e.deltaX, e.wheelDeltaX, mode, pinch);
		let dy = units(e.deltaY, e.wheelDeltaY, mode, pinch);
		// Some systems turn Shift+wheel sideways themselves; GIMP wants to see the Shift and the wheel that was turned.
		if (e.shiftKey && dy === 0) [dx, dy] = [0, dx];
		this.restX = carry(this.restX, dx);
		this.restY = carry(this.restY, dy);
		const out = { dx: whole(this.restX), dy: whole(this.restY) };
		this.restX -= out.dx;
		this.restY -= out.dy;
		return out;
	}
}

// A turn the other way starts afresh, or a slow touchpad would first have to pay back the rest.
function carry(rest: number, add: number): number {
	return rest * add < 0 ? add : rest + add;
}

// Forgives what floating point lost: ten times 0.6 is 6.
function whole(v: number): number {
	return Math.trunc(v + Math.sign(v) * 1e-6);
}

function units(delta: number, ticks: number | undefined, mode: number, pinch: boolean): number {
	if (delta === 0 || !Number.isFinite(delta)) return 0;
	if (pinch) return zoomTurn(Math.exp(-delta / PINCH));
	if (mode === Mode.line) return (delta * NOTCH) / LINES_A_NOTCH;
	if (mode === Mode.page) return delta * NOTCH * NOTCHES_A_PAGE;
	// Whole ticks of a notched wheel. A touchpad's wheelDelta is its pixels times a constant: no better than they are.
	if (ticks && ticks % NOTCH === 0 && Math.abs(delta) >= 30) return -ticks;
	return (delta * NOTCH) / PIXELS_A_NOTCH;
}
