// Trackpad mode: a finger anywhere moves the remote pointer, as on a laptop. For small screens, where a finger hides what it paints.

import type { Size } from "../options";
import type { Point } from "../screen/geometry";

export interface TrackpadHost {
	/** The remote screen, and the remote pixels in one CSS pixel. */
	screen(): { readonly size: Size; readonly density: number };
	/** Draws the remote pointer at a remote place; null takes it away. */
	draw(at: Point | null): void;
}

/** A finger this slow (CSS px a ms) moves the pointer as far as itself; a faster one up to FASTEST times that. */
const SLOW = 0.3;
const FASTEST = 3;

export class Trackpad {
	private place: Point | null = null;

	constructor(private readonly host: TrackpadHost) {}

	/** Where the pointer is; it begins in the middle. */
	get at(): Point {
		const { size } = this.host.screen();
		const { x, y } = this.place ?? { x: size.w / 2, y: size.h / 2 };
		return { x: Math.min(x, size.w - 1), y: Math.min(y, size.h - 1) };
	}

	/** The finger moved by so many CSS pixels in `ms`. */
	move(dx: number, dy: number, ms: number): void {
		const { size, density } = this.host.screen();
		const speed = Math.hypot(dx, dy) / Math.max(ms, 1);
		const gain = density * Math.min(Math.max(speed / SLOW, 1), FASTEST);
		const from = this.at;
		const within = (v: number, side: number): number => Math.min(Math.max(v, 0), side - 1);
		this.place = { x: within(from.x + dx * gain, size.w), y: within(from.y + dy * gain, size.h) };
		this.host.draw(this.place);
	}

	show(): void {
		this.host.draw(this.at);
	}

	hide(): void {
		this.host.draw(null);
	}
}
