// The canvas above the video, which shows cells exactly. What lies on it is kept in step by the video frames: a message counts
// from the frame that it names, and the last bits of a frame's timestamp say how many changes of the canvas came before it.
// So the canvas is on show only while nothing on it is older than the video below.

import { OffBeat, type OffBeatCounts } from "./off-beat";
import { Picture, type Shift } from "./picture";
import { stamp } from "./reader";
import { Rhythm } from "./rhythm";
import { ENTRY, Field, Ring, RUN, SHIFT, Word } from "./ring";
import { CELL_H, CELL_PIXELS, CELL_W } from "./tile";
import { Unseen } from "./unseen";
import { Kind, PROTOCOL } from "./wire";

const GEN_BITS = 6;
const GEN_MASK = (1 << GEN_BITS) - 1;
/** While a hand moves and tiles come, and for so long (ms) after, each of the page's frames looks for tiles by itself. */
const LINGER = 100;
/** After this long (ms) without word of the frame that something waits for, the video is asked what it shows. */
const OVERDUE = 300;
/** So long (ms) after the last of them, a hand or the video makes no frames. */
const QUIET = 120;
/** For so long (ms) after the hand has moved, the page's rhythm is what it was found to be then. */
const KNOWN = 1000;
/** The canvas's class. */
const LAYER = "exact";
/** How much of a new measurement is believed. */
const NEWS = 0.2;

/** What the canvas has of a cell. */
const State = { hidden: 0, moved: 1, proven: 2 } as const;
type State = (typeof State)[keyof typeof State];

export interface LayerHost {
	/** The timestamp of the frame that the video element has now; null where the browser does not tell. */
	onShow(): number | null;
	/** The whole picture is exact, or no longer. */
	exact(all: boolean): void;
	/** A change was drawn by the tiles of a message, which was here and read at these times. */
	drawn(message: number, received: number, read: number): void;
}

/** What the worker is to the canvas. */
export interface Port {
	/** The report is in the ring's control block. */
	report(): void;
	close(): void;
}

export class ExactLayer {
	private readonly context: CanvasRenderingContext2D;
	/** What the canvas shows, or would show. */
	private image = new ImageData(1, 1);
	private picture = new Picture(0, 0);
	/** Of each cell, whether the canvas shows it; one that came by being moved is shown, but not proven. */
	private filled = new Uint8Array(0);
	private count = 0;
	private proven = 0;
	private gen = 0;
	private shown: number | null = null;
	/** The generation that the frame on show goes with. */
	private needed = 0;
	private n = 0;
	/** Nothing on the canvas counts, and it is to be cleared before something does. */
	private littered = false;
	/** A tile was read wrong, so that its place on the canvas may be old. */
	private poisoned = false;
	private on = false;
	private all = false;
	private over = false;
	/** When something was last put on the canvas, and when a hand last moved. */
	private last = 0;
	private moved = Number.NEGATIVE_INFINITY;
	private frame: number | null = null;
	private readonly rhythm = new Rhythm();
	private readonly offBeat = new OffBeat(() => this.drain());
	private readonly unseen = new Unseen(() => this.drain());
	/** When a video frame was last shown. */
	private moving = Number.NEGATIVE_INFINITY;
	private late: ReturnType<typeof setTimeout> | null = null;
	/** The oldest entry waited for its frame: how long is not the page's doing. */
	private waited = false;
	private videoMs = 0;
	private tileMs = 0;
	private drawTenths = 0;

	constructor(
		private readonly canvas: HTMLCanvasElement,
		private readonly ring: Ring,
		private readonly port: Port,
		private readonly host: LayerHost,
	) {
		const context = canvas.getContext("2d");
		if (context === null) throw new Error("the browser gives the exact layer no context");
		this.context = context;
		canvas.style.visibility = "hidden";
	}

	/** Tiles of the screen, and how many of them are shown exactly. */
	get tiles(): { all: number; exact: number; offBeat: OffBeatCounts } {
		const sure = this.on && this.ring.peek() < 0;
		return { all: this.filled.length, exact: sure ? this.proven : 0, offBeat: this.offBeat.counts };
	}

	/** The worker has put something into the ring. */
	wake(): void {
		Atomics.store(this.ring.control, Word.woken, 0);
		if (this.quiet() && this.offBeat.keeps()) this.waited = true;
		else this.drain();
	}

