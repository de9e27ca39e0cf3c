// Whatever hands and browsers do, what went down comes up again: random hands on keyboard, key bar, mouse, pen and fingers.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Trackpad } from "../touch/trackpad";
import { Keyboard, type Platform } from "./keyboard";
import { Keysym } from "./keysym";
import { Pointer } from "./pointer";
import type { Hand } from "./sender";
import type { Sample } from "./wire";

/** What is down in the session, as the node takes what it is told. */
class Session implements Hand {
	readonly down = new Set<string>();

	key(down: boolean, _locks: number, keysym: number, code: number): void {
		this.set(down, code ? `key ${code}` : `keysym ${keysym.toString(16)}`);
	}
	button(device: number, button: number, down: boolean, samples: readonly Sample[]): void {
		expect(samples.length).toBeGreaterThan(0);
		this.set(down, `button ${button} of ${device}`);
	}
	proximity(device: number, near: boolean): void {
		this.set(near, `pen ${device}`);
	}
	release(): void {
		this.down.clear();
	}
	move(): void {}
	wheel(): void {}
	text(): void {}
	private set(down: boolean, what: string): void {
		if (down) this.down.add(what);
		else this.down.delete(what);
	}
}

/** mulberry32 */
function numbers(seed: number): (below: number) => number {
	let a = seed;
	return (below) => {
		a = (a + 0x6d2b79f5) | 0;
		let t = Math.imul(a ^ (a >>> 15), 1 | a);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) % below;
	};
}

const keys = [
	["a", "KeyA"],
	["Z", "KeyZ"],
	["ж", "Semicolon"],
	["Enter", "Enter"],
	["F5", "F5"],
	["Dead", "Quote"],
	["Process", "KeyK"],
] as const;
const modifiers = [
	["Control", "ControlLeft", "ctrlKey"],
	["Control", "ControlRight", "ctrlKey"],
	["Shift", "ShiftLeft", "shiftKey"],
	["Alt", "AltLeft", "altKey"],
	["AltGraph", "AltRight", ""],
	["Meta", "MetaLeft", "metaKey"],
] as const;
const pointers = [
	{ pointerId: 1, pointerType: "mouse", buttons: [1, 2, 4, 8] },
	{ pointerId: 2, pointerType: "pen", buttons: [1, 2, 32] },
	{ pointerId: 3, pointerType: "touch", buttons: [1] },
	{ pointerId: 4, pointerType: "touch", buttons: [1] },
	{ pointerId: 5, pointerType: "touch", buttons: [1] },
] as const;

/** A person with a keyboard, a mouse, a pen and three fingers, and what the page makes of them. */
class Person {
	readonly session = new Session();
	private readonly target = document.createElement("div");
	private readonly field = document.createElement("textarea");
	private readonly keyboard: Keyboard;
	private readonly pointer: Pointer;
	private readonly pressed = new Map<string, string>();
	private readonly buttons = new Map<number, number>();
	private pad: Trackpad | null = null;
	private clock = 1000;

	constructor(
		platform: Platform,
		private readonly random: (below: number) => number,
	) {
		document.body.append(this.target, this.field);
		this.target.setPointerCapture = () => {};
		const letGo = (): void => {
			this.keyboard.reset();
			this.pointer.reset();
			this.session.release();
		};
		this.keyboard = new Keyboard(
			this.field,
			{ hand: () => this.session, escape: () => {}, letGo, pastes: () => false, composing: () => {} },
			platform,
		);
		this.pointer = new Pointer(this.target, {
			hand: () => this.session,
			toRemote: (x, y) => ({ x, y }),
			pressed: () => this.keyboard.focus(),
			modifiers: (e) => this.keyboard.modifiers(e),
			holdsControl: () => this.keyboard.holdsControl(),
			withControl: (act) => this.keyboard.withControl(act),
			scroll: () => ({ notch: { x: 100, y: 100 }, pixel: 1 }),
			trackpad: () => this.pad,
			done: () => this.keyboard.unstick(),
		});
	}

	act(): void {
		const n = this.random(20);
		if (n < 8) this.useKey();
		else if (n < 16) this.usePointer();
		else if (n === 16) this.useBar();
		else if (n === 17) vi.advanceTimersByTime(this.random(700));
		else if (n === 18) this.elsewhere();
		else this.swallowed();
	}

	/** Lets go of everything, as the page is told of it. */
	rest(): void {
		for (const code of [...this.pressed.keys()]) this.keyUp(code);
		for (const p of pointers) {
			if (!this.buttons.get(p.pointerId) && p.pointerType === "touch") continue;
			this.buttons.set(p.pointerId, 0);
			this.point("pointerup", p, 0);
			this.point("pointerleave", p, -1);
		}
		vi.advanceTimersByTime(1000);
		this.point("pointermove", pointers[0], -1);
		// What the key bar holds is held for one more key.
		this.key("keydown", "a", "KeyA");
		this.key("keyup", "a", "KeyA");
	}

