// Fingers on the picture. One paints, or opens a menu when it rests; two pan and zoom, and undo by a tap; three redo. In trackpad
// mode one moves the remote pointer instead, and taps are clicks.

import type { Hand } from "../input/sender";
import { Device, type Sample } from "../input/wire";
import type { Point } from "../screen/geometry";
import { Gesture, type Scroll } from "./gesture";
import type { Trackpad } from "./trackpad";

/** A finger that moves no further (CSS px) rests. What it does until then is kept, and painted once it paints. */
const SLOP = 6;
/** A finger that rests this long (ms) opens a menu. */
const LONG = 500;
/** Fingers that lift again this soon (ms) tap. */
const TAP = 300;
/** The other finger is told of within this time (ms), or rests. */
const OTHER = 100;
/** A second touch this soon (ms) after a tap drags, in trackpad mode. */
const AGAIN = 300;

const LEFT = 1;
const MIDDLE = 2;
const RIGHT = 3;

export interface TouchHost {
	hand(): Hand | null;
	/** This event's samples that were not sent yet, oldest first. */
	samples(e: PointerEvent): Sample[];
	toRemote(clientX: number, clientY: number): Point;
	withControl(act: () => void): void;
	/** How GIMP scrolls by the wheel. */
	scroll(): Scroll;
	/** Where the pointer is in trackpad mode; null in the direct one. */
	trackpad(): Trackpad | null;
	/** What a finger did is done: keys that were held for it may go. */
	done(): void;
}

interface Finger extends Point {
	fromX: number;
	fromY: number;
	time: number;
}

type Doing = "nothing" | "waiting" | "pointing" | "holding" | "gesture";

export class Touch {
	private readonly fingers = new Map<number, Finger>();
	private doing: Doing = "nothing";
	/** The finger that paints or points. */
	private first = -1;
	private button = LEFT;
	private began = 0;
	private tapped = Number.NEGATIVE_INFINITY;
	/** The touch began right after a tap. */
	private again = false;
	private most = 0;
	private gesture: Gesture | null = null;
	/** Fingers of the gesture that moved since it was last looked at. */
	private readonly moved = new Set<number>();
	/** Those that did not, for a while: nobody waits for them. */
	private readonly resting = new Set<number>();
	/** What the first finger did before it was known what it wants. */
	private kept: Sample[] = [];
	private timer: ReturnType<typeof setTimeout> | null = null;

	constructor(private readonly host: TouchHost) {}

	down(e: PointerEvent): void {
		if (this.doing === "pointing" || this.doing === "holding") return; // a palm
		this.fingers.set(e.pointerId, {
			x: e.clientX,
			y: e.clientY,
			fromX: e.clientX,
			fromY: e.clientY,
			time: e.timeStamp,
		});
		this.most = Math.max(this.most, this.fingers.size);
		if (this.doing === "nothing") this.begin(e);
		else if (this.doing === "waiting") this.beginGesture();
		else this.settle();
	}

	move(e: PointerEvent): void {
		const finger = this.fingers.get(e.pointerId);
		if (!finger) return;
		const by = { x: e.clientX - finger.x, y: e.clientY - finger.y, ms: e.timeStamp - finger.time };
		Object.assign(finger, { x: e.clientX, y: e.clientY, time: e.timeStamp });
		if (this.doing === "gesture") {
			this.moved.add(e.pointerId);
			this.resting.delete(e.pointerId);
			// One that rested may move in this very event: a busy page is told of a leap of both.
			const others = this.moved.size + this.resting.size >= this.fingers.size ? 0 : OTHER;
			if (this.moved.size >= this.fingers.size) this.turn();
			else this.timer ??= setTimeout(this.othersRest, others);
		} else if (e.pointerId === this.first) this.trace(e, finger, by);
	}

	up(e: PointerEvent): void {
		this.turn();
		if (!this.fingers.delete(e.pointerId)) return;
		if (this.doing === "gesture") {
			if (this.fingers.size === 0) this.endGesture(e);
			else this.settle();
			return;
		}
		if (e.pointerId !== this.first) return;
		const samples = this.at(e);
		this.kept.push(...samples);
		if (this.doing === "waiting") this.tap(LEFT, e);
		else if (this.doing === "holding") this.lift();
		this.end();
	}

	/** The system took the touch away: what it held goes up, and nothing was a tap. */
	cancel(e: PointerEvent): void {
		if (!this.fingers.delete(e.pointerId)) return;
		if (this.doing === "holding" && e.pointerId === this.first) this.lift();
		if (this.fingers.size === 0 || e.pointerId === this.first) this.end();
	}

	/** Forgets what is down; the node lets go at the same time. */
	reset(): void {
		this.fingers.clear();
		this.end();
	}

	private begin(e: PointerEvent): void {
		const pad = this.host.trackpad();
		this.doing = "waiting";
		this.first = e.pointerId;
		this.most = 1;
		this.began = e.timeStamp;
		this.again = pad !== null && e.timeStamp - this.tapped < AGAIN;
		const samples = this.host.samples(e);
		this.kept = pad ? [this.pointed(pad, e)] : samples;
		pad?.show();
		this.timer = setTimeout(this.rested, LONG);
	}