	/** Nothing but tiles has the browser make frames. */
	private quiet(): boolean {
		const now = performance.now();
		const steady = this.rhythm.steady && this.moved > now - KNOWN;
		return !steady && this.moved < now - QUIET && this.moving < now - QUIET;
	}

	/** Takes away what other links lay above the video. */
	alone(): void {
		for (const other of this.canvas.parentElement?.querySelectorAll(`canvas.${LAYER}`) ?? [])
			if (other !== this.canvas) other.remove();
	}

	/** The browser shows a video frame, which came `took` ms ago. */
	video(rtp: number, took: number | undefined): void {
		this.moving = performance.now();
		this.frameShown(rtp);
		if (took !== undefined && took >= 0) this.videoMs += (took - this.videoMs) * NEWS;
		this.drain();
	}

	close(): void {
		if (this.over) return;
		this.over = true;
		this.rhythm.close();
		this.offBeat.let();
		this.unseen.let();
		if (this.frame !== null) cancelAnimationFrame(this.frame);
		if (this.late !== null) clearTimeout(this.late);
		this.canvas.remove();
		this.filled = new Uint8Array(0);
		this.count = 0;
		this.proven = 0;
		this.on = false;
		this.tell();
		this.port.close();
	}

	private drain(byThisBeat = false): void {
		if (this.over) return;
		const { ring } = this;
		let at = ring.peek();
		const before = this.n;
		const { gen } = this;
		let moved = false;
		// So did what came behind it.
		const waited = this.waited;
		this.offBeat.let();
		for (; at >= 0 && this.due(at); at = ring.peek()) {
			const moves = ring.data[at + Field.shifts] === 1 && ring.data[at + Field.keeps] === 0;
			// With another one behind it, the browser shows fewer than come.
			if (moves && this.unseen.soon && ring.newest(at)) break;
			if (moves) this.unseen.drawn(byThisBeat);
			moved ||= moves;
			this.apply(at, waited);
			ring.release(at);
		}
		this.waited = at >= 0;
		this.show();
		this.tell();
		if (this.n !== before) this.report();
		if (this.gen !== gen && !moved && this.quiet()) this.offBeat.drawn();
		if (at >= 0) this.late ??= setTimeout(this.overdue, OVERDUE);
		const now = performance.now();
		if (this.n !== before) this.last = now;
		// What waits for a frame needs none of ours: it would hold the video's back.
		const worth = this.rhythm.steady || now - this.last < LINGER;
		if (at < 0 && now - this.moved < LINGER && worth) this.frame ??= requestAnimationFrame(this.tick);
	}

	/** A hand moves: from now on for a while, the browser keeps messages until after the next frame. */
	readonly hand = (): void => {
		this.moved = performance.now();
		this.rhythm.hand();
		// That frame comes anyhow: it may as well show what is there by then. A page at rest would get a frame too early instead.
		if (this.rhythm.steady) this.frame ??= requestAnimationFrame(this.tick);
	};

	private readonly tick = (): void => {
		this.frame = null;
		this.drain(true);
	};

	private readonly overdue = (): void => {
		this.late = null;
		const rtp = this.host.onShow();
		if (rtp !== null && (this.shown === null || ((rtp - this.shown) | 0) > 0)) this.frameShown(rtp);
		this.drain();
	};

	// What was made after a frame waits for it, so a frame is never behind what lies on the canvas when it is first shown; and the
	// node has fewer generations on their way than half of what the bits tell apart.
	private frameShown(rtp: number): void {
		this.shown = rtp;
		const ahead = (rtp - this.gen) & GEN_MASK;
		this.needed = this.gen + (ahead > GEN_MASK >> 1 ? 0 : ahead);
	}

	private due(at: number): boolean {
		const { data } = this.ring;
		if (data[at + Field.held] === 0) return true;
		return this.shown !== null && ((this.shown - (data[at + Field.after] as number)) | 0) >= 0;
	}