	close(): void {
		this.keyboard.close();
		this.pointer.close();
		this.target.remove();
		this.field.remove();
	}

	private useKey(): void {
		const down = [...this.pressed.keys()];
		if (down.length > 0 && this.random(2) === 0) {
			this.keyUp(down[this.random(down.length)] ?? "");
			return;
		}
		const all = [...keys, ...modifiers];
		const [key, code] = all[this.random(all.length)] ?? keys[0];
		const repeat = this.pressed.has(code);
		this.pressed.set(code, key);
		this.key("keydown", key, code, repeat);
	}

	private keyUp(code: string): void {
		const key = this.pressed.get(code) ?? "";
		this.pressed.delete(code);
		this.key("keyup", key, code);
	}

	/** The system keeps a modifier's keyup: a window switcher, a screenshot. */
	private swallowed(): void {
		const held = modifiers.filter(([key, code, flag]) => flag !== "" && this.pressed.get(code) === key);
		const [, code] = held[this.random(Math.max(1, held.length))] ?? [];
		if (code) this.pressed.delete(code);
	}

	private elsewhere(): void {
		switch (this.random(4)) {
			case 0:
				this.field.dispatchEvent(new FocusEvent("blur"));
				break;
			case 1:
				this.pad = this.pad
					? null
					: new Trackpad({ screen: () => ({ size: { w: 1000, h: 800 }, density: 1 }), draw: () => {} });
				break;
			case 2:
				this.compose("compositionstart", "");
				this.compose("compositionupdate", "に");
				break;
			default:
				this.compose("compositionend", "日");
		}
	}

	private compose(type: string, data: string): void {
		const e = new CompositionEvent(type);
		Object.defineProperty(e, "data", { value: data });
		this.field.dispatchEvent(e);
	}

	private useBar(): void {
		if (this.random(2) === 0) this.keyboard.tap(0xff1b);
		else this.keyboard.stick([Keysym.ControlL, Keysym.ShiftL, Keysym.AltL][this.random(3)] ?? Keysym.AltL, () => {});
	}

	private usePointer(): void {
		const p = pointers[this.random(pointers.length)] ?? pointers[0];
		const held = this.buttons.get(p.pointerId) ?? 0;
		const what = this.random(8);
		if (what === 0) {
			this.buttons.set(p.pointerId, 0);
			this.point("pointercancel", p, -1);
			this.point("pointerleave", p, -1);
		} else if (what < 4) this.point("pointermove", p, -1);
		else if (held !== 0 && this.random(2) === 0) {
			this.buttons.set(p.pointerId, 0);
			this.point("pointerup", p, 0);
		} else {
			const button = p.buttons[this.random(p.buttons.length)] ?? 1;
			this.buttons.set(p.pointerId, held | button);
			this.point(held === 0 ? "pointerdown" : "pointermove", p, [1, 2, 4, 8, 32].indexOf(button));
		}
	}

	private modifierState(): Record<string, boolean> {
		const on: Record<string, boolean> = {};
		for (const [key, code, flag] of modifiers) if (flag !== "" && this.pressed.get(code) === key) on[flag] = true;
		return on;
	}

	private key(type: "keydown" | "keyup", key: string, code: string, repeat = false): void {
		const e = new KeyboardEvent(type, { key, code, repeat, cancelable: true, ...this.modifierState() });
		Object.defineProperty(e, "timeStamp", { value: this.now() });
		Object.defineProperty(e, "getModifierState", { value: () => false });
		this.field.dispatchEvent(e);
	}

	private point(type: string, p: (typeof pointers)[number], button: number): void {
		const { pointerId, pointerType } = p;
		const [clientX, clientY] = [this.random(1000), this.random(800)];
		const e = new MouseEvent(type, { clientX, clientY, cancelable: true, ...this.modifierState() });
		const buttons = this.buttons.get(pointerId) ?? 0;
		const more = {
			pointerId,
			pointerType,
			button,
			buttons,
			pressure: 0.5,
			tiltX: 0,
			tiltY: 0,
			twist: 0,
			timeStamp: this.now(),
		};
		for (const [name, value] of Object.entries(more)) Object.defineProperty(e, name, { value });
		this.target.dispatchEvent(e);
	}

	private now(): number {
		this.clock += 1 + this.random(40);
		return this.clock;
	}
}

describe("what is held down", () => {
	beforeEach(() => void vi.useFakeTimers());
	afterEach(() => void vi.useRealTimers());

	it.each(["other", "windows", "mac"] as const)("comes up again, whatever happens (%s)", (platform) => {
		for (let seed = 1; seed <= 150; seed++) {
			const random = numbers(seed);
			const person = new Person(platform, random);
			try {
				for (let i = random(80); i >= 0; i--) person.act();
				person.rest();
				expect([...person.session.down], `seed ${seed}`).toEqual([]);
			} finally {
				person.close();
			}
		}
	});
});