	// The first finger moves.
	private trace(e: PointerEvent, finger: Finger, by: { x: number; y: number; ms: number }): void {
		const pad = this.host.trackpad();
		const still = Math.hypot(finger.x - finger.fromX, finger.y - finger.fromY) <= SLOP;
		if (pad && this.doing === "waiting" && still) {
			this.at(e);
			return;
		}
		pad?.move(by.x, by.y, by.ms);
		const samples = this.at(e);
		if (this.doing === "waiting") {
			this.kept.push(...samples);
			if (still) return;
			if (pad && !this.again) this.point();
			else this.hold(LEFT);
		} else {
			this.kept = samples.slice(-1);
			this.host.hand()?.move(Device.touch, this.doing === "holding" ? this.held(samples) : samples);
		}
	}

	private readonly rested = (): void => {
		this.timer = null;
		if (this.doing !== "waiting") return;
		navigator.vibrate?.(10);
		this.kept = this.kept.slice(-1);
		this.hold(RIGHT);
	};

	private point(): void {
		this.stopTimer();
		this.doing = "pointing";
		this.host.hand()?.move(Device.touch, this.kept);
		this.kept = this.kept.slice(-1);
	}

	/** Presses where the finger first was, and follows it from there. */
	private hold(button: number): void {
		this.stopTimer();
		this.doing = "holding";
		this.button = button;
		const hand = this.host.hand();
		const all = this.held(this.kept);
		hand?.button(Device.touch, button, true, all.slice(0, 1));
		if (all.length > 1) hand?.move(Device.touch, all.slice(1));
		this.kept = this.kept.slice(-1);
	}

	private lift(): void {
		const samples = this.kept.map((s) => ({ ...s, buttons: 0 }));
		this.host.hand()?.button(Device.touch, this.button, false, samples);
	}

	private tap(button: number, e: PointerEvent): void {
		this.button = button;
		const hand = this.host.hand();
		hand?.button(Device.touch, button, true, this.held(this.kept.slice(0, 1)));
		hand?.button(Device.touch, button, false, this.kept.slice(0, 1));
		this.tapped = e.timeStamp;
	}

	private beginGesture(): void {
		const [a, b] = [...this.fingers.values()];
		if (!a || !b) return;
		this.stopTimer();
		this.doing = "gesture";
		this.gesture = new Gesture(a, b, this.host.scroll());
	}

	private readonly othersRest = (): void => {
		this.timer = null;
		for (const id of this.fingers.keys()) if (!this.moved.has(id)) this.resting.add(id);
		this.turn();
	};

	private settle(): void {
		this.moved.clear();
		this.resting.clear();
		const [a, b] = [...this.fingers.values()];
		if (a && b) this.gesture?.settle(a, b);
	}

	// Browsers tell of one finger after the other: half of a pan would look like a pinch.
	private turn(): void {
		if (this.doing !== "gesture") return;
		this.stopTimer();
		if (this.moved.size === 0) return;
		this.moved.clear();
		const [a, b] = [...this.fingers.values()];
		if (!a || !b || !this.gesture) return;
		const { pan, zoom } = this.gesture.move(a, b);
		const { x, y } = this.host.trackpad()?.at ?? this.host.toRemote(this.gesture.middle.x, this.gesture.middle.y);
		const hand = this.host.hand();
		for (const { dx, dy, times } of pan) hand?.wheel(x, y, dx, dy, times);
		if (zoom !== 0) this.host.withControl(() => hand?.wheel(x, y, 0, zoom));
	}

	private endGesture(e: PointerEvent): void {
		const tapped = this.gesture?.moved === false && e.timeStamp - this.began < TAP;
		const pad = this.host.trackpad();
		if (tapped && pad) {
			this.kept = [this.pointed(pad, e)];
			this.tap(this.most === 2 ? RIGHT : MIDDLE, e);
			this.tapped = Number.NEGATIVE_INFINITY;
		} else if (tapped && this.most <= 3) {
			this.shortcut(this.most === 2 ? "z" : "y");
		}
		this.end();
	}

	// Undo and redo, as every painting program for tablets has them.
	private shortcut(letter: "z" | "y"): void {
		const keysym = letter.charCodeAt(0);
		this.host.withControl(() => {
			this.host.hand()?.key(true, 0, keysym, 0);
			this.host.hand()?.key(false, 0, keysym, 0);
		});
	}

	private end(): void {
		const did = this.doing !== "nothing";
		this.stopTimer();
		this.doing = "nothing";
		this.first = -1;
		this.gesture = null;
		this.moved.clear();
		this.resting.clear();
		this.kept = [];
		if (did) this.host.done();
	}

	private at(e: PointerEvent): Sample[] {
		const samples = this.host.samples(e);
		const pad = this.host.trackpad();
		return pad ? [this.pointed(pad, e)] : samples;
	}

	private pointed(pad: Trackpad, e: PointerEvent): Sample {
		return { ...pad.at, pressure: 0.5, tiltX: 0, tiltY: 0, twist: 0, buttons: 0, time: e.timeStamp };
	}

	private held(samples: readonly Sample[]): Sample[] {
		return samples.map((s) => ({ ...s, buttons: 1 << (this.button - 1) }));
	}

	private stopTimer(): void {
		if (this.timer !== null) clearTimeout(this.timer);
		this.timer = null;
	}
}