	private apply(at: number, waited: boolean): void {
		const { data } = this.ring;
		const count = data[at + Field.count] as number;
		const body = at + ENTRY;
		switch (data[at + Field.kind]) {
			case Kind.tiles: {
				const read = performance.now();
				const age = (stamp() - (data[at + Field.came] as number)) / 10;
				const runs = data[at + Field.runs] as number;
				const shift = data[at + Field.shifts] === 1 ? this.shift(body) : null;
				const first = body + (shift === null ? 0 : SHIFT);
				if (data[at + Field.keeps] === 1) {
					this.keep(first, runs, count);
					break;
				}
				this.tidy();
				if (shift !== null) this.cover(shift);
				this.paint(first, runs);
				if (count > 0) this.draw(first + runs * RUN, count);
				if (shift !== null) this.put(shift);
				if (data[at + Field.gen] !== this.gen) this.host.drawn(data[at + Field.n] as number, read - age, read);
				// Only a change of the picture is of a new generation; what was still may take its time.
				if (!waited && data[at + Field.gen] !== this.gen)
					this.tileMs += ((stamp() - (data[at + Field.came] as number)) / 10 - this.tileMs) * NEWS;
				break;
			}
			case Kind.video:
				for (let i = 0; i < count; i++) this.clear(data[body + 2 * i] as number, data[body + 2 * i + 1] as number);
				break;
			case Kind.size:
				this.resize(data[body] as number, data[body + 1] as number);
				break;
		}
		if (data[at + Field.kind] !== Kind.tiles && this.count === 0) this.poisoned = false;
		this.n = data[at + Field.n] as number;
		this.gen = data[at + Field.gen] as number;
	}

	/** Takes over what is not shown: the video does. */
	private keep(at: number, runs: number, count: number): void {
		const { data } = this.ring;
		for (let i = 0; i < runs; i++, at += RUN)
			this.picture.paint(data[at] as number, data[at + 1] as number, data[at + 2] as number);
		for (let i = 0, pixels = at + count; i < count; i++, pixels += CELL_PIXELS) {
			const cell = data[at + i] as number;
			if (cell < 0) this.poisoned = true;
			else this.picture.write(cell, data, pixels);
		}
	}

	/** Has a part of the picture move. */
	private shift(at: number): Shift {
		const [x, y, w, h, dx, dy] = this.ring.data.subarray(at, at + SHIFT) as unknown as number[];
		const shift = { x, y, w, h, dx, dy } as Shift;
		this.picture.shift(shift);
		return shift;
	}

	/** Notes the cells that come by being moved. One of which this is but a part comes as a tile too. */
	private cover({ x, y, w, h }: Shift): void {
		const { picture } = this;
		const within = (from: number, length: number, end: number, cell: number): [number, number] => [
			Math.ceil(from / cell),
			from + length === end ? Math.ceil(end / cell) : Math.floor((from + length) / cell),
		];
		const [left, right] = within(x, w, picture.w, CELL_W);
		const [top, bottom] = within(y, h, picture.h, CELL_H);
		for (let row = top; row < bottom; row++)
			if (right > left) this.fill(row * picture.wide + left, right - left, State.moved);
	}

	private put({ x, y, w, h }: Shift): void {
		this.picture.spread({ x, y, w, h });
		this.context.putImageData(this.image, 0, 0, x, y, w, h);
	}

	/** Paints runs of cells of one colour. */
	private paint(at: number, runs: number): void {
		const { data } = this.ring;
		for (let i = 0; i < runs; i++, at += RUN) {
			const [first, length, colour] = [data[at] as number, data[at + 1] as number, data[at + 2] as number];
			this.context.fillStyle = `rgb(${colour & 0xff} ${(colour >> 8) & 0xff} ${(colour >> 16) & 0xff})`;
			this.pieces(first, length, (x, y, w, h) => this.context.fillRect(x, y, w, h));
			this.picture.paint(first, length, colour);
			this.fill(first, length, State.proven);
		}
	}

	private draw(cells: number, count: number): void {
		const { data } = this.ring;
		const began = performance.now();
		let pixels = cells + count;
		for (let i = 0; i < count; ) {
			const first = data[cells + i] as number;
			if (first < 0) {
				this.poisoned = true;
				i++;
				pixels += CELL_PIXELS;
				continue;
			}
			// Neighbours go to the canvas in one piece.
			const column = first % this.picture.wide;
			let run = 0;
			for (; i < count && column + run < this.picture.wide && data[cells + i] === first + run; i++, run++) {
				this.picture.write(first + run, data, pixels);
				pixels += CELL_PIXELS;
			}
			const y = Math.floor(first / this.picture.wide) * CELL_H;
			this.context.putImageData(this.image, 0, 0, column * CELL_W, y, run * CELL_W, CELL_H);
			this.fill(first, run, State.proven);
		}
		const tenths = ((performance.now() - began) * 10_000) / Math.max(count, 1);
		this.drawTenths += (tenths - this.drawTenths) * NEWS;
	}

