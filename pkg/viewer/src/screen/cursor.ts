// The remote cursor, drawn by the browser: it moves with the hand, not with the network.

import type { CursorShape } from "../link/control";

/** Shapes kept; the node sends each once. */
const KEPT = 512;
/** Browsers ignore a cursor image with a longer side than this, in CSS pixels. */
const LONGEST = 128;

/** Until the node has told of one. */
const ARROW = { x: 1, y: 1, w: 16, h: 24 };
const ARROW_PICTURE =
	"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='16' height='24'%3E%3Cpath d='M1 1v17l4-4 3 8 3-1-3-8h6z' fill='%23fff' stroke='%23000'/%3E%3C/svg%3E";

interface Kept {
	url: string | null;
	shape: CursorShape;
}

export class Cursor {
	private readonly kept = new Map<string, Kept>();
	private shown = "";
	private density = 1;
	/** The cursor's picture where no mouse of the browser's carries it; made when it is first wanted. */
	private drawn: HTMLImageElement | null = null;

	constructor(private readonly element: HTMLElement) {}

	/** Draws the cursor at this place (remote pixels): a finger has none of its own. null takes it away. */
	draw(at: { x: number; y: number } | null): void {
		if (at === null) {
			this.drawn?.remove();
			this.drawn = null;
			return;
		}
		if (!this.drawn) {
			this.drawn = document.createElement("img");
			this.drawn.alt = "";
			this.drawn.className = "cursor";
			this.element.append(this.drawn);
		}
		this.drawn.dataset.x = String(at.x);
		this.drawn.dataset.y = String(at.y);
		this.paint(this.drawn);
	}

	/** Shows cursor `id`; `shape` comes with its first use. */
	show(id: string, shape: CursorShape | null): void {
		if (shape) this.keep(id, shape);
		this.shown = id;
		this.apply();
	}

	/** The picture lies at `density` remote pixels a CSS pixel. */
	scale(density: number): void {
		if (density === this.density) return;
		this.density = density;
		this.apply();
	}

	/** Forgets every shape: a new connection sends them again. */
	reset(): void {
		for (const k of this.kept.values()) if (k.url !== null) URL.revokeObjectURL(k.url);
		this.kept.clear();
		this.shown = "";
		this.apply();
	}

	private keep(id: string, shape: CursorShape): void {
		this.forget(id);
		for (const oldest of this.kept.keys()) {
			if (this.kept.size < KEPT) break;
			this.forget(oldest);
		}
		const blank = shape.png.length === 0 || shape.w === 0 || shape.h === 0;
		this.kept.set(id, { url: blank ? null : URL.createObjectURL(new Blob([shape.png], { type: "image/png" })), shape });
	}

	private forget(id: string): void {
		const old = this.kept.get(id);
		if (old?.url) URL.revokeObjectURL(old.url);
		this.kept.delete(id);
	}

	private apply(): void {
		const k = this.kept.get(this.shown);
		this.element.style.cursor = k ? css(k, this.density) : "default";
		if (this.drawn) this.paint(this.drawn);
	}

	private paint(image: HTMLImageElement): void {
		const k = this.kept.get(this.shown);
		image.hidden = k !== undefined && k.url === null;
		const { shape, url } = k?.url ? k : { shape: ARROW, url: ARROW_PICTURE };
		if (image.src !== url) image.src = url ?? "";
		image.width = shape.w / this.density;
		const px = (at: string | undefined, hot: number): string => `${round((Number(at) - hot) / this.density)}px`;
		image.style.transform = `translate(${px(image.dataset.x, shape.x)}, ${px(image.dataset.y, shape.y)})`;
	}
}

function css({ url, shape }: Kept, density: number): string {
	if (url === null) return "none";
	// What the browser would ignore must not leave the hand without a mark.
	if (Math.max(shape.w, shape.h) / density > LONGEST) return "crosshair";
	const spot = (at: number, size: number): number => Math.min(Math.max(at, 0), size - 1) / density;
	const at = `${round(spot(shape.x, shape.w))} ${round(spot(shape.y, shape.h))}`;
	const image = density === 1 ? `url("${url}")` : `image-set(url("${url}") ${round(density)}x)`;
	return `${image} ${at}, default`;
}

function round(v: number): number {
	return Math.round(v * 1000) / 1000;
}
