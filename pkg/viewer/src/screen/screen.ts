// The element #screen: where the picture lies, and which remote size this window wants.

import type { Options, Size } from "../options";
import { density, type Layout, type Page, type Point, place, scalePercent, toRemote, wantedSize } from "./geometry";
import { Resizing } from "./resizing";

export interface ScreenParts {
	/** #screen itself, which holds the others. */
	root: HTMLElement;
	video: HTMLVideoElement;
}

/** The picture of a new size is due this soon (ms) after the node tells of it. */
const PICTURE_DUE = 500;

export class Screen {
	private layout: Layout;
	private wanted: Size;
	/** The size of the node's screen, as the picture on show has it; null before the node told of any. The video may have fewer pixels. */
	shown: Size | null = null;
	/** The size that the node's screen has now, and that of the video which shows it. */
	private next: { size: Size; video: Size } | null = null;
	private asked = "";
	private readonly resizing = new Resizing(() => this.tell());
	private due: ReturnType<typeof setTimeout> | null = null;
	private readonly stop = new AbortController();

	/**
	 * `wants` is told when the window wants another remote size; `laid` after the picture moved or grew. `scale` is what the artist wants the
	 * interface's to be in per cent, null for the display's.
	 */
	constructor(
		private readonly parts: ScreenParts,
		private readonly options: Pick<Options, "unscaled" | "size">,
		private readonly wants: (size: Size, scale: number) => void,
		private readonly laid: (layout: Layout) => void,
		private readonly scale: () => number | null = () => null,
	) {
		const page = this.page();
		this.wanted = options.size ?? wantedSize(page, options.unscaled);
		this.layout = place(this.wanted, page, options.unscaled);
		this.lay();
		window.addEventListener("resize", this.changed, { signal: this.stop.signal });
		parts.video.addEventListener("resize", this.pictureSized, { signal: this.stop.signal });
		this.watchDensity();
	}

	get size(): Size {
		return this.layout.remote;
	}

	/** Remote pixels in one CSS pixel. */
	get density(): number {
		return density(this.layout);
	}

	/** The remote size to ask for now, and the interface's scale in per cent. */
	ask(): { size: Size; scale: number } {
		return { size: this.wanted, scale: this.scale() ?? scalePercent(this.page(), this.options.unscaled) };
	}

	/** Another size or scale may be wanted. */
	again(): void {
		this.resizing.changed();
	}

	/**
	 * The node's screen has this size, and its video that one, which may be smaller. The picture on show keeps its place until its successor comes, or
	 * is overdue.
	 */
	setRemote(size: Size, video = size, now = false): void {
		if (this.due !== null) clearTimeout(this.due);
		this.due = null;
		this.next = { size, video };
		const { videoWidth, videoHeight } = this.parts.video;
		const { w, h } = this.layout.remote;
		const same = size.w === w && size.h === h;
		if (now || same || videoWidth === 0 || (videoWidth === video.w && videoHeight === video.h)) this.takeNext();
		else this.due = setTimeout(this.takeNext, PICTURE_DUE);
	}

	toRemote(clientX: number, clientY: number): Point {
		// Only an unscaled page can be scrolled.
		if (this.options.unscaled) return toRemote(this.layout, clientX + window.scrollX, clientY + window.scrollY);
		return toRemote(this.layout, clientX, clientY);
	}

	close(): void {
		this.stop.abort();
		this.resizing.close();
		if (this.due !== null) clearTimeout(this.due);
	}

	private page(): Page {
		return { w: window.innerWidth, h: window.innerHeight, dpr: window.devicePixelRatio || 1 };
	}

	private readonly changed = (): void => {
		this.layout = place(this.layout.remote, this.page(), this.options.unscaled);
		this.lay();
		if (this.options.size === null) this.wanted = wantedSize(this.page(), this.options.unscaled);
		this.resizing.changed();
	};

	private tell(): boolean {
		const { size, scale } = this.ask();
		const asked = `${size.w}x${size.h} ${scale}`;
		if (asked === this.asked) return false;
		this.asked = asked;
		this.wants(size, scale);
		return true;
	}

	private readonly pictureSized = (): void => {
		const { videoWidth: w, videoHeight: h } = this.parts.video;
		if (this.next?.video.w === w && this.next.video.h === h) this.takeNext();
	};

	private readonly takeNext = (): void => {
		if (!this.next) return;
		this.layout = place(this.next.size, this.page(), this.options.unscaled);
		this.shown = this.next.size;
		this.next = null;
		this.lay();
		this.resizing.arrived();
	};

	private lay(): void {
		const { left, top, w, h } = this.layout;
		const { style } = this.parts.root;
		style.left = `${left}px`;
		style.top = `${top}px`;
		style.width = `${w}px`;
		style.height = `${h}px`;
		this.laid(this.layout);
	}

	// A window moved to another display changes its density without changing its size.
	private watchDensity(): void {
		const query = window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
		const moved = (): void => {
			this.changed();
			if (!this.stop.signal.aborted) this.watchDensity();
		};
		query.addEventListener("change", moved, { once: true, signal: this.stop.signal });
	}
}