	private tidy(): void {
		if (this.littered) this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
		this.littered = false;
	}

	private fill(first: number, run: number, state: State): void {
		for (let cell = first; cell < first + run; cell++) {
			if (this.filled[cell] === State.hidden) this.count++;
			if (this.filled[cell] === State.proven) this.proven--;
			if (state === State.proven) this.proven++;
			this.filled[cell] = state;
		}
	}

	private clear(first: number, length: number): void {
		for (let cell = first; cell < first + length; cell++) {
			if (this.filled[cell] !== State.hidden) this.count--;
			if (this.filled[cell] === State.proven) this.proven--;
			this.filled[cell] = State.hidden;
		}
		// What nobody sees is cleared when there is time.
		if (this.count === 0) {
			this.littered = true;
			return;
		}
		this.pieces(first, length, (x, y, w, h) => this.context.clearRect(x, y, w, h));
	}

	/** The rectangles of the canvas that a run of cells takes, which may go over several rows. */
	private pieces(first: number, length: number, each: (x: number, y: number, w: number, h: number) => void): void {
		for (let cell = first; cell < first + length; ) {
			const { wide } = this.picture;
			const column = cell % wide;
			const left = first + length - cell;
			const rows = column === 0 ? Math.max(Math.floor(left / wide), 1) : 1;
			const run = Math.min(wide - column, left);
			each(column * CELL_W, Math.floor(cell / wide) * CELL_H, run * CELL_W, rows * CELL_H);
			cell += rows * run;
		}
	}

	private resize(w: number, h: number): void {
		this.canvas.width = w;
		this.canvas.height = h;
		this.image = new ImageData(w, h);
		this.picture = new Picture(w, h, new Int32Array(this.image.data.buffer));
		this.filled = new Uint8Array(this.picture.cells);
		this.count = 0;
		this.proven = 0;
		this.littered = false;
	}

	// The frame on show may know of changes that have not come yet: until then, the video alone is right.
	private show(): void {
		const behind = ((this.needed - this.gen) | 0) > 0;
		const on = this.count > 0 && !behind && !this.poisoned;
		if (on === this.on) return;
		this.on = on;
		// Without a layout: this comes with a video frame.
		this.canvas.style.visibility = on ? "visible" : "hidden";
	}

	private tell(): void {
		const { all, exact } = this.tiles;
		if (this.all === (all > 0 && all === exact)) return;
		this.all = !this.all;
		this.host.exact(this.all);
	}

	private report(): void {
		const { control } = this.ring;
		Atomics.store(control, Word.n, this.n);
		Atomics.store(control, Word.shown, this.shown ?? 0);
		Atomics.store(control, Word.video, Math.round(this.videoMs * 10));
		Atomics.store(control, Word.tile, Math.round(this.tileMs * 10));
		Atomics.store(control, Word.draw, Math.round(this.drawTenths));
		this.port.report();
	}
}

/** Offers a `tiles` channel where the browser can take one in a worker; null where it cannot, and the video is all there is. */
export function offerTiles(pc: RTCPeerConnection, root: HTMLElement, host: LayerHost): ExactLayer | null {
	if (!crossOriginIsolated || typeof SharedArrayBuffer === "undefined") return null;
	const worker = new Worker(new URL("./tiles.worker.ts", import.meta.url), { type: "module" });
	const channel = pc.createDataChannel("tiles", { protocol: PROTOCOL });
	const memory = new SharedArrayBuffer(Ring.bytes());
	try {
		worker.postMessage({ channel, memory }, [channel as unknown as Transferable]);
	} catch {
		// This browser keeps channels on the page (Firefox).
		channel.close();
		worker.terminate();
		return null;
	}
	const gone = new AbortController();
	const close = (): void => {
		gone.abort();
		worker.terminate();
	};
	const port = { report: () => worker.postMessage(0), close };
	const canvas = document.createElement("canvas");
	canvas.className = LAYER;
	root.append(canvas);
	const layer = new ExactLayer(canvas, new Ring(memory), port, host);
	for (const input of ["pointermove", "pointerdown", "pointerup", "keydown"] as const)
		window.addEventListener(input, layer.hand, { passive: true, capture: true, signal: gone.signal });
	worker.onmessage = ({ data }) => (data === "closed" ? layer.close() : layer.wake());
	worker.onerror = () => layer.close();
	return layer;
}
