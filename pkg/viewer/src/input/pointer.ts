// Mouse, pen, eraser and touch on the picture → samples and buttons for the hand. Handlers change nothing on the page:
// Chromium holds network messages until the next frame when an input event asks for one.

import type { Point } from "../screen/geometry";
import { Touch, type TouchHost } from "../touch/touch";
import type { Hand } from "./sender";
import { tiltOf } from "./tilt";
import { Wheel } from "./wheel";
import { Device, type Sample } from "./wire";

/** PointerEvent.buttons bit → bit of a sample, and X's number of that button. The eraser's tip is its first button. */
const buttonBits = [
	{ event: 1, bit: 0, button: 1 },
	{ event: 4, bit: 1, button: 2 },
	{ event: 2, bit: 2, button: 3 },
	{ event: 8, bit: 3, button: 8 },
	{ event: 16, bit: 4, button: 9 },
	{ event: 32, bit: 0, button: 1 },
] as const;
const ERASER = 32;
/** After the pen was near, touches are the palm for this long, in milliseconds. */
const PALM = 500;

export interface PointerHost extends Omit<TouchHost, "samples"> {
	/** Where things go now; null while there is no connection. */
	hand(): Hand | null;
	/** The remote place under a page place. */
	toRemote(clientX: number, clientY: number): Point;
	/** A press on the picture: it takes the keyboard. */
	pressed(): void;
	/** Modifiers as this event sees them; before anything that a modifier changes the meaning of. */
	modifiers(e: MouseEvent): void;
	/** Whether the artist holds a Ctrl key, as far as the keyboard knows. */
	holdsControl(): boolean;
	/** Runs `act` with Ctrl held remotely, for a touchpad's pinch. */
	withControl(act: () => void): void;
}

interface Contact {
	device: Device;
	/** Sample bits that are down remotely. */
	down: number;
	/** Event bits that were down when the picture had no say (before a blur, or dragged in): ignored until they go up. */
	masked: number;
	/** timeStamp of the newest sample sent. */
	newest: number;
	/** pointerrawupdate has come: pointermove's samples are the same ones again. */
	raw: boolean;
	near: boolean;
}

export class Pointer {
	private readonly contacts = new Map<number, Contact>();
	private readonly turns = new Wheel();
	private readonly touch: Touch;
	private penNear = Number.NEGATIVE_INFINITY;
	private last = { x: 0, y: 0 };
	private readonly stop = new AbortController();

	constructor(
		private readonly target: HTMLElement,
		private readonly host: PointerHost,
	) {
		this.touch = new Touch({
			hand: () => host.hand(),
			samples: (e) => this.samples(this.contact(e), e, 0),
			toRemote: (x, y) => host.toRemote(x, y),
			withControl: (act) => host.withControl(act),
			scroll: () => host.scroll(),
			trackpad: () => host.trackpad(),
			done: () => host.done(),
		});
		const on = (types: string, f: (e: PointerEvent) => void): void => {
			for (const type of types.split(" "))
				target.addEventListener(type, f as EventListener, { signal: this.stop.signal, passive: false });
		};
		on("pointermove pointerrawupdate pointerup pointerover", this.handle);
		on("pointerdown", this.down);
		on("pointercancel pointerleave", this.leave);
		target.addEventListener("wheel", this.wheel, { signal: this.stop.signal, passive: false });
		// The picture has no menu, selection, drag, autoscroll or history of its own.
		on("contextmenu mousedown mouseup auxclick dragstart selectstart touchstart", (e) => {
			if (this.host.hand()) e.preventDefault();
		});
	}

	/** Forgets what is down (the node lets go at the same time); what is still held counts again once it was up. */
	reset(): void {
		this.touch.reset();
		for (const c of this.contacts.values()) {
			c.masked |= eventBits(c.down);
			c.down = 0;
			c.near = false;
		}
	}

	/** Puts an element where the pointer was last, as near as anybody knows to where text goes. */
	follow(element: HTMLElement): void {
		element.style.left = `${Math.max(0, Math.round(this.last.x))}px`;
		element.style.top = `${Math.max(0, Math.round(this.last.y))}px`;
	}

	close(): void {
		this.stop.abort();
	}

	private readonly down = (e: PointerEvent): void => {
		const hand = this.host.hand();
		if (!hand) return;
		e.preventDefault();
		this.host.pressed();
		try {
			this.target.setPointerCapture(e.pointerId);
		} catch {
			// The pointer is gone already, or is a script's: the press still counts.
		}
		if (e.pointerType === "touch") this.finger(e);
		else this.apply(hand, e);
	};

	private readonly handle = (e: PointerEvent): void => {
		const hand = this.host.hand();
		if (!hand) return;
		if (e.pointerType === "touch") this.finger(e);
		else this.apply(hand, e);
	};

	private readonly leave = (e: PointerEvent): void => {
		const c = this.contacts.get(e.pointerId);
		const hand = this.host.hand();
		if (e.pointerType === "touch") {
			if (e.type === "pointercancel") this.touch.cancel(e);
			this.contacts.delete(e.pointerId);
			return;
		}
		if (!c || !hand) return;
		if (e.type === "pointercancel") this.change(hand, c, 0, [this.sample(e, 0)]);
		if (c.down !== 0) return;
		if (c.near) hand.proximity(c.device, false);
		this.contacts.delete(e.pointerId);
	};

