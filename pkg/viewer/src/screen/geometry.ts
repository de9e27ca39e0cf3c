// Where the remote screen lies on the page, and which remote pixel a place on the page is. Pure arithmetic, so that
// clicks can be proven right at every display scale.

import { MAX_SIDE, MIN_SIDE, type Size } from "../options";

/** The page: its inside in CSS pixels, and the device pixels that one CSS pixel has. */
export interface Page {
	w: number;
	h: number;
	dpr: number;
}

/** The picture's place in CSS pixels from the page's top left corner, and the remote screen it shows. */
export interface Layout {
	left: number;
	top: number;
	w: number;
	h: number;
	remote: Size;
}

export interface Point {
	x: number;
	y: number;
}

const side = (v: number): number => Math.min(Math.max(Math.floor(v / 2 + 1e-6) * 2, MIN_SIDE), MAX_SIDE);

/** The remote size that fills the page with one remote pixel a device pixel (a CSS pixel when unscaled): even, in bounds. */
export function wantedSize(page: Page, unscaled: boolean): Size {
	const k = unscaled ? 1 : page.dpr;
	return { w: side(page.w * k), h: side(page.h * k) };
}

/** The display scale to tell the node, in per cent. */
export function scalePercent(page: Page, unscaled: boolean): number {
	return unscaled ? 100 : Math.round(page.dpr * 100);
}

/**
 * Places the remote screen on the page. Unscaled: one remote pixel is one CSS pixel at the corner. Otherwise, a
 * screen made for this page (within the two pixels that evenness costs) lies pixel on pixel; any other is fitted and centred.
 */
export function place(remote: Size, page: Page, unscaled: boolean): Layout {
	if (unscaled) return { left: 0, top: 0, w: remote.w, h: remote.h, remote };
	const deviceW = page.w * page.dpr;
	const deviceH = page.h * page.dpr;
	const fits = (have: number, want: number): boolean => want <= have + 0.5 && have - want < 2.5;
	const exact = fits(deviceW, remote.w) && fits(deviceH, remote.h);
	const zoom = exact ? 1 : Math.min(deviceW / remote.w, deviceH / remote.h);
	// Offsets on whole device pixels, or the browser would blur a picture that is pixel on pixel.
	const centre = (have: number, used: number): number => Math.max(0, Math.floor((have - used) / 2)) / page.dpr;
	return {
		left: exact ? 0 : centre(deviceW, remote.w * zoom),
		top: exact ? 0 : centre(deviceH, remote.h * zoom),
		w: (remote.w * zoom) / page.dpr,
		h: (remote.h * zoom) / page.dpr,
		remote,
	};
}

/**
 * The remote place of a page place; fractions of a remote pixel are kept to 1/256. On the picture it is within the screen; a drag that leaves the
 * picture leaves the screen too, for another one beside it.
 */
export function toRemote(l: Layout, clientX: number, clientY: number): Point {
	return {
		x: along(clientX - l.left, l.w, l.remote.w),
		y: along(clientY - l.top, l.h, l.remote.h),
	};
}

function along(css: number, cssSize: number, remoteSize: number): number {
	const at = Math.round(((css * remoteSize) / cssSize) * 256) / 256;
	const inside = css >= 0 && css <= cssSize;
	return inside ? Math.min(Math.max(at, 0), remoteSize - 1 / 256) : Math.min(Math.max(at, -MAX_SIDE), 2 * MAX_SIDE);
}

/** Remote pixels in one CSS pixel: what a cursor image must be divided by. */
export function density(l: Layout): number {
	return l.remote.w / l.w;
}
