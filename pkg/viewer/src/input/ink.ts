// Ink under the nib: a thin line from where the picture is to where the hand is, and on to where the browser predicts it to be, until the real
// pixels come. Off unless the artist wants it: it is nobody's stroke, only its shadow ahead of it.

/** The picture follows within this time (ms), or the line ends: GIMP may have had no use for that motion. */
const LIFE = 300;
/** The prediction goes no further (CSS px, and points). */
const MOST_AHEAD = 64;
const MOST_POINTS = 16;
/** Points of a stroke that wait for their pixels. */
const MOST_WAITING = 512;
const WIDTH = 1.5;
const COLOUR = "rgba(60, 120, 220, 0.75)";
/** PointerEvent.buttons while the tip paints, and nothing else is pressed; an eraser is 32. */
const TIP = 1;

interface Point {
	x: number;
	y: number;
	time: number;
}

export class Ink {
	private readonly canvas = document.createElement("canvas");
	private readonly context: CanvasRenderingContext2D | null;
	/** Places of the stroke that have no pixels yet, and where it is predicted to go. */
	private drawn: Point[] = [];
	private ahead: Point[] = [];
	private pointer: number | null = null;
	private origin = { left: 0, top: 0 };
	private end: ReturnType<typeof setTimeout> | null = null;
	private stop: AbortController | null = null;

	/** `root` is the picture; `button` turns the ink on and off. */
	constructor(
		private readonly root: HTMLElement,
		private readonly button: HTMLButtonElement,
		on: boolean,
		private readonly now: () => number = () => performance.now(),
	) {
		this.canvas.className = "ink";
		this.context = this.canvas.getContext("2d");
		button.onclick = () => this.turn(this.stop === null);
		this.turn(on);
	}

	turn(on: boolean): void {
		this.button.setAttribute("aria-pressed", String(on));
		if (on === (this.stop !== null)) return;
		this.stop?.abort();
		this.stop = null;
		this.drawn = [];
		this.lift();
		this.forget();
		this.canvas.remove();
		if (!on) return;
		this.root.append(this.canvas);
		this.stop = new AbortController();
		const options = { signal: this.stop.signal, passive: true };
		for (const type of ["pointerdown", "pointermove"] as const) this.root.addEventListener(type, this.move, options);
		for (const type of ["pointerup", "pointercancel", "lostpointercapture"] as const)
			this.root.addEventListener(type, this.up, options);
		window.addEventListener("blur", this.lift, options);
	}

	/** Real pixels of all that was done until then are on show. */
	pictured(time: number): void {
		if (this.drawn.length === 0) return;
		// The last one stays where the line to the nib begins.
		const first = this.drawn.findIndex((p) => p.time > time);
		this.drawn =
			first < 0 ? (this.pointer === null ? [] : this.drawn.slice(-1)) : this.drawn.slice(Math.max(first - 1, 0));
		this.draw();
	}

	close(): void {
		this.turn(false);
		this.button.onclick = null;
	}

	private readonly move = (e: PointerEvent): void => {
		if (e.type === "pointerdown") this.down(e);
		if (e.pointerId !== this.pointer) return;
		// An eraser leaves none, and a barrel button or a second one makes it another thing than a stroke.
		if (e.buttons !== TIP) {
			this.lift();
			return;
		}
		const real = e.type === "pointermove" ? (e.getCoalescedEvents?.() ?? []) : [];
		for (const p of real.length > 0 ? real : [e]) this.drawn.push(this.point(p));
		this.drawn.splice(0, this.drawn.length - MOST_WAITING);
		this.ahead = this.bounded(e.getPredictedEvents?.() ?? []);
		this.forget();
		this.draw();
	};

	private down(e: PointerEvent): void {
		if (this.pointer !== null || e.buttons !== TIP || !e.isPrimary) return;
		this.pointer = e.pointerId;
		this.drawn = [];
		const { left, top, width, height } = this.root.getBoundingClientRect();
		this.origin = { left, top };
		const scale = window.devicePixelRatio;
		const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
		if (this.canvas.width !== w) this.canvas.width = w;
		if (this.canvas.height !== h) this.canvas.height = h;
	}

	private readonly up = (e: PointerEvent): void => {
		if (e.pointerId === this.pointer) this.lift();
	};

	// What was drawn stays until its pixels come; what was predicted did not come true.
	private readonly lift = (): void => {
		this.pointer = null;
		this.ahead = [];
		this.draw();
	};

	private point(e: PointerEvent): Point {
		return { x: e.clientX - this.origin.left, y: e.clientY - this.origin.top, time: e.timeStamp };
	}

	private bounded(events: readonly PointerEvent[]): Point[] {
		const out: Point[] = [];
		let last = this.drawn.at(-1);
		let left = MOST_AHEAD;
		for (const e of events.slice(0, MOST_POINTS)) {
			const p = this.point(e);
			if (last) left -= Math.hypot(p.x - last.x, p.y - last.y);
			if (!(left >= 0)) break;
			out.push(p);
			last = p;
		}
		return out;
	}

	// Forgets what is too old, now and later.
	private readonly forget = (): void => {
		if (this.end !== null) clearTimeout(this.end);
		this.end = null;
		const old = this.now() - LIFE;
		this.drawn = this.drawn.filter((p) => p.time > old);
		if (this.drawn.length > 0)
			this.end = setTimeout(() => {
				this.forget();
				this.draw();
			}, LIFE);
		else this.ahead = [];
	};

	private draw(): void {
		const line = [...this.drawn, ...this.ahead];
		this.clear();
		const c = this.context;
		const [first, ...rest] = line;
		if (c === null || first === undefined || rest.length === 0) return;
		const scale = window.devicePixelRatio;
		c.setTransform(scale, 0, 0, scale, 0, 0);
		c.lineWidth = WIDTH;
		c.lineCap = c.lineJoin = "round";
		c.strokeStyle = COLOUR;
		c.beginPath();
		c.moveTo(first.x, first.y);
		for (const p of rest) c.lineTo(p.x, p.y);
		c.stroke();
	}

	private clear(): void {
		this.context?.setTransform(1, 0, 0, 1, 0, 0);
		this.context?.clearRect(0, 0, this.canvas.width, this.canvas.height);
	}
}