	private apply(hand: Hand, e: PointerEvent): void {
		this.last = { x: e.clientX, y: e.clientY };
		if (e.pointerType === "pen") this.penNear = e.timeStamp;
		const c = this.contact(e);
		this.approach(hand, c, e);
		this.mask(c, e);
		const held = sampleBits(e.buttons & ~c.masked);
		const samples = this.samples(c, e, held);
		if (held === c.down) {
			hand.move(c.device, samples);
			return;
		}
		this.host.modifiers(e);
		this.change(hand, c, held, samples.length > 0 ? samples : [this.sample(e, held)]);
	}

	private finger(e: PointerEvent): void {
		this.last = { x: e.clientX, y: e.clientY };
		if (e.type === "pointerdown") {
			// None paints while the pen does: it is the palm.
			if (e.timeStamp - this.penNear >= PALM) this.touch.down(e);
		} else if (e.type === "pointerup") this.touch.up(e);
		else if (e.type !== "pointerover") this.touch.move(e);
	}

	private contact(e: PointerEvent): Contact {
		let c = this.contacts.get(e.pointerId);
		if (!c) {
			const newest = Number.NEGATIVE_INFINITY;
			c = { device: deviceOf(e), down: 0, masked: 0, newest, raw: false, near: false };
			this.contacts.set(e.pointerId, c);
		}
		return c;
	}

	// A pen tells which end it is only when it touches; the node must see the right one come near first.
	private approach(hand: Hand, c: Contact, e: PointerEvent): void {
		if (e.pointerType !== "pen") return;
		const device = e.buttons === 0 ? c.device : deviceOf(e);
		if (device !== c.device) {
			if (c.down !== 0) this.change(hand, c, 0, [this.sample(e, 0)]);
			if (c.near) hand.proximity(c.device, false);
			c.device = device;
			c.near = false;
		}
		if (!c.near) hand.proximity(device, true);
		c.near = true;
	}

	// Buttons that were pressed elsewhere and dragged in are not ours.
	private mask(c: Contact, e: PointerEvent): void {
		c.masked &= e.buttons;
		const dragged = e.type === "pointerover" || (e.pointerType === "mouse" && e.type !== "pointerdown" && e.button < 0);
		if (dragged) c.masked |= e.buttons & ~eventBits(c.down);
	}

	private change(hand: Hand, c: Contact, held: number, samples: readonly Sample[]): void {
		let at = samples;
		for (const { bit, button } of buttonBits.slice(0, 5)) {
			const mine = 1 << bit;
			if (((held ^ c.down) & mine) === 0) continue;
			hand.button(c.device, button, (held & mine) !== 0, at);
			at = samples.slice(-1);
		}
		c.down = held;
	}

	private samples(c: Contact, e: PointerEvent, held: number): Sample[] {
		if (e.type === "pointerrawupdate") c.raw = true;
		const moving = e.type === "pointermove" || e.type === "pointerrawupdate";
		const coalesced = moving ? (e.getCoalescedEvents?.() ?? []) : [];
		const events = coalesced.length > 0 ? coalesced : [e];
		const repeated = c.raw && e.type === "pointermove";
		const fresh = repeated ? events.filter((p) => p.timeStamp > c.newest) : events;
		c.newest = Math.max(c.newest, e.timeStamp, ...fresh.map((p) => p.timeStamp));
		return fresh.map((p) => this.sample(p, held));
	}

	private sample(e: PointerEvent, held: number): Sample {
		const { x, y } = this.host.toRemote(e.clientX, e.clientY);
		const { pressure, twist } = e;
		return { x, y, pressure, ...tiltOf(e), twist, buttons: held, time: e.timeStamp };
	}

	private readonly wheel = (e: WheelEvent): void => {
		const hand = this.host.hand();
		if (!hand) return;
		// Always: Ctrl+wheel would zoom the page.
		e.preventDefault();
		// Browsers report a touchpad's pinch as a wheel with a Ctrl that nobody holds.
		const pinch = e.ctrlKey && !this.host.holdsControl();
		if (!pinch) this.host.modifiers(e);
		const { dx, dy } = this.turns.add(e as WheelEvent & { wheelDeltaX?: number; wheelDeltaY?: number }, pinch);
		if (dx === 0 && dy === 0) return;
		const { x, y } = this.host.toRemote(e.clientX, e.clientY);
		const turn = (): void => hand.wheel(x, y, dx, dy);
		if (pinch) this.host.withControl(turn);
		else turn();
	};
}

function deviceOf(e: PointerEvent): Device {
	if (e.pointerType !== "pen") return Device.mouse;
	return (e.buttons & ERASER) !== 0 || e.button === 5 ? Device.eraser : Device.pen;
}

function sampleBits(buttons: number): number {
	let bits = 0;
	for (const b of buttonBits) if ((buttons & b.event) !== 0) bits |= 1 << b.bit;
	return bits;
}

function eventBits(bits: number): number {
	let buttons = 0;
	for (const b of buttonBits) if ((bits & (1 << b.bit)) !== 0) buttons |= b.event;
	return buttons;
}
